"""How a backtest stands beside the seasonal naive forecast, and how evenly it did from origin to origin."""

from datetime import date

import polars as pl

from engine.forecasting.naive import SeasonalNaiveForecaster
from engine.frames.panel import Panel

STANDING = ("value_over_naive_pct", "worst_origin_mae")


def standing(panel: Panel, forecasts: pl.DataFrame) -> dict[str, float | None]:
    """Of a backtest's forecasts (origin, series, date, prediction, target) on the panel it was made of:

    `value_over_naive_pct`: how much smaller its MAE is than that of the seasonal naive forecast from the same origins for the same days,
    percent of the latter (forecast value added: Gilliland, "The Business Forecasting Deal", 2010; 100 × the skill score of MAE); negative
    where it is larger, None where the naive made no error. `worst_origin_mae`: the MAE of the origin whose forecasts were worst, in units
    of demand. Both are None without forecasts. Linear in the forecasts.
    """
    if forecasts.is_empty():
        return dict.fromkeys(STANDING)
    origins: list[date] = forecasts["origin"].unique().sort().to_list()
    horizon = int((forecasts["date"] - forecasts["origin"]).dt.total_days().max() or 1)  # type: ignore[arg-type]  # of days it is an int
    baseline = SeasonalNaiveForecaster(origins[0]).predict_origins(panel, origins=origins, horizon=horizon)
    keys = ["origin", "series", "date"]
    errors = forecasts.join(baseline.select(*keys, naive="prediction"), on=keys, how="left").select(
        "origin", mine=(pl.col("prediction") - pl.col("target")).abs(), naive=(pl.col("naive") - pl.col("target")).abs()
    )
    mine, naive = (float(value) for value in errors.select(pl.col("mine", "naive").mean()).row(0))
    worst = errors.group_by("origin").agg(pl.col("mine").mean())["mine"].max()
    return {"value_over_naive_pct": 100.0 * (naive - mine) / naive if naive > 0 else None, "worst_origin_mae": float(worst)}  # type: ignore[arg-type]
