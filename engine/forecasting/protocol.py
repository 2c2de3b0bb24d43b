"""What every forecaster, recipe and workspace offers, whatever is inside."""

from collections.abc import Sequence
from datetime import date
from typing import Any, ClassVar, Protocol

import polars as pl

from engine.frames.panel import Panel

FORECAST_SCHEMA: dict[str, Any] = {
    "origin": pl.Date,
    "series": pl.UInt32,
    "date": pl.Date,
    "prediction": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
}
"""Columns of a forecast frame. `lower` and `upper` are null where the forecaster has no intervals."""


class ForecastError(ValueError):
    """The forecaster cannot answer this: too little history, or a horizon it was not trained for."""


class Forecaster(Protocol):
    """A trained model. Targets after an origin are never used; price, known columns and calendar of later days are."""

    @property
    def kind(self) -> str: ...

    @property
    def trained_through(self) -> date:
        """The last day seen in training."""
        ...

    @property
    def nominal(self) -> float | None:
        """The share of outcomes its intervals aim to hold; None without intervals."""
        ...

    def predict(self, panel: Panel, *, origin: date, horizon: int) -> pl.DataFrame:
        """Forecast the `horizon` days after `origin`: series, date, prediction, lower, upper (units per day)."""
        ...

    def predict_origins(self, panel: Panel, *, origins: Sequence[date], horizon: int) -> pl.DataFrame:
        """The same for many origins at once, features computed once; frame as in `FORECAST_SCHEMA`."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Everything but the kind, as JSON values."""
        ...


class Workspace(Protocol):
    """A panel made ready once for fitting at many origins and predicting from them."""

    def fit(self, *, throughs: Sequence[date]) -> Sequence[Forecaster]:
        """One forecaster per day, each trained on nothing later than its day."""
        ...

    def predict(self, forecaster: Forecaster, *, origins: Sequence[date], horizon: int) -> pl.DataFrame: ...

    @property
    def batch(self) -> int:
        """How many fits are best asked for at once."""
        ...


class Recipe(Protocol):
    """Hyper-parameters: how a forecaster is made."""

    kind: ClassVar[str]

    def fit(self, panel: Panel, *, through: date) -> Forecaster:
        """Train on days up to `through`. Raises ForecastError if there is too little to learn from."""
        ...

    def workspace(self, panel: Panel, *, first_fit: date, last_fit: date) -> Workspace: ...

    def to_json(self) -> dict[str, Any]: ...
