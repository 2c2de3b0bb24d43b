"""Check a LightGBM text model without LightGBM: standard library only, because the disposable child has nothing else.

The library trusts the text: a child index out of range or a loop between nodes crashes or hangs it, for some rows only. So
every tree is walked here before any of it is loaded; what passes is a set of finite binary trees over the declared features.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite, isnan

MAX_FEATURES = 100_000
MAX_TREES = 100_000
MAX_LEAVES = 131_072
MAX_DEPTH = 1_024
"""Explanations recurse once per level."""

# fmt: off
HEADER_KEYS = frozenset({
    "", "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective", "average_output", "feature_names",
    "monotone_constraints", "feature_infos", "tree_sizes",
})
TREE_KEYS = frozenset({
    "num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child", "leaf_value",
    "leaf_weight", "leaf_count", "internal_value", "internal_weight", "internal_count", "cat_boundaries", "cat_threshold", "is_linear",
    "shrinkage",
})
# fmt: on


class MalformedModel(Exception):
    """The text is no sound LightGBM model; the message says where."""


@dataclass(frozen=True)
class TextModel:
    features: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]
    categories: dict[str, tuple[int, ...]]
    trees: int
    classes: int
    objective: str
    header: dict[str, str] = field(default_factory=dict)
    steps: int = 0
    """The square of its depth, summed over all leaves."""


def check_text(text: str) -> TextModel:
    """Raises MalformedModel unless the header is complete and every tree is a finite binary tree."""
    head, first, _ = text.partition("\nTree=0\n")
    if not text.startswith("tree\n") or not first or "\0" in text or "\r" in text:
        raise MalformedModel("the header or the first tree is missing")
    header = _header(head)
    model = _described(header)
    return replace(model, steps=_check_trees(text, len(head) + 1, header, model))


def _header(head: str) -> dict[str, str]:
    header: dict[str, str] = {}
    for line in head.split("\n")[1:]:
        key, _, value = line.partition("=")
        # The library takes the first "Tree=" line for the first tree, wherever it stands: nothing unknown may stand here.
        if key not in HEADER_KEYS or (key in header and key):
            raise MalformedModel(f"the header says {key[:40]!r}, which is unknown or said twice")
        header[key] = value
    return header


def _described(header: dict[str, str]) -> TextModel:
    if header.get("version") not in ("v2", "v3", "v4"):
        raise MalformedModel("the version is not v2, v3 or v4")
    classes = _whole(header.get("num_class", ""), 1, 10_000, "num_class")
    per_iteration = _whole(header.get("num_tree_per_iteration", ""), 1, 10_000, "num_tree_per_iteration")
    width = _whole(header.get("max_feature_idx", ""), 0, MAX_FEATURES - 1, "max_feature_idx") + 1
    names = tuple(header.get("feature_names", "").split(" "))
    infos = header.get("feature_infos", "").split(" ")
    if len(names) != width or len(set(names)) != width or "" in names:
        raise MalformedModel("feature_names does not name every feature once")
    if len(infos) != width:
        raise MalformedModel("feature_infos does not describe every feature")
    ranges: dict[str, tuple[float, float]] = {}
    categories: dict[str, tuple[int, ...]] = {}
    for name, info in zip(names, infos, strict=True):
        _read_info(name, info, ranges, categories)
    trees = len(header.get("tree_sizes", "").split())
    if not 0 < trees <= MAX_TREES or trees % per_iteration:
        raise MalformedModel("tree_sizes does not fit num_tree_per_iteration")
    if per_iteration != classes:
        raise MalformedModel("num_tree_per_iteration does not fit num_class")
    return TextModel(names, ranges, categories, trees, classes, header.get("objective", ""), header)


def _read_info(name: str, info: str, ranges: dict[str, tuple[float, float]], categories: dict[str, tuple[int, ...]]) -> None:
    """`[low:high]` for a number, `1:4:7` for categories, `none` for a feature that never varied."""
    if info == "none":
        return
    if info.startswith("[") and info.endswith("]"):
        low, _, high = info[1:-1].partition(":")
        ranges[name] = (_real(low, "feature_infos"), _real(high, "feature_infos"))
    else:
        categories[name] = tuple(_whole(part, -1, 2**31 - 1, "feature_infos") for part in info.split(":"))


def _check_trees(text: str, start: int, header: dict[str, str], model: TextModel) -> int:
    """The library cuts the text by `tree_sizes` (bytes), so the sizes must lead exactly from tree to tree. Gives the steps of all."""
    data = text.encode()
    position, steps = len(text[:start].encode()), 0
    for number, size_text in enumerate(header["tree_sizes"].split()):
        size = _whole(size_text, 1, len(data), "tree_sizes")
        block = data[position : position + size]
        mark = f"Tree={number}\n".encode()
        if not block.startswith(mark) or not block.endswith(b"\n"):
            raise MalformedModel(f"tree {number} does not start or end where tree_sizes says")
        try:
            steps += _check_tree(block[len(mark) :].decode("ascii"), len(model.features))
        except (MalformedModel, UnicodeDecodeError) as error:
            raise MalformedModel(f"tree {number}: {error}") from error
        position += size
    if not data[position:].startswith(b"end of trees\n"):
        raise MalformedModel("the trees do not end where tree_sizes says")
    return steps


def _check_tree(block: str, width: int) -> int:
    entries: dict[str, str] = {}
    for line in block.split("\n"):
        key, equals, value = line.partition("=")
        if not line:
            continue
        if not equals or key not in TREE_KEYS or key in entries:
            raise MalformedModel(f"unexpected line {line[:40]!r}")
        entries[key] = value
    leaves = _whole(entries.get("num_leaves", ""), 1, MAX_LEAVES, "num_leaves")
    categorical = _whole(entries.get("num_cat", ""), 0, MAX_LEAVES, "num_cat")
    if entries.get("is_linear", "0") != "0":
        raise MalformedModel("linear trees are not supported")
    if not isfinite(_real(entries.get("shrinkage", "1"), "shrinkage")):
        raise MalformedModel("shrinkage is not finite")
    values = _reals(entries, "leaf_value", leaves)
    if not all(map(isfinite, values)):
        raise MalformedModel("leaf_value is not finite")
    inner = leaves - 1
    for key, length in (("leaf_weight", leaves), ("leaf_count", leaves), ("split_gain", inner), ("internal_value", inner),
                        ("internal_weight", inner), ("internal_count", inner)):  # fmt: skip
        if key in entries and (entries[key] or leaves > 1):
            _reals(entries, key, length)
    return _check_splits(entries, leaves, categorical, width) if leaves > 1 else 0


def _check_splits(entries: dict[str, str], leaves: int, categorical: int, width: int) -> int:
    inner = leaves - 1
    if not all(0 <= feature < width for feature in _wholes(entries, "split_feature", inner)):
        raise MalformedModel("split_feature names a feature that is not there")
    kinds, thresholds = _wholes(entries, "decision_type", inner), _reals(entries, "threshold", inner)
    if not all(0 <= kind < 12 for kind in kinds) or any(map(isnan, thresholds)):
        raise MalformedModel("decision_type or threshold is out of range")
    if categorical:
        bounds = _wholes(entries, "cat_boundaries", categorical + 1)
        words = _wholes(entries, "cat_threshold", bounds[-1] if bounds[-1] <= 2**24 else 0)
        if bounds[0] != 0 or any(low > high for low, high in pairwise(bounds)) or not all(0 <= w < 2**32 for w in words):
            raise MalformedModel("cat_boundaries or cat_threshold is out of range")
    for kind, threshold in zip(kinds, thresholds, strict=True):
        if kind & 1 and not (0 <= threshold < categorical and threshold == int(threshold)):
            raise MalformedModel("a categorical split points outside cat_boundaries")
    return _walk(_wholes(entries, "left_child", inner), _wholes(entries, "right_child", inner), leaves)


def _walk(left: list[int], right: list[int], leaves: int) -> int:
    """Every node is reached from the root exactly once; leaves are written as the complement of their number. Gives the tree's steps."""
    seen_inner, seen_leaves = [False] * (leaves - 1), [False] * leaves
    level, steps = [0], 0
    seen_inner[0] = True
    for depth in range(1, MAX_DEPTH + 1):
        below: list[int] = []
        for node in level:
            for child in (left[node], right[node]):
                seen, index = (seen_leaves, ~child) if child < 0 else (seen_inner, child)
                if not 0 <= index < len(seen) or seen[index]:
                    raise MalformedModel("the children do not form a tree")
                seen[index] = True
                if child >= 0:
                    below.append(child)
        steps += (2 * len(level) - len(below)) * depth**2
        level = below
        if not level:
            break
    if level or not all(seen_inner) or not all(seen_leaves):
        raise MalformedModel("the children do not form one tree of bearable depth")
    return steps


def _wholes(entries: dict[str, str], key: str, length: int) -> list[int]:
    parts = entries.get(key, "").split(" ")
    if len(parts) != length or "_" in entries[key]:
        raise MalformedModel(f"{key} does not have {length} values")
    try:
        return [int(part) for part in parts]
    except ValueError as error:
        raise MalformedModel(f"{key} holds something else than whole numbers") from error


def _reals(entries: dict[str, str], key: str, length: int) -> list[float]:
    parts = entries.get(key, "").split(" ")
    if len(parts) != length or "_" in entries[key]:
        raise MalformedModel(f"{key} does not have {length} values")
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise MalformedModel(f"{key} holds something else than numbers") from error


def _whole(text: str, low: int, high: int, key: str) -> int:
    plain = text.removeprefix("-")
    if not plain.isascii() or not plain.isdigit() or len(plain) > 18 or not low <= int(text) <= high:
        raise MalformedModel(f"{key} is not a whole number from {low} to {high}")
    return int(text)


def _real(text: str, key: str) -> float:
    try:
        return float(text.replace("_", "?"))
    except ValueError as error:
        raise MalformedModel(f"{key} is not a number") from error
