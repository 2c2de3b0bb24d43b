"""What the loaders share: the refusal, the rows they score, and a strict reading of JSON."""

import json

PROBES = (0.0, float("nan"), 1.0, -1.0, 1e30, -1e30, 0.5)
"""Every feature of a row has the same one of these values."""
TAME_PROBES = (0.0, 1.0, 0.5)
"""For models that are no trees: what is missing or beyond all bounds in goes the same way out."""
MAX_DEPTH = 64


class Refused(Exception):
    """The file was understood well enough to say no."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(message)


def strict_json(data: bytes) -> object:
    def pairs(entries: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(entries)
        if len(made) != len(entries):
            raise Refused("malformed", "The document names a field twice.")
        return made

    def constant(name: str) -> object:
        raise Refused("malformed", f"The document holds {name}, which is no JSON.")

    try:
        document: object = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except ValueError as error:
        raise Refused("malformed", "The document is not valid JSON.") from error
    return document


def strings(document: object) -> list[str]:
    """Every text in the document. Walks level by level, so that depth is a number and not a stack."""
    found: list[str] = []
    level: list[object] = [document]
    for _ in range(MAX_DEPTH):
        found += [value for value in level if isinstance(value, str)]
        level = [inner for value in level for inner in inside(value)]
        if not level:
            return found
    raise Refused("too_nested", f"The document is nested more than {MAX_DEPTH} deep.")


def inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
