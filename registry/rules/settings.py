"""What policies and recipes share: settings by name, each a number within a range or one of a few words."""

import math
from typing import Any


class SettingError(ValueError):
    """A setting that cannot be used; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def number_problem(value: Any, *, low: float, high: float, whole: bool) -> str:
    """What is wrong with the value of a numeric setting; empty if nothing is. True and false are no numbers."""
    known = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if known and math.isfinite(value) and low <= value <= high:
        return ""
    return f"Must be a {'whole ' if whole else ''}number from {low:g} to {high:g}."
