"""Reading parts of our own JSON documents strictly: a wrong type is an error that names the entry, never a surprise later."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class ArtifactError(ValueError):
    """The bytes are not a model this version can read; the message says what is wrong."""


def entries(value: object, name: str, fields: set[str]) -> dict[str, Any]:
    """An object with exactly these fields."""
    if not isinstance(value, dict):
        raise ArtifactError(f"{name} must be an object")
    if missing := fields - value.keys():
        raise ArtifactError(f"{name} lacks {', '.join(sorted(missing))}")
    if unknown := value.keys() - fields:
        raise ArtifactError(f"{name} has unknown fields: {', '.join(sorted(map(str, unknown)))[:200]}")
    return value


def text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ArtifactError(f"{name} must be a text")
    return value


def one_of(value: object, name: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed or not isinstance(value, str):
        raise ArtifactError(f"{name} must be one of {', '.join(allowed)}")
    return value


def flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise ArtifactError(f"{name} must be true or false")
    return value


def number(value: object, name: str) -> float:
    """A finite number; JSON as such has no NaN, but 1e999 reads as infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArtifactError(f"{name} must be a number")
    try:
        found = float(value)
    except OverflowError as error:
        raise ArtifactError(f"{name} is too large") from error
    if not math.isfinite(found):
        raise ArtifactError(f"{name} must be finite")
    return found


def whole(value: object, name: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ArtifactError(f"{name} must be a whole number from {low} to {high}")
    return value


def maybe(value: object, read: Callable[[object, str], T], name: str) -> T | None:
    return None if value is None else read(value, name)


def listed(value: object, name: str, read: Callable[[object, str], T], most: int) -> tuple[T, ...]:
    """A list of at most `most` values, each read by `read`."""
    if not isinstance(value, list) or len(value) > most:
        raise ArtifactError(f"{name} must be a list of at most {most}")
    return tuple(read(item, f"{name}[{index}]") for index, item in enumerate(value))
