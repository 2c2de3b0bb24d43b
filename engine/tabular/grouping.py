"""Many warnings of one kind as one, so that three hundred constant columns do not hide the one that is a leak."""

from collections.abc import Iterable

from engine.frames.problems import MAX_EXAMPLES, FrameProblem, shorten

_MANY = {
    "ambiguous_dates": "hold dates that can be read in several ways",
    "constant_feature": "have the same value in every row",
    "constant_in_train": "are the same in every row of train: nothing is learned from them",
    "empty_feature": "have no value in any row",
    "feature_beyond_single": "reach beyond 3.4e+38: models hold features in single precision, and what is beyond counts as that",
    "id_like": "look like identifiers: nearly every row has a value of its own",
    "mostly_numbers": "are taken for text because a few of their values are no numbers",
    "target_copied": "are the target itself",
    "target_told": "alone tell the target almost completely, each of them",
    "time_travel": "lie after the row's own time: they were not known then",
}


def grouped(problems: Iterable[FrameProblem]) -> tuple[FrameProblem, ...]:
    """The same, code by code, but more than MAX_EXAMPLES warnings of one code become one: how many columns, the first ones as examples,
    `rows` the most rows that one of them has."""
    by_code: dict[str, list[FrameProblem]] = {}
    for problem in problems:
        by_code.setdefault(problem.code, []).append(problem)
    return tuple(one for code, alike in by_code.items() for one in (_one(code, alike) if _is_many(code, alike) else alike))


def _is_many(code: str, alike: list[FrameProblem]) -> bool:
    return code in _MANY and len(alike) > MAX_EXAMPLES and all(one.severity == "warning" for one in alike)


def _one(code: str, alike: list[FrameProblem]) -> list[FrameProblem]:
    columns = shorten(one.column for one in alike)
    return [FrameProblem(code, f"{len(alike):,} columns {_MANY[code]}.", "warning", None, max(one.rows for one in alike), columns)]
