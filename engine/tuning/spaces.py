"""Search spaces: what a study may try. Written by users as JSON, checked against hard limits, suggested to Optuna's trials.

`{"learning_rate": {"type": "float", "low": 0.01, "high": 0.3, "log": true}, "depth": {"type": "int", "low": 4, "high": 10},
"grow_policy": {"type": "categorical", "choices": ["Depthwise", "Lossguide"]}, "iterations": 500}` - a bare value is fixed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from engine.tabular.columns import Task
from engine.tuning.limits import KIND, Limit, Limits, Number, Words, limits_of

if TYPE_CHECKING:
    from optuna import Trial

Scalar = bool | int | float | str
MOST_CHOICES = 100
LARGEST_GRID = 10_000


class SpaceError(ValueError):
    """A search space that cannot be searched; `field` names the place."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; on a logarithmic scale when `log`, at multiples of `step` from `low` when given."""

    low: float
    high: float
    whole: bool
    log: bool = False
    step: float | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"type": "int" if self.whole else "float", "low": self.low, "high": self.high}
        return value | ({"log": True} if self.log else {}) | ({"step": self.step} if self.step is not None else {})

    def holds(self, value: object) -> bool:
        """Whether a trial of this range could have the value."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        if not (math.isfinite(value) and self.low <= value <= self.high):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-8

    def points(self) -> list[Scalar] | None:
        """Every value in order, or None where there is no end of them."""
        if self.low == self.high:
            return [self.low]
        step = self.step or (1 if self.whole else None)
        if step is None:
            return None
        count = math.floor((self.high - self.low) / step + 1e-8) + 1
        if count > LARGEST_GRID:
            return None
        return [self._nth(i, step) for i in range(count)]

    def point(self, value: Any) -> Scalar:
        """The point of a grid that a value of this range is, which may differ in its last digits."""
        step = self.step or (1 if self.whole else None)
        found: Scalar = value if step is None else self._nth(round((value - self.low) / step), step)
        return found

    def _nth(self, number: int, step: float) -> float:
        """The last step may end beyond the range by the last digit of a float."""
        return min(self.low + step * number, self.high)


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    choices: tuple[Scalar, ...]

    def to_json(self) -> dict[str, Any]:
        return {"type": "categorical", "choices": list(self.choices)}

    def holds(self, value: object) -> bool:
        """Whether the value is among the choices. 1 and true are different."""
        return any(type(value) is type(choice) and value == choice for choice in self.choices)

    def points(self) -> list[Scalar]:
        """The choices."""
        return list(self.choices)

    def point(self, value: Any) -> Scalar:
        """The choice itself."""
        chosen: Scalar = value
        return chosen


@dataclass(frozen=True)
class Space:
    """Parameters to search, and parameters with a fixed value."""

    searched: dict[str, Range | Choice]
    fixed: dict[str, Scalar] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `parse` reads it."""
        return {name: one.to_json() for name, one in self.searched.items()} | self.fixed

    @property
    def single(self) -> bool:
        """Whether there is one point and nothing to search."""
        return all(len(one.points() or ()) == 1 for one in self.searched.values())

    def grid_size(self) -> int:
        """How many points there are. Raises SpaceError for a parameter without an end, or a grid that is too large."""
        size = 1
        for name, one in self.searched.items():
            points = one.points()
            if points is None:
                raise SpaceError(name, f"A grid needs a step (or choices) and at most {LARGEST_GRID:,} points.")
            size *= len(points)
        if size > LARGEST_GRID:
            raise SpaceError("", f"The grid has {size:,} points; at most {LARGEST_GRID:,} are allowed.")
        return size

    def grid(self) -> list[dict[str, Scalar]]:
        """Every point, the last parameter changing fastest. Raises SpaceError."""
        self.grid_size()
        axes = [one.points() or [] for one in self.searched.values()]
        return [dict(zip(self.searched, point, strict=True)) for point in product(*axes)]

    def point(self, params: Mapping[str, Any]) -> dict[str, Scalar]:
        """The point of the grid that parameters which fit this space are."""
        return {name: one.point(params[name]) for name, one in self.searched.items()}

    def misfit(self, params: Mapping[str, Any]) -> str:
        """Why a trial of this space could not have had these parameters (fixed ones included); empty if it could."""
        for name, one in self.searched.items():
            if name not in params:
                return f"{name} is not among its parameters"
            if not one.holds(params[name]):
                return f"{name} {params[name]!r} is outside this space"
        for name, value in params.items():
            if name not in self.searched and not (name in self.fixed and self.fixed[name] == value):
                return f"{name} {value!r} is not what this space has"
        return ""

    def largest(self, name: str, default: int) -> int:
        """The largest whole number a parameter can have; the default where the space does not say."""
        one = self.searched.get(name)
        if isinstance(one, Range):
            return int(one.high)
        if isinstance(one, Choice):
            return max((int(choice) for choice in one.choices if isinstance(choice, int)), default=default)
        fixed = self.fixed.get(name, default)
        return int(fixed) if isinstance(fixed, (int, float)) else default


def suggest(trial: "Trial", space: Space) -> dict[str, Any]:
    """One trial's parameters, the fixed ones among them."""
    params: dict[str, Any] = dict(space.fixed)
    for name, one in space.searched.items():
        if isinstance(one, Choice):
            params[name] = trial.suggest_categorical(name, list(one.choices))
        elif one.whole:
            params[name] = trial.suggest_int(name, int(one.low), int(one.high), step=int(one.step or 1), log=one.log)
        else:
            params[name] = trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)
    return params


def parse(value: Mapping[str, Any], *, algorithm: str, task: Task) -> Space:
    """The space that a user wrote for an algorithm. Raises SpaceError naming parameter and part: `learning_rate.low`."""
    kind = ""
    if algorithm == "sklearn" and KIND in value:
        kind = value[KIND] if isinstance(value[KIND], str) else ""
        try:
            limits_of(algorithm, task, kind=kind or "?")
        except ValueError as refusal:
            raise SpaceError(KIND, f"{refusal} It has to be fixed: each kind has parameters of its own.") from None
    return parse_within(value, limits_of(algorithm, task, kind=kind))


def parse_within(value: Mapping[str, Any], limits: Limits) -> Space:
    """The space that a user wrote, within limits and in their order, whatever the order it was written or kept in: samplers draw one
    parameter after the other, so that a seed would mean something else in another. Raises SpaceError."""
    if not value:
        raise SpaceError("", "Name at least one parameter, or leave the search space out to take the default one.")
    searched: dict[str, Range | Choice] = {}
    fixed: dict[str, Scalar] = {}
    for name in value:
        if name not in limits:
            raise SpaceError(name[:100], f"Unknown parameter. Known here: {', '.join(sorted(limits))}.")
    for name in (known for known in limits if known in value):
        given = value[name]
        if isinstance(given, Mapping):
            searched[name] = _searched(name, given, limits[name])
        else:
            fixed[name] = _allowed(name, given, limits[name])
    return Space(searched, fixed)


_PARTS = {"float": ("low", "high", "log", "step"), "int": ("low", "high", "log", "step"), "categorical": ("choices",)}


def _searched(name: str, given: Mapping[str, Any], limit: Limit) -> Range | Choice:
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in _PARTS:
        raise SpaceError(f"{name}.type", f"Must be one of: {', '.join(_PARTS)}.")
    unknown = sorted(set(given) - {"type", *_PARTS[kind]})
    if unknown:
        raise SpaceError(f"{name}.{unknown[0][:100]}", f"Unknown here. Known for {kind}: type, {', '.join(_PARTS[kind])}.")
    if kind == "categorical":
        return _choice(name, given.get("choices"), limit)
    if isinstance(limit, Words):
        raise SpaceError(f"{name}.type", f"Must be categorical: the parameter is {limit}.")
    if limit.whole and kind == "float":
        raise SpaceError(f"{name}.type", "Must be int: the parameter is a whole number.")
    return _range(name, given, limit, whole=kind == "int")


def _choice(name: str, choices: Any, limit: Limit) -> Choice:
    if not isinstance(choices, list) or not 1 <= len(choices) <= MOST_CHOICES:
        raise SpaceError(f"{name}.choices", f"Must be a list of 1 to {MOST_CHOICES} values.")
    allowed = tuple(_allowed(f"{name}.choices", one, limit) for one in choices)
    if len({(isinstance(one, bool), one) for one in allowed}) < len(allowed):
        raise SpaceError(f"{name}.choices", "A value is there twice.")
    return Choice(allowed)


def _range(name: str, given: Mapping[str, Any], limit: Number, *, whole: bool) -> Range:
    bounds = Number(limit.low, limit.high, whole=whole)
    low, high = (_number(f"{name}.{part}", given.get(part), bounds) for part in ("low", "high"))
    log, step = given.get("log", False), given.get("step")
    if low > high:
        raise SpaceError(f"{name}.high", f"Must be at least low, {low:g}.")
    if not isinstance(log, bool):
        raise SpaceError(f"{name}.log", "Must be true or false.")
    if log and low <= 0:
        raise SpaceError(f"{name}.low", "Must be above 0 on a logarithmic scale.")
    if step is None:
        return Range(low, high, whole, log)
    if log:
        raise SpaceError(f"{name}.step", "A logarithmic scale has no step.")
    step = _number(f"{name}.step", step, Number(1 if whole else 1e-9, max(limit.high - limit.low, 1), whole=whole))
    return Range(low, high, whole, step=step)


def _number(place: str, value: Any, limit: Number) -> float:
    known = isinstance(value, int if limit.whole else (int, float)) and not isinstance(value, bool)
    if not (known and math.isfinite(value) and limit.low <= value <= limit.high):
        raise SpaceError(place, f"Must be {limit}.")
    return int(value) if limit.whole else float(value)


def _allowed(place: str, value: Any, limit: Limit) -> Scalar:
    """A single value within the limit."""
    if isinstance(limit, Number):
        return _number(place, value, limit)
    if not Choice(limit.choices).holds(value):
        raise SpaceError(place, f"Must be {limit}.")
    allowed: Scalar = value
    return allowed
