"""From the numbers a model gives to the answers people get: labels by a threshold, or values clipped, in their unit and rounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from engine.tabular.documents import ArtifactError, entries, listed, maybe, number, whole
from engine.tabular.limits import MAX_CLASSES
from engine.tabular.problems import TrainingError
from engine.tabular.scoring import cumulated

Floats = NDArray[np.float64]
Label = str | int | float | bool

MAX_DECIMALS = 12
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class PostprocessingOptions:
    """How answers are made.

    Two classes: `threshold` on the second's probability, or "f1" for the one that has the best F1 on the validation part.
    Regression: `clip` to the range of the target seen in training; then the value times `factor` (a change of unit, for example
    0.001 for thousands), rounded to `decimals` places.
    """

    threshold: float | Literal["f1"] = DEFAULT_THRESHOLD
    clip: bool = False
    factor: float = 1.0
    decimals: int | None = None

    def __post_init__(self) -> None:
        if self.threshold != "f1" and not (isinstance(self.threshold, int | float) and 0 < self.threshold < 1):
            raise TrainingError("threshold", 'Must lie between 0 and 1, or be "f1".')
        if not np.isfinite(self.factor) or self.factor == 0:
            raise TrainingError("factor", "Must be a finite number other than 0.")
        if self.decimals is not None and not 0 <= self.decimals <= MAX_DECIMALS:
            raise TrainingError("decimals", f"Must be from 0 to {MAX_DECIMALS}.")


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
    """`low` and `high` bound the value in the target's unit; then comes `factor`, then rounding to `decimals`."""

    low: float | None = None
    high: float | None = None
    factor: float = 1.0
    decimals: int | None = None

    def bounded(self, values: Floats) -> Floats:
        """In the unit of the target: what metrics are computed on."""
        if self.low is None and self.high is None:
            return values
        return np.clip(values, self.low, self.high)

    def answers(self, values: Floats) -> list[float]:
        changed = self.bounded(values) * self.factor
        rounded = changed if self.decimals is None else np.round(changed, self.decimals)
        return cast("list[float]", rounded.tolist())

    def to_json(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "factor": self.factor, "decimals": self.decimals}


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
    given = entries(value, "postprocessor", {"low", "high", "factor", "decimals"})
    low, high = maybe(given["low"], number, "low"), maybe(given["high"], number, "high")
    if low is not None and high is not None and low > high:
        raise ArtifactError("low is above high")
    factor = number(given["factor"], "factor")
    if factor == 0:
        raise ArtifactError("factor is 0")
    return Values(low, high, factor, maybe(given["decimals"], lambda item, name: whole(item, name, 0, MAX_DECIMALS), "decimals"))


def learn_values(target: Sequence[float] | Floats, options: PostprocessingOptions) -> Values:
    """The regression postprocessor for a training target."""
    low, high = (float(np.min(target)), float(np.max(target))) if options.clip else (None, None)
    return Values(low, high, options.factor, options.decimals)


def _label(value: object, name: str) -> Label:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return whole(value, name, -(2**63), 2**63 - 1)
    return number(value, name)
