"""How a mean model and a quantile model become one forecast: weights per level of demand, and a correction of recent bias.

The forecast with the least absolute error under a bound on total bias is one common quantile of all series, not the
mean of each and not the median of each. So the second model is a quantile a little above the median; the weights say
how far to follow it at each level of demand, and a level correction from recent days keeps total bias near zero.
Everything here is learnt on days after those the models of that moment were trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.forecasting.features import Rows
from engine.forecasting.intervals import Doubles, level_edges

_WEIGHTS = (0.0, 0.25, 0.5, 0.75)
"""Not 1: a pure quantile would forecast no demand at all for slow movers."""
_PASSES = 3
CORRECTION_DAYS = 28
_LARGEST_CORRECTION = 0.15


@dataclass(frozen=True)
class Blend:
    """Weight of the quantile model in each band of the mean model's forecast."""

    edges: tuple[float, ...] = ()
    weights: tuple[float, ...] = (0.5,)

    def apply(self, mean: Doubles, typical: Doubles) -> Doubles:
        weight = np.asarray(self.weights)[np.searchsorted(np.asarray(self.edges), mean)]
        return (1.0 - weight) * mean + weight * typical

    def to_json(self) -> dict[str, Any]:
        return {"edges": list(self.edges), "weights": list(self.weights)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Blend":
        edges, weights = tuple(map(float, value["edges"])), tuple(map(float, value["weights"]))
        if len(weights) != len(edges) + 1 or not all(0.0 <= weight <= 1.0 for weight in weights):
            raise ValueError("a blend needs one weight between 0 and 1 per band")
        return cls(edges, weights)


def learn_blend(mean: Doubles, typical: Doubles, actual: Doubles) -> Blend:
    """Choose the weights that minimize total absolute error once total bias is removed, one band after the other."""
    edges = level_edges(mean)
    band = np.searchsorted(np.asarray(edges), mean)
    weights = [_WEIGHTS[-1]] * (len(edges) + 1)
    for _ in range(_PASSES):
        for index in range(len(weights)):
            trials = [[*weights[:index], weight, *weights[index + 1 :]] for weight in _WEIGHTS]
            errors = [_unbiased_error(mean, typical, actual, np.asarray(trial)[band]) for trial in trials]
            weights[index] = _WEIGHTS[int(np.argmin(errors))]
    return Blend(edges, tuple(weights))


def _unbiased_error(mean: Doubles, typical: Doubles, actual: Doubles, weight: Doubles) -> float:
    blended = (1.0 - weight) * mean + weight * typical
    return float(np.abs(actual - blended * correction(float(actual.sum()), float(blended.sum()))).sum())


def correction(actual: float, forecast: float) -> float:
    """Factor that would have removed the bias of these totals, kept within bounds; 1 where nothing was forecast."""
    if forecast <= 0.0 or actual < 0.0:
        return 1.0
    return float(np.clip(actual / forecast, 1.0 - _LARGEST_CORRECTION, 1.0 + _LARGEST_CORRECTION))


@dataclass(frozen=True)
class Tail:
    """Totals per day of actuals and of uncorrected forecasts, for days the forecasting model had not seen."""

    days: tuple[int, ...]
    """Proleptic ordinals, ascending."""
    actual: tuple[float, ...]
    forecast: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return {"days": list(self.days), "actual": list(self.actual), "forecast": list(self.forecast)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Tail":
        days = tuple(map(int, value["days"]))
        actual, forecast = (tuple(map(float, value[name])) for name in ("actual", "forecast"))
        if not len(days) == len(actual) == len(forecast):
            raise ValueError("the tail needs one pair of totals per day")
        return cls(days, actual, forecast)


def daily_totals(rows: Rows, actual: Doubles, forecast: Doubles, *, first_ordinal: int) -> Tail:
    """Totals over the rows whose actual is known, by target day. Each day must be forecast from one origin only."""
    known = ~np.isnan(actual)
    days, group = np.unique(rows.day[known], return_inverse=True)
    sums = [np.bincount(group, weights=values[known], minlength=len(days)) for values in (actual, forecast)]
    return Tail(tuple(int(day) + first_ordinal for day in days), tuple(map(float, sums[0])), tuple(map(float, sums[1])))


def recent_correction(tail: Tail, *, origin: int) -> float:
    """The correction from the days (ordinals) of the last weeks up to `origin`."""
    days = np.asarray(tail.days)
    recent = (days <= origin) & (days > origin - CORRECTION_DAYS)
    return correction(float(np.asarray(tail.actual)[recent].sum()), float(np.asarray(tail.forecast)[recent].sum()))
