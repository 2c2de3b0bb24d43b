"""Whether reported results hold. Values in, answer out; no database, no clock."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TOLERANCE_PP = 0.1
"""How far a reported improvement may lie from what the two MAEs say, in percentage points: people round."""


@dataclass(frozen=True)
class Results:
    """What an experiment measured: MAE of both sides in units of demand, improvement in percent of the baseline's."""

    baseline_mae: float
    experimental_mae: float
    improvement_pct: float

    def to_json(self) -> dict[str, float]:
        """As it is kept."""
        return asdict(self)


class ResultsError(ValueError):
    """Results that cannot be; `field` names the number."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def checked_results(given: Mapping[str, Any]) -> Results:
    """The results, their improvement recomputed where it was left out. Raises ResultsError for what is no number, a baseline that is not
    above zero, a negative error, or an improvement that the two MAEs do not say."""
    baseline, experimental = _number(given, "baseline_mae"), _number(given, "experimental_mae")
    if baseline <= 0:
        raise ResultsError("baseline_mae", "Must be above zero: nothing can be compared with an error of zero or less.")
    if experimental < 0:
        raise ResultsError("experimental_mae", "An absolute error is never negative.")
    computed = 100.0 * (baseline - experimental) / baseline
    if not math.isfinite(computed):
        raise ResultsError("baseline_mae", "Too small beside the experimental MAE to be compared with it.")
    if given.get("improvement_pct") is None:
        return Results(baseline, experimental, round(computed, 4))
    reported = _number(given, "improvement_pct")
    if abs(reported - computed) > TOLERANCE_PP + 1e-9:
        raise ResultsError(
            "improvement_pct", f"The two MAEs say {computed:.2f} %, not {reported:g} %; it may differ by {TOLERANCE_PP:g} at most."
        )
    return Results(baseline, experimental, reported)


def _number(given: Mapping[str, Any], name: str) -> float:
    value = given.get(name)
    if value is None:
        raise ResultsError(name, "This number is missing.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ResultsError(name, "Must be a finite number.")
    return float(value)
