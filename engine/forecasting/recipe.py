"""How the global LightGBM forecaster is made: hyper-parameters, held-out calibration, final boosters."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.forecasting.boosting import Binned, Job, available_cores
from engine.forecasting.calibration import Calibration, learn_calibration
from engine.forecasting.features import FeatureSet, build_matrix, forecast_rows, learn_schema, training_rows
from engine.forecasting.forecaster import LightGBMForecaster
from engine.forecasting.grid import build_grid
from engine.forecasting.intervals import NOMINAL
from engine.forecasting.protocol import Forecaster, ForecastError
from engine.frames.panel import Panel

_MIN_ROWS = 20
OBJECTIVES = ("tweedie", "poisson", "regression", "regression_l1", "huber")
_FRACTIONS = {"tweedie_power", "typical", "learning_rate", "feature_fraction", "bagging_fraction", "lambda_l2", "nominal"}
_BOUNDS: dict[str, tuple[float, float]] = {
    "tweedie_power": (1.0, 1.99),
    "typical": (0.05, 0.95),
    "rounds": (1, 5000),
    "learning_rate": (1e-4, 1.0),
    "num_leaves": (2, 4096),
    "min_data_in_leaf": (1, 100_000),
    "feature_fraction": (0.05, 1.0),
    "bagging_fraction": (0.05, 1.0),
    "lambda_l2": (0.0, 1e6),
    "max_bin": (7, 1023),
    "history_days": (28, 7300),
    "calibration_days": (0, 728),
    "nominal": (0.5, 0.99),
    "seed": (0, 2**31 - 1),
    "num_threads": (0, 256),
}


@dataclass(frozen=True)
class LightGBMRecipe:
    """Hyper-parameters. The defaults blend a Tweedie mean with the quantile `typical` and calibrate on the last days.

    `history_days` bounds what is learnt from (None for everything). `calibration_days` are held out for a first pair of
    boosters that teaches blend, correction and intervals; 0 does without all three. `typical` None means one booster.
    """

    features: FeatureSet = field(default_factory=FeatureSet)
    objective: str = "tweedie"
    tweedie_power: float = 1.2
    typical: float | None = 0.6
    rounds: int = 120
    learning_rate: float = 0.07
    num_leaves: int = 127
    min_data_in_leaf: int = 50
    feature_fraction: float = 0.6
    bagging_fraction: float = 0.7
    lambda_l2: float = 0.0
    max_bin: int = 255
    history_days: int | None = 1095
    calibration_days: int = 84
    nominal: float = NOMINAL
    seed: int = 0
    num_threads: int = 0
    kind: ClassVar[str] = "lightgbm"

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is None and name in ("typical", "history_days"):
                continue
            allowed = int | float if name in _FRACTIONS else int
            if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:
                whole = "" if name in _FRACTIONS else "a whole number "
                raise ForecastError(f"{name} must be {whole}between {low} and {high}")
        if self.objective not in OBJECTIVES:
            raise ForecastError(f"the objective must be one of {', '.join(OBJECTIVES)}")

    @property
    def horizon(self) -> int:
        return self.features.horizon

    def fit(self, panel: Panel, *, through: date) -> LightGBMForecaster:
        known = panel.until(through)
        return self.workspace(known, first_fit=through, last_fit=through).fit(throughs=[through])[0]

    def workspace(self, panel: Panel, *, first_fit: date, last_fit: date) -> "LightGBMWorkspace":
        return LightGBMWorkspace(self, panel, first_fit=first_fit, last_fit=last_fit)

    def jobs(self, rows: NDArray[np.int32] | None) -> list[Job]:
        """The boosters trained on the same rows: the mean, and the quantile if there is one."""
        common = {
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1 if self.bagging_fraction < 1.0 else 0,
            "lambda_l2": self.lambda_l2,
            "seed": self.seed,
        }
        mean = {"objective": self.objective, "tweedie_variance_power": self.tweedie_power, **common}
        jobs = [Job(rows, mean, self.rounds)]
        if self.typical is not None:
            jobs.append(Job(rows, {"objective": "quantile", "alpha": self.typical, **common}, self.rounds))
        return jobs

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "features": self.features.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "LightGBMRecipe":
        """Raises ForecastError naming what is unknown or out of bounds; a missing field takes its default."""
        if unknown := set(value) - {field.name for field in fields(cls)}:
            raise ForecastError(f"unknown hyper-parameters: {', '.join(sorted(unknown))}")
        return cls(**{**value, "features": FeatureSet.from_json(value.get("features", {}))})


class LightGBMWorkspace:
    """Features of a panel computed and binned once for fits between `first_fit` and `last_fit`."""

    def __init__(self, recipe: LightGBMRecipe, panel: Panel, *, first_fit: date, last_fit: date) -> None:
        self.recipe, self.panel = recipe, panel
        # Days after the panel's end are laid out too, so that the last origin can be forecast on this grid.
        self.grid = build_grid(panel, last=max(panel.last_day, last_fit) + timedelta(days=recipe.horizon))
        from_day = self._first_day(self.grid.index(first_fit) - recipe.calibration_days)
        rows = training_rows(self.grid, recipe.features, from_day=from_day, until=self.grid.index(last_fit))
        # Of the training rows only their days are needed again, to tell which a fit may use.
        self.days = rows.day
        if int((self.days <= self.grid.index(first_fit)).sum()) < _MIN_ROWS:
            warmup = recipe.features.warmup
            raise ForecastError(f"fewer than {_MIN_ROWS} usable days up to {first_fit}, not counting each series' first {warmup}")
        self.schema = learn_schema(panel, self.grid, recipe.features)
        label = np.maximum(self.grid.target[rows.series, rows.day], np.float32(0))
        matrix = build_matrix(panel, self.grid, recipe.features, self.schema, rows)
        visible = self.days <= self.grid.index(first_fit)
        del rows  # binning is the peak of memory
        self._binned = Binned(matrix, label, self.schema, visible=visible, max_bin=recipe.max_bin)

    @property
    def batch(self) -> int:
        """How many fits keep the cores busy at once."""
        recipe = self.recipe
        return 1 if recipe.typical is not None or recipe.calibration_days else recipe.num_threads or available_cores()

    def fit(self, *, throughs: Sequence[date]) -> list[LightGBMForecaster]:
        plans = [self._plan(through) for through in throughs]
        jobs = [job for plan in plans for job in plan.jobs]
        texts = iter(self._binned.train(jobs, num_threads=self.recipe.num_threads))
        return [self._assemble(plan, [next(texts) for _ in plan.jobs]) for plan in plans]

    def predict(self, forecaster: Forecaster, *, origins: Sequence[date], horizon: int) -> pl.DataFrame:
        if not isinstance(forecaster, LightGBMForecaster):
            return forecaster.predict_origins(self.panel, origins=origins, horizon=horizon)
        forecaster.check_horizon(horizon)
        return forecaster.predict_on(self.panel, self.grid, origins=origins, horizon=horizon)

    def _first_day(self, last: int) -> int:
        """Where the history learnt from begins for boosters trained up to the column `last`."""
        return 0 if self.recipe.history_days is None else max(0, last - self.recipe.history_days)

    def _plan(self, through: date) -> "_Plan":
        last = self.grid.index(through)
        held_out = self._held_out_days(last)
        jobs = self.recipe.jobs(self._between(self._first_day(last), last))
        if held_out:
            jobs += self.recipe.jobs(self._between(self._first_day(last - held_out), last - held_out))
        return _Plan(through, jobs, held_out)

    def _between(self, first: int, last: int) -> NDArray[np.int32] | None:
        inside = (self.days >= first) & (self.days <= last)
        return None if inside.all() else np.flatnonzero(inside).astype(np.int32)

    def _held_out_days(self, last: int) -> int:
        """Whole horizons within `calibration_days`, but at most a quarter of the history; 0 where that leaves too little."""
        horizon = self.recipe.horizon
        days = min(self.recipe.calibration_days, (last - int(self.days.min())) // 4) // horizon * horizon
        trained = int((self.days <= last - days).sum())
        return days if days and trained >= _MIN_ROWS else 0

    def _assemble(self, plan: "_Plan", texts: list[str]) -> LightGBMForecaster:
        per_fit = 1 if self.recipe.typical is None else 2
        models = [(texts[first], texts[first + 1] if per_fit == 2 else None) for first in range(0, len(texts), per_fit)]
        mean, typical = models[0]
        forecaster = LightGBMForecaster(plan.through, self.recipe.features, self.schema, mean, typical, recipe=self.recipe.to_json())
        if not plan.held_out:
            return forecaster
        twin = replace(forecaster, mean_model=models[1][0], typical_model=models[1][1])
        learnt = self._calibrate(plan, twin)
        return replace(forecaster, blend=learnt.blend, tail=learnt.tail, intervals=learnt.intervals)

    def _calibrate(self, plan: "_Plan", twin: LightGBMForecaster) -> Calibration:
        """Forecast the days held out of the twin's training the way a backtest does, and learn from the errors."""
        last, horizon = self.grid.index(plan.through), self.recipe.horizon
        rows = forecast_rows(self.grid, origins=list(range(last - plan.held_out, last, horizon)), horizon=horizon)
        rows = rows.pick(~np.isnan(self.grid.target[rows.series, rows.day]))
        matrix = build_matrix(self.panel, self.grid, twin.features, twin.schema, rows)
        return learn_calibration(twin, self.grid, rows, matrix, nominal=self.recipe.nominal)


@dataclass(frozen=True)
class _Plan:
    through: date
    jobs: list[Job]
    held_out: int
