"""The trained global model: one booster for the mean, one for a quantile, blended, corrected and with intervals."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from engine.forecasting.blend import CORRECTION_DAYS, Blend, Tail, correction
from engine.forecasting.boosting import load_booster, score
from engine.forecasting.features import FeatureSet, Rows, Schema, build_matrix, forecast_rows
from engine.forecasting.frames import forecast_frame
from engine.forecasting.grid import Floats, Grid, build_grid
from engine.forecasting.intervals import Doubles, Intervals, error_scale, recent_level
from engine.forecasting.protocol import ForecastError
from engine.frames.panel import Panel

_WEEK = 7


@dataclass(frozen=True)
class LightGBMForecaster:
    """Everything a prediction needs besides recent history: features and their schema, booster texts, blend, intervals."""

    trained_through: date
    features: FeatureSet
    schema: Schema
    mean_model: str
    typical_model: str | None = None
    blend: Blend = field(default_factory=Blend)
    tail: Tail | None = None
    intervals: Intervals | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The hyper-parameters it was made with, for the record."""
    kind: str = field(default="lightgbm", init=False)

    @property
    def nominal(self) -> float | None:
        return self.intervals.nominal if self.intervals else None

    def predict(self, panel: Panel, *, origin: date, horizon: int) -> pl.DataFrame:
        return self.predict_origins(panel, origins=[origin], horizon=horizon).drop("origin")

    def predict_origins(self, panel: Panel, *, origins: Sequence[date], horizon: int) -> pl.DataFrame:
        self.check_horizon(horizon)
        if min(origins) < panel.first_day or max(origins) > panel.last_day:
            raise ForecastError(f"origins must lie between {panel.first_day} and {panel.last_day}")
        reach = timedelta(days=self.features.lookback + 2 * CORRECTION_DAYS)
        first = max(panel.first_day, min(origins) - reach)
        grid = build_grid(panel, first=first, last=max(origins) + timedelta(days=max(horizon, self.stride)))
        return self.predict_on(panel, grid, origins=origins, horizon=horizon)

    def predict_on(self, panel: Panel, grid: Grid, *, origins: Sequence[date], horizon: int) -> pl.DataFrame:
        """Forecast on a grid already laid out."""
        wanted = sorted({grid.index(day) for day in origins})
        rows = forecast_rows(grid, origins=self._with_correction_origins(grid, wanted), horizon=max(horizon, self.stride))
        rows = rows.pick(rows.day < grid.days)
        mean, blended = self.score(build_matrix(panel, grid, self.features, self.schema, rows))
        factors = self._corrections(grid, rows, blended, wanted)
        origin = rows.day - rows.step
        asked = np.isin(origin, wanted) & (rows.step <= horizon)
        rows, mean = rows.pick(asked), mean[asked]
        prediction = blended[asked] * np.asarray([factors.get(int(moment), 1.0) for moment in origin[asked]])
        if self.intervals is None:
            return forecast_frame(grid, rows, prediction)
        _, deviation = recent_level(grid, rows)
        low, high = self.intervals.bounds(prediction, mean, error_scale(mean, deviation))
        return forecast_frame(grid, rows, prediction, low, high)

    def score(self, matrix: Floats) -> tuple[Doubles, Doubles]:
        """The mean model's forecast and the blended one, neither corrected."""
        mean = score(self._boosters[0], matrix)
        if len(self._boosters) == 1:
            return mean, mean
        return mean, self.blend.apply(mean, score(self._boosters[1], matrix))

    def importance(self) -> dict[str, float]:
        """Share of the mean model's total gain by feature, descending."""
        gain = np.asarray(self._boosters[0].feature_importance("gain"), dtype=np.float64)
        shares = gain / gain.sum() if gain.sum() > 0 else gain
        return {self.schema.names[index]: float(shares[index]) for index in np.argsort(-shares, kind="stable")}

    def to_json(self) -> dict[str, Any]:
        """Everything but the kind; boosters as text beside its digest."""
        return {
            "trained_through": self.trained_through.isoformat(),
            "features": self.features.to_json(),
            "names": list(self.schema.names),
            "categories": {name: list(values) for name, values in self.schema.categories.items()},
            "mean_model": _booster_to_json(self.mean_model),
            "typical_model": None if self.typical_model is None else _booster_to_json(self.typical_model),
            "blend": self.blend.to_json(),
            "tail": self.tail.to_json() if self.tail else None,
            "intervals": self.intervals.to_json() if self.intervals else None,
            "recipe": dict(self.recipe),
        }

    @property
    def stride(self) -> int:
        """Days between the origins of the correction: a week, or the horizon where that is shorter."""
        return min(_WEEK, self.features.horizon)

    def check_horizon(self, horizon: int) -> None:
        if not 1 <= horizon <= self.features.horizon:
            raise ForecastError(f"this model was trained for 1 to {self.features.horizon} days ahead, not {horizon}")

    @cached_property
    def _boosters(self) -> list[Any]:
        return [load_booster(text) for text in (self.mean_model, self.typical_model) if text is not None]

    def _with_correction_origins(self, grid: Grid, wanted: list[int]) -> list[int]:
        if self.tail is None:
            return wanted
        trained = grid.index(self.trained_through)
        earlier = {moment - back for moment in wanted for back in range(self.stride, CORRECTION_DAYS + 1, self.stride)}
        return sorted({*wanted, *(moment for moment in earlier if moment >= 0 and moment + self.stride > trained)})

    def _corrections(self, grid: Grid, rows: Rows, blended: Doubles, wanted: list[int]) -> dict[int, float]:
        """Factor per wanted origin, from days this model (or, before its training ended, its calibration twin) had not seen."""
        if self.tail is None:
            return {}
        trained = grid.index(self.trained_through)
        actual = grid.target[rows.series, rows.day].astype(np.float64)
        usable = ~np.isnan(actual) & (rows.step <= self.stride) & (rows.day > trained)
        origin, actual, forecast = (rows.day - rows.step)[usable], actual[usable], blended[usable]
        past = np.asarray(self.tail.days) - self.trained_through.toordinal() + trained
        out: dict[int, float] = {}
        for moment in wanted:
            anchors = np.arange(moment - self.stride, moment - CORRECTION_DAYS - 1, -self.stride)
            own = np.isin(origin, anchors)
            before = (past > moment - CORRECTION_DAYS) & (past <= min(moment, trained))
            total = actual[own].sum() + np.asarray(self.tail.actual)[before].sum()
            foreseen = forecast[own].sum() + np.asarray(self.tail.forecast)[before].sum()
            out[moment] = correction(float(total), float(foreseen))
        return out


def _booster_to_json(text: str) -> dict[str, str]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text}
