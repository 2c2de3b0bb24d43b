"""Forecast frames out of rows and arrays."""

import numpy as np
import polars as pl

from engine.forecasting.features import Rows
from engine.forecasting.grid import Grid
from engine.forecasting.intervals import Doubles
from engine.forecasting.protocol import FORECAST_SCHEMA


def forecast_frame(grid: Grid, rows: Rows, prediction: Doubles, lower: Doubles | None = None, upper: Doubles | None = None) -> pl.DataFrame:
    """Columns as in FORECAST_SCHEMA, sorted by series, origin and date. Closed days are forecast as 0, for certain."""
    dates = grid.dates()
    closed = grid.closed[rows.series, rows.day]
    values = {"prediction": prediction, "lower": lower, "upper": upper}
    return pl.DataFrame(
        {
            "origin": dates[rows.day - rows.step],
            "series": grid.series[rows.series],
            "date": dates[rows.day],
            **{name: None if array is None else np.where(closed, 0.0, array) for name, array in values.items()},
        },
        schema_overrides=FORECAST_SCHEMA,
    )
