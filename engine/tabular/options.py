"""Options of pre- and post-processing as people write them, in JSON: read strictly, each refusal naming the option."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from engine.tabular.columns import Task
from engine.tabular.postprocessing import DEFAULT_THRESHOLD, PostprocessingOptions
from engine.tabular.preprocessing import PreprocessingOptions
from engine.tabular.problems import TrainingError

POSTPROCESSING: dict[Task, tuple[str, ...]] = {
    "classification": ("threshold",),
    "regression": ("clip", "low", "high", "factor", "decimals", "unit"),
}
PREPROCESSING = ("most_categories", "min_category_rows")
MOST_CATEGORIES = 1_000
"""What the algorithms keep at most; more could be asked for in vain."""
MOST_CATEGORY_ROWS = 1_000_000


def postprocessing_of(value: Mapping[str, Any], task: Task) -> PostprocessingOptions:
    """The options of a task. Raises TrainingError naming what is unknown, of a wrong type, or impossible."""
    _check_names(value, POSTPROCESSING[task], task)
    return PostprocessingOptions(**{name: _READERS[name](name, given) for name, given in value.items()})


def preprocessing_of(value: Mapping[str, Any]) -> PreprocessingOptions:
    """The same for what is learnt about columns."""
    _check_names(value, PREPROCESSING)
    return PreprocessingOptions(**{name: _READERS[name](name, given) for name, given in value.items()})


def in_words(preprocessing: Mapping[str, Any], postprocessing: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What valid options ask for, as label and value; nothing where they are the defaults."""
    told: list[tuple[str, str]] = []
    if "most_categories" in preprocessing:
        told.append(("Categories kept", f"the {preprocessing['most_categories']:,} most frequent of a feature, the others pooled"))
    if preprocessing.get("min_category_rows", 1) > 1:
        told.append(("Rare categories", f"those of fewer than {preprocessing['min_category_rows']:,} rows are pooled"))
    threshold = postprocessing.get("threshold", DEFAULT_THRESHOLD)
    if threshold != DEFAULT_THRESHOLD:
        told.append(("Threshold", "the one with the best F1 on validation" if threshold == "f1" else f"{threshold:g}"))
    if steps := _steps(postprocessing):
        told.append(("Answers", ", ".join(steps)))
    return told


def _steps(given: Mapping[str, Any]) -> list[str]:
    """What becomes of a number, in the order in which it happens."""
    steps = ["clipped to the range of the training target"] if given.get("clip") else []
    steps += [f"{word} {given[name]:g}" for name, word in (("low", "at least"), ("high", "at most")) if given.get(name) is not None]
    steps += [f"times {given['factor']:g}"] if given.get("factor", 1) != 1 else []
    steps += [f"rounded to {given['decimals']} decimals"] if given.get("decimals") is not None else []
    return steps + ([f"in {given['unit']}"] if given.get("unit") else [])


def _check_names(value: Mapping[str, Any], known: tuple[str, ...], task: str = "") -> None:
    for name in value:
        if name not in known:
            raise TrainingError(str(name)[:100], f"Unknown option{f' of a {task}' if task else ''}. Known: {', '.join(known)}.")


def _threshold(name: str, value: Any) -> Any:
    return value if value == "f1" else _number(name, value, 'Must be a number between 0 and 1, or "f1".')


def _number(name: str, value: Any, message: str = "Must be a finite number.") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise TrainingError(name, message)
    return float(value)


def _maybe_number(name: str, value: Any) -> float | None:
    return None if value is None else _number(name, value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TrainingError(name, "Must be true or false.")
    return value


def _decimals(name: str, value: Any) -> int | None:
    return None if value is None else _whole(name, value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TrainingError(name, "Must be a whole number.")
    return value


def _unit(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TrainingError(name, "Must be a text.")
    return value


def _up_to(most: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        if not 1 <= _whole(name, value) <= most:
            raise TrainingError(name, f"Must be from 1 to {most:,}.")
        return int(value)

    return read


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "threshold": _threshold,
    "clip": _flag,
    "low": _maybe_number,
    "high": _maybe_number,
    "factor": _number,
    "decimals": _decimals,
    "unit": _unit,
    "most_categories": _up_to(MOST_CATEGORIES),
    "min_category_rows": _up_to(MOST_CATEGORY_ROWS),
}
