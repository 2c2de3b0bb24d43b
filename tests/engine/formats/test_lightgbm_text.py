"""Unsound LightGBM texts are told apart from sound ones before the library sees them."""

import pytest

from engine.formats.lightgbm_text import MalformedModel, check_text
from tests.engine.formats.samples import model_text, tree


def test_sound_text_is_described() -> None:
    model = check_text(model_text())

    assert model.features == ("price", "stock", "weekday")
    assert model.ranges == {"price": (-3.0, 3.0), "stock": (0.0, 10.0)}
    assert model.categories == {"weekday": (-1, 0, 1, 2)}
    assert (model.trees, model.classes, model.objective) == (2, 1, "regression")


def test_single_leaf_tree_is_sound() -> None:
    leaf = "Tree=0\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\nleaf_value=3\nshrinkage=1\n\n\n"

    assert check_text(model_text(leaf)).trees == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"left_child": "0 -1"},  # a node that is its own child: an endless loop
        {"left_child": "1 -2"},  # a leaf reached twice, another never
        {"right_child": "-2 -9"},  # outside the leaves
        {"right_child": "7 -3"},  # outside the nodes
        {"left_child": "1"},
        {"split_feature": "0 3"},
        {"split_feature": "0 -1"},
        {"threshold": "nan 0"},
        {"threshold": "0.25 1"},  # a category set that is not there
        {"decision_type": "2 99"},
        {"cat_boundaries": "0 5"},
        {"cat_boundaries": "1 1"},
        {"cat_threshold": "-6"},
        {"num_leaves": "4"},
        {"num_leaves": "99999999999999999999"},
        {"num_leaves": "٣"},
        {"leaf_value": "0.5 inf 1.5"},
        {"leaf_value": "0.5 x 1.5"},
        {"leaf_value": "0_5 1 1.5"},
        {"is_linear": "1"},
        {"surprise": "1"},
        {"shrinkage": "nan"},
    ],
)
def test_unsound_tree_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(MalformedModel, match="tree 0"):
        check_text(model_text(tree(0, **changes)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tree_sizes=", "tree_sizes=1"),
        ("num_class=1", "num_class=2"),
        ("num_class=1", "num_class=-1"),
        ("max_feature_idx=2", "max_feature_idx=3"),
        ("max_feature_idx=2", "max_feature_idx=9999999"),
        ("price stock weekday", "price price weekday"),
        ("price stock weekday", "price  weekday"),
        ("[0:10]", "[0:x]"),
        ("version=v4", "version=v9"),
        ("version=v4", "version=v4\nversion=v4"),
        ("\nTree=0", "\nTree=3\n\nTree=0"),
        ("label_index=0", "label_index=0\nsurprise=1"),
        ("end of trees", "end of tree"),
        ("Tree=1", "Tree=7"),
        ("Tree=0", "Tree=00"),
        ("tree\n", "three\n"),
        ("\n\nparameters", "\0\nparameters"),
    ],
)
def test_unsound_header_is_refused(old: str, new: str) -> None:
    with pytest.raises(MalformedModel):
        check_text(model_text().replace(old, new, 1))


def test_chain_deeper_than_explanations_bear_is_refused() -> None:
    leaves = 2_000
    inner = leaves - 1
    left = " ".join(str(index + 1) if index + 1 < inner else str(~inner) for index in range(inner))
    right = " ".join(str(~index) for index in range(inner))
    zeros, ones = " ".join(["0"] * inner), " ".join(["1"] * leaves)
    chain = (
        f"Tree=0\nnum_leaves={leaves}\nnum_cat=0\nsplit_feature={zeros}\nthreshold={zeros}\ndecision_type={zeros}\n"
        f"left_child={left}\nright_child={right}\nleaf_value={ones}\nshrinkage=1\n\n\n"
    )

    with pytest.raises(MalformedModel, match="depth"):
        check_text(model_text(chain))
