"""Seasonal naive: the last known value of the same weekday. The baseline every trained model has to beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
import polars as pl

from engine.forecasting.features import Rows, forecast_rows
from engine.forecasting.frames import forecast_frame
from engine.forecasting.grid import Grid, build_grid
from engine.forecasting.intervals import NOMINAL, Doubles, Intervals, calibrate, error_scale, recent_level
from engine.forecasting.protocol import Forecaster, ForecastError
from engine.frames.panel import Panel

_SEASONS_BACK = 8


@dataclass(frozen=True)
class SeasonalNaiveForecaster:
    """y[t - season * ceil(step / season)], or the nearest known value whole seasons before it, or the last known value."""

    trained_through: date
    season: int = 7
    intervals: Intervals | None = None
    kind: str = field(default="seasonal_naive", init=False)

    @property
    def nominal(self) -> float | None:
        return self.intervals.nominal if self.intervals else None

    def predict(self, panel: Panel, *, origin: date, horizon: int) -> pl.DataFrame:
        return self.predict_origins(panel, origins=[origin], horizon=horizon).drop("origin")

    def predict_origins(self, panel: Panel, *, origins: Sequence[date], horizon: int) -> pl.DataFrame:
        first = max(panel.first_day, min(origins) - timedelta(days=400))
        grid = build_grid(panel, first=first, last=max(origins) + timedelta(days=horizon))
        rows = forecast_rows(grid, origins=[grid.index(day) for day in origins], horizon=horizon)
        prediction = _naive(grid, rows, self.season)
        if self.intervals is None:
            return forecast_frame(grid, rows, prediction)
        level, deviation = recent_level(grid, rows)
        low, high = self.intervals.bounds(prediction, level, error_scale(level, deviation))
        return forecast_frame(grid, rows, prediction, low, high)

    def to_json(self) -> dict[str, Any]:
        intervals = self.intervals.to_json() if self.intervals else None
        return {"trained_through": self.trained_through.isoformat(), "season": self.season, "intervals": intervals}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SeasonalNaiveForecaster":
        intervals = None if value["intervals"] is None else Intervals.from_json(value["intervals"])
        return cls(date.fromisoformat(value["trained_through"]), _season(value["season"]), intervals)


@dataclass(frozen=True)
class SeasonalNaiveRecipe:
    """`calibration_days` before the last training day give the intervals; 0 means none."""

    season: int = 7
    horizon: int = 7
    calibration_days: int = 182
    nominal: float = NOMINAL
    kind: ClassVar[str] = "seasonal_naive"

    def fit(self, panel: Panel, *, through: date) -> SeasonalNaiveForecaster:
        known = panel.until(through)
        if known.frame["target"].null_count() == known.frame.height:
            raise ForecastError(f"no known day up to {through}")
        first = max(known.first_day, through - timedelta(days=self.calibration_days + 120))
        grid = build_grid(known, first=first, last=through)
        return SeasonalNaiveForecaster(through, self.season, self._calibrated(grid))

    def workspace(self, panel: Panel, *, first_fit: date, last_fit: date) -> "NaiveWorkspace":
        return NaiveWorkspace(self, panel.until(last_fit), panel)

    def _calibrated(self, grid: Grid) -> Intervals | None:
        last = grid.days - 1
        earliest = max(last - self.calibration_days, 4 * self.season)
        origins = list(range(earliest, last - self.horizon + 1, self.horizon)) if self.calibration_days else []
        if not origins:
            return None
        rows = forecast_rows(grid, origins=origins, horizon=self.horizon)
        rows = rows.pick(~np.isnan(grid.target[rows.series, rows.day]))
        prediction = _naive(grid, rows, self.season)
        level, deviation = recent_level(grid, rows)
        actual = grid.target[rows.series, rows.day].astype(np.float64)
        return calibrate(actual - prediction, prediction, level, error_scale(level, deviation), nominal=self.nominal)

    def to_json(self) -> dict[str, Any]:
        return {"season": self.season, "horizon": self.horizon, "calibration_days": self.calibration_days, "nominal": self.nominal}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SeasonalNaiveRecipe":
        return cls(**value)


@dataclass(frozen=True)
class NaiveWorkspace:
    """Fitting costs next to nothing, so nothing is kept between fits."""

    recipe: SeasonalNaiveRecipe
    known: Panel
    panel: Panel
    batch: int = 1

    def fit(self, *, throughs: Sequence[date]) -> list[SeasonalNaiveForecaster]:
        return [self.recipe.fit(self.known, through=through) for through in throughs]

    def predict(self, forecaster: Forecaster, *, origins: Sequence[date], horizon: int) -> pl.DataFrame:
        return forecaster.predict_origins(self.panel, origins=origins, horizon=horizon)


def _naive(grid: Grid, rows: Rows, season: int) -> Doubles:
    found = np.full(len(rows), np.nan)
    column = rows.day - season * -(-rows.step // season)
    for _ in range(_SEASONS_BACK):
        missing = np.isnan(found) & (column >= 0)
        if not missing.any():
            break
        found[missing] = grid.target[rows.series[missing], column[missing]]
        column = column - season
    rest = np.isnan(found)
    if rest.any():
        found[rest] = _last_known(grid, rows.pick(rest))
    return np.asarray(np.maximum(found, 0.0), dtype=np.float64)


def _last_known(grid: Grid, rows: Rows) -> Doubles:
    out = np.zeros(len(rows))
    origin = rows.day - rows.step
    for index, (series, moment) in enumerate(zip(rows.series, origin, strict=True)):
        history = grid.target[series, : moment + 1]
        known = np.flatnonzero(~np.isnan(history))
        out[index] = history[known[-1]] if len(known) else 0.0
    return out


def _season(value: object) -> int:
    if not isinstance(value, int) or not 1 <= value <= 366:
        raise ValueError("the season must be a whole number of days from 1 to 366")
    return value
