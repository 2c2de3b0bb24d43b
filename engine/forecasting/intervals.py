"""Prediction intervals by split conformal calibration, in bands of demand level and relative to each series' own scale.

Residuals of forecasts the model made for days it had not seen are divided by the series' recent scale and their
quantiles taken per band (Vovk's "Mondrian" conformal prediction; the finite-sample rank (n + 1) * p of Lei et al.,
"Distribution-free predictive inference for regression", 2018). Time series are not exchangeable, so the nominal
coverage is an aim that every backtest measures, not a guarantee.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.forecasting.features import Rows
from engine.forecasting.grid import Grid

Doubles = NDArray[np.float64]

NOMINAL = 0.9
_ALLOWANCE = 0.015
"""Added to the nominal coverage while calibrating: a model in use is older than it was on its calibration days."""
_SCALE_DAYS = 91
_SMALLEST_SCALE = 0.3
_MIN_PER_BAND = 200
_MAX_BANDS = 8
_FEWEST = 20
"""Residuals that bounds are learnt from, at least."""


@dataclass(frozen=True)
class Intervals:
    """Per band of level: the residual quantiles, in units of scale, that bound the nominal share of outcomes."""

    nominal: float
    edges: tuple[float, ...]
    """Upper level of each band but the last."""
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def bounds(self, prediction: Doubles, level: Doubles, scale: Doubles) -> tuple[Doubles, Doubles]:
        band = np.searchsorted(np.asarray(self.edges), level)
        low = prediction + np.asarray(self.lower)[band] * scale
        high = prediction + np.asarray(self.upper)[band] * scale
        return np.clip(low, 0.0, prediction), np.maximum(high, prediction)

    def to_json(self) -> dict[str, Any]:
        return {"nominal": self.nominal, "edges": list(self.edges), "lower": list(self.lower), "upper": list(self.upper)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Intervals":
        edges, lower, upper = (tuple(float(item) for item in value[name]) for name in ("edges", "lower", "upper"))
        if not len(lower) == len(upper) == len(edges) + 1:
            raise ValueError("intervals need one lower and one upper bound per band")
        nominal = float(value["nominal"])
        if not 0 < nominal < 1 or not np.isfinite([*edges, *lower, *upper]).all() or list(edges) != sorted(edges):
            raise ValueError("intervals need a nominal coverage between 0 and 1, finite bounds and ascending edges")
        return cls(nominal, edges, lower, upper)


def level_edges(level: Doubles) -> tuple[float, ...]:
    """Edges of bands of equal size, as many as leave each enough samples."""
    bands = int(np.clip(len(level) // _MIN_PER_BAND, 1, _MAX_BANDS))
    inner = np.quantile(level, np.arange(1, bands) / bands) if bands > 1 else np.empty(0)
    return tuple(float(edge) for edge in np.unique(inner))


def calibrate(residual: Doubles, prediction: Doubles, level: Doubles, scale: Doubles, *, nominal: float = NOMINAL) -> Intervals | None:
    """Learn the bands from residuals (actual - prediction) of days the model had not seen; None without enough of them.

    Where demand can hardly fall below the lower bound because it ends at zero, the whole miss probability goes to the
    upper side: a slow mover's interval starts at 0 and is as narrow above as the nominal coverage allows.
    """
    if len(residual) < _FEWEST:
        return None
    edges = level_edges(level)
    band = np.searchsorted(np.asarray(edges), level)
    lower, upper = [], []
    for index in range(len(edges) + 1):
        inside = band == index
        if inside.sum() < _FEWEST:  # forecasts that repeat one level leave a band without any: it takes the bounds of all together
            inside = np.ones(len(band), dtype=np.bool_)
        low, high = _bounds(residual[inside] / scale[inside], prediction[inside] / scale[inside], 1.0 - min(nominal + _ALLOWANCE, 0.995))
        lower.append(low)
        upper.append(high)
    return Intervals(nominal, edges, tuple(lower), tuple(upper))


def _bounds(residual: Doubles, prediction: Doubles, miss: float) -> tuple[float, float]:
    low = _ranked(residual, miss / 2)
    if np.isneginf(low):
        low = float(residual.min())
    # With the bound cut at zero, this is what truly falls below it.
    below = float(np.mean(residual < np.maximum(low, -prediction) - 1e-9))
    high = _ranked(residual, 1.0 - max(miss - below, miss / 2))
    return min(low, 0.0), max(high if np.isfinite(high) else float(residual.max()), 0.0)


def _ranked(values: Doubles, share: float) -> float:
    """The empirical quantile with the rank of n + 1 values, infinite where the sample is too small for it."""
    ordered = np.sort(values)
    size = len(ordered)
    rank = int(np.floor((size + 1) * share)) if share < 0.5 else int(np.ceil((size + 1) * share))
    if rank < 1:
        return float("-inf")
    return float(ordered[rank - 1]) if rank <= size else float("inf")


def recent_level(grid: Grid, rows: Rows) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation, over the days before its origin, of the series of each row (units per day)."""
    level, deviation = np.zeros(len(rows)), np.zeros(len(rows))
    origin = rows.day - rows.step
    for moment in np.unique(origin):
        chosen = origin == moment
        mean, spread = _moments(grid.target[:, max(0, int(moment) - _SCALE_DAYS + 1) : int(moment) + 1])
        level[chosen] = mean[rows.series[chosen]]
        deviation[chosen] = spread[rows.series[chosen]]
    return level, deviation


def error_scale(level: Doubles, deviation: Doubles) -> Doubles:
    """What errors are measured in: the geometric mean of the series' own deviation and of Poisson noise at its level."""
    scale: Doubles = np.sqrt(np.maximum(deviation, _SMALLEST_SCALE) * np.sqrt(level + 0.1))
    return scale


def _moments(values: NDArray[np.float32]) -> tuple[Doubles, Doubles]:
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=1), 1)
    filled = np.where(known, values, 0.0).astype(np.float64)
    mean = filled.sum(axis=1) / count
    square = (filled**2).sum(axis=1) / count
    return np.maximum(mean, 0.0), np.sqrt(np.maximum(square - mean**2, 0.0))
