"""From the numbers a model gives to the answers people get: labels by a threshold, or values clipped, in their unit and rounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from engine.tabular.documents import ArtifactError, entries, listed, maybe, number, text, whole
from engine.tabular.limits import MAX_CLASSES
from engine.tabular.problems import TrainingError
from engine.tabular.scoring import cumulated

Floats = NDArray[np.float64]
Label = str | int | float | bool

MAX_DECIMALS = 12
MAX_UNIT = 40
LEAST_FACTOR, MOST_FACTOR = 1e-12, 1e12
"""Sizes of a change of unit."""
_LARGEST = float(np.finfo(np.float64).max)
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class PostprocessingOptions:
    """How answers are made.

    Two classes: `threshold` on the second's probability, or "f1" for the one that has the best F1 on the validation part.
    Regression: `clip` to the range of the target seen in training, or to `low` and `high` in the target's unit, which go before; then the
    value times `factor` (a change of unit, for example 0.001 for thousands), rounded to `decimals` places. `unit` names what comes out.
    """

    threshold: float | Literal["f1"] = DEFAULT_THRESHOLD
    clip: bool = False
    low: float | None = None
    high: float | None = None
    factor: float = 1.0
    decimals: int | None = None
    unit: str = ""

    @property
    def bounded(self) -> bool:
        """Whether values are clipped."""
        return self.clip or self.low is not None or self.high is not None

    def __post_init__(self) -> None:
        if self.threshold != "f1" and not (isinstance(self.threshold, int | float) and 0 < self.threshold < 1):
            raise TrainingError("threshold", 'Must lie between 0 and 1, or be "f1".')
        if not LEAST_FACTOR <= abs(self.factor) <= MOST_FACTOR:
            raise TrainingError("factor", f"Must be a number from {LEAST_FACTOR:g} to {MOST_FACTOR:g}, or below 0 one of such a size.")
        if self.decimals is not None and not 0 <= self.decimals <= MAX_DECIMALS:
            raise TrainingError("decimals", f"Must be from 0 to {MAX_DECIMALS}.")
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None and not np.isfinite(bound):
                raise TrainingError(name, "Must be a finite number.")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise TrainingError("high", "Must be above low.")
        if len(self.unit) > MAX_UNIT or not self.unit.isprintable():
            raise TrainingError("unit", f"Must be a text of at most {MAX_UNIT} printable characters.")


@dataclass(frozen=True)
class Classes:
    """Labels in the order of their codes. `threshold` is for two classes: at or above it the second one is answered."""

    labels: tuple[Label, ...]
    threshold: float = DEFAULT_THRESHOLD

    def codes(self, probabilities: Floats) -> NDArray[np.int64]:
        """The class answered per row of rows × classes."""
        if len(self.labels) == 2:
            return np.asarray(probabilities[:, 1] >= self.threshold, dtype=np.int64)
        return np.asarray(np.argmax(probabilities, axis=1), dtype=np.int64)

    def answers(self, probabilities: Floats) -> list[Label]:
        return [self.labels[code] for code in self.codes(probabilities)]

    def named(self, probabilities: Floats) -> list[dict[str, float]]:
        """Per row, the probability of each label, which is written as JSON writes it (true, 3, or the text)."""
        names = [label_text(label) for label in self.labels]
        return [dict(zip(names, row, strict=True)) for row in probabilities.tolist()]

    def to_json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "threshold": self.threshold}


@dataclass(frozen=True)
class Values:
    """`low` and `high` bound the value in the target's unit; then comes `factor`, then rounding to `decimals`. `unit`: of the answers."""

    low: float | None = None
    high: float | None = None
    factor: float = 1.0
    decimals: int | None = None
    unit: str = ""

    def bounded(self, values: Floats) -> Floats:
        """In the unit of the target: what metrics are computed on."""
        if self.low is None and self.high is None:
            return values
        return np.clip(values, self.low, self.high)

    def answers(self, values: Floats) -> list[float]:
        """What people get; never infinite: at the border of what a number can hold instead."""
        changed = np.clip(self._scaled(values), -_LARGEST, _LARGEST)
        if self.decimals is None:
            return cast("list[float]", changed.tolist())
        with np.errstate(over="ignore"):
            rounded = np.round(changed, self.decimals)
        # NumPy rounds by way of a product that can overflow, of numbers so large that they have no decimals.
        return cast("list[float]", np.where(np.isfinite(rounded), rounded, changed).tolist())

    def beyond(self, values: Floats) -> int:
        """How many of the answers stand at that border."""
        return int(np.isinf(self._scaled(values)).sum())

    def _scaled(self, values: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return np.asarray(self.bounded(values) * self.factor, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        told = {"low": self.low, "high": self.high, "factor": self.factor, "decimals": self.decimals}
        return told | ({"unit": self.unit} if self.unit else {})


Postprocessor = Classes | Values


def best_f1_threshold(truth: NDArray[np.int64], probabilities: Floats) -> float:
    """The threshold on the second class's probability with the best F1; of equally good ones the highest. Without positives: 0.5."""
    positive = truth == 1
    if not positive.any():
        return DEFAULT_THRESHOLD
    hits, told, scores = cumulated(positive, probabilities[:, 1])
    best = int(np.argmax(2 * hits / (told + positive.sum())))
    # Halfway to the next lower score: a probability that differs in its last bit on another machine falls on the same side.
    lower = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float(np.clip((scores[best] + lower) / 2, 1e-9, 1 - 1e-9))


def label_text(label: Label) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def classes_from_json(value: object) -> Classes:
    """The inverse of `Classes.to_json`. Raises ArtifactError."""
    given = entries(value, "postprocessor", {"labels", "threshold"})
    labels = listed(given["labels"], "labels", _label, MAX_CLASSES)
    if len(labels) < 2 or len({label_text(label) for label in labels}) < len(labels):
        raise ArtifactError("labels must be at least two and differ")
    threshold = number(given["threshold"], "threshold")
    if not 0 < threshold < 1:
        raise ArtifactError("threshold must lie between 0 and 1")
    return Classes(labels, threshold)


def values_from_json(value: object) -> Values:
    """The inverse of `Values.to_json`. Raises ArtifactError."""
    if isinstance(value, dict):
        value = {"unit": "", **value}  # written only where there is one
    given = entries(value, "postprocessor", {"low", "high", "factor", "decimals", "unit"})
    low, high = maybe(given["low"], number, "low"), maybe(given["high"], number, "high")
    if low is not None and high is not None and low > high:
        raise ArtifactError("low is above high")
    factor = number(given["factor"], "factor")
    if factor == 0:
        raise ArtifactError("factor is 0")
    unit = text(given["unit"], "unit")
    if len(unit) > MAX_UNIT:
        raise ArtifactError(f"unit has more than {MAX_UNIT} characters")
    return Values(low, high, factor, maybe(given["decimals"], lambda item, name: whole(item, name, 0, MAX_DECIMALS), "decimals"), unit)


def learn_values(target: Sequence[float] | Floats, options: PostprocessingOptions) -> Values:
    """The regression postprocessor for a training target. Raises TrainingError where a bound lies beyond the other end of its range."""
    least, most = (float(np.min(target)), float(np.max(target))) if options.clip else (None, None)
    low, high = (least if options.low is None else options.low), (most if options.high is None else options.high)
    if low is not None and high is not None and low >= high:
        raise TrainingError("low" if options.low is not None else "high", f"Nothing lies between {low:g} and {high:g}.")
    return Values(low, high, options.factor, options.decimals, options.unit)


def _label(value: object, name: str) -> Label:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return whole(value, name, -(2**63), 2**63 - 1)
    return number(value, name)
