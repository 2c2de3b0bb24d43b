"""Forecast metrics with one definition each, computed from sums that can be added over days, segments and shards.

Every metric answers None where its denominator is empty or zero, never NaN or infinity. Pairs with an unknown actual or
forecast are left out. `docs/metrics.md` lists units and directions. Sources: Hyndman & Koehler, "Another look at measures
of forecast accuracy", Int. J. Forecasting 22 (2006); the M5 Competitors' Guide (2020); Kolassa & Schütz, "Advantages of
the MAD/mean ratio over the MAPE", Foresight 6 (2007).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

METRICS = ("mae", "rmse", "mape", "wape", "mase", "rmsse", "bias_pct", "coverage", "stockout_miss_rate", "overstock_rate")
TOLERANCE_UNITS = 1.0
TOLERANCE_SHARE = 0.2


def error_sums(*, unit: float = 1.0) -> list[pl.Expr]:
    """Aggregations of `target`, `prediction`, `lower`, `upper`, `scale`, `squared_scale` into the sums all metrics need.

    `scale` is the mean absolute, `squared_scale` the mean squared error of the seasonal naive forecast on the series'
    training days; null or 0 leaves the row out of MASE or RMSSE. `unit` is the size in which stock is held.
    """
    known = pl.col("target").is_finite() & pl.col("prediction").is_finite()
    actual, forecast = pl.col("target").filter(known), pl.col("prediction").filter(known)
    error = forecast - actual
    # Stock is held in whole units, so the forecast is rounded before shelves count as short or overfull.
    stocked = (forecast / unit + 0.5).floor() * unit
    tolerance = pl.max_horizontal(pl.lit(TOLERANCE_UNITS * unit), TOLERANCE_SHARE * actual)
    nonzero, demanded = actual != 0, actual > 0
    bounded = known & pl.col("lower").is_finite() & pl.col("upper").is_finite()
    inside = pl.col("target").is_between(pl.col("lower") - 1e-9, pl.col("upper") + 1e-9)
    absolute, squared = (pl.col("prediction") - pl.col("target")).abs(), (pl.col("prediction") - pl.col("target")) ** 2
    scaled = {"scaled": (absolute, pl.col("scale")), "squared_scaled": (squared, pl.col("squared_scale"))}
    return [
        known.sum().cast(pl.Int64).alias("n"),
        actual.sum().alias("sum_actual"),
        forecast.sum().alias("sum_forecast"),
        error.abs().sum().alias("sum_abs_error"),
        (error**2).sum().alias("sum_squared_error"),
        nonzero.sum().cast(pl.Int64).alias("n_nonzero"),
        (error.abs() / actual.abs()).filter(nonzero).sum().alias("sum_ape"),
        demanded.sum().cast(pl.Int64).alias("n_demanded"),
        (demanded & (actual - stocked > tolerance)).sum().cast(pl.Int64).alias("n_missed"),
        (stocked - actual > tolerance).sum().cast(pl.Int64).alias("n_overstocked"),
        bounded.sum().cast(pl.Int64).alias("n_bounded"),
        (bounded & inside).sum().cast(pl.Int64).alias("n_covered"),
        *((known & (scale > 0)).sum().cast(pl.Int64).alias(f"n_{name}") for name, (_, scale) in scaled.items()),
        *((value / scale).filter(known & (scale > 0)).sum().alias(f"sum_{name}") for name, (value, scale) in scaled.items()),
    ]


def from_sums(sums: Mapping[str, Any]) -> dict[str, float | None]:
    """All metrics from the sums of `error_sums`, or from several such rows added up."""
    mean_square = _ratio(sums["sum_squared_error"], sums["n"])
    mean_square_scaled = _ratio(sums["sum_squared_scaled"], sums["n_squared_scaled"])
    return {
        "mae": _ratio(sums["sum_abs_error"], sums["n"]),
        "rmse": None if mean_square is None else math.sqrt(mean_square),
        "mape": _percent(sums["sum_ape"], sums["n_nonzero"]),
        "wape": _ratio(sums["sum_abs_error"], abs(sums["sum_actual"])),
        "mase": _ratio(sums["sum_scaled"], sums["n_scaled"]),
        "rmsse": None if mean_square_scaled is None else math.sqrt(mean_square_scaled),
        "bias_pct": _percent(sums["sum_forecast"] - sums["sum_actual"], abs(sums["sum_actual"])),
        "coverage": _ratio(sums["n_covered"], sums["n_bounded"]),
        "stockout_miss_rate": _ratio(sums["n_missed"], sums["n_demanded"]),
        "overstock_rate": _ratio(sums["n_overstocked"], sums["n"]),
    }


def summarize(
    actual: ArrayLike,
    forecast: ArrayLike,
    *,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    squared_scale: ArrayLike | None = None,
    unit: float = 1.0,
) -> dict[str, float | None]:
    """Every metric of paired values; those whose input is not given are None."""
    size = np.size(np.asarray(actual))
    given = {"target": actual, "prediction": forecast, "lower": lower, "upper": upper, "scale": scale, "squared_scale": squared_scale}
    frame = pl.DataFrame({name: _column(values, size) for name, values in given.items()})
    return from_sums(frame.select(error_sums(unit=unit)).row(0, named=True))


def mae(actual: ArrayLike, forecast: ArrayLike) -> float | None:
    """Mean absolute error, mean |F - Y|, in units of demand (Hyndman & Koehler 2006, section 2.1)."""
    return summarize(actual, forecast)["mae"]


def rmse(actual: ArrayLike, forecast: ArrayLike) -> float | None:
    """Root mean square error, sqrt(mean (F - Y)²), in units of demand (Hyndman & Koehler 2006, section 2.1)."""
    return summarize(actual, forecast)["rmse"]


def mape(actual: ArrayLike, forecast: ArrayLike) -> float | None:
    """Mean absolute percentage error, 100 · mean |F - Y| / |Y| over days with Y ≠ 0 (Hyndman & Koehler 2006, section 2.2)."""
    return summarize(actual, forecast)["mape"]


def wape(actual: ArrayLike, forecast: ArrayLike) -> float | None:
    """Weighted absolute percentage error as a fraction, Σ|F - Y| / |ΣY| (the MAD/mean ratio of Kolassa & Schütz 2007)."""
    return summarize(actual, forecast)["wape"]


def mase(actual: ArrayLike, forecast: ArrayLike, *, scale: ArrayLike) -> float | None:
    """Mean absolute scaled error, mean(|F - Y| / Q) with Q the seasonal naive's MAE in training (Hyndman & Koehler 2006, section 3)."""
    return summarize(actual, forecast, scale=scale)["mase"]


def rmsse(actual: ArrayLike, forecast: ArrayLike, *, squared_scale: ArrayLike) -> float | None:
    """Root mean squared scaled error, sqrt(mean((F - Y)² / Q²)), Q² the seasonal naive's MSE in training (M5 guide, unweighted)."""
    return summarize(actual, forecast, squared_scale=squared_scale)["rmsse"]


def bias_pct(actual: ArrayLike, forecast: ArrayLike) -> float | None:
    """Bias in percent of demand, 100 · Σ(F - Y) / |ΣY|; negative means forecasting too little."""
    return summarize(actual, forecast)["bias_pct"]


def coverage(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> float | None:
    """Share of actuals within their interval, bounds included; to be compared with the nominal share (Gneiting & Raftery 2007)."""
    return summarize(actual, actual, lower=lower, upper=upper)["coverage"]


def stockout_miss_rate(actual: ArrayLike, forecast: ArrayLike, *, unit: float = 1.0) -> float | None:
    """Of the days with demand, the share where demand exceeds the whole-unit forecast by more than max(1 unit, 20 % of demand)."""
    return summarize(actual, forecast, unit=unit)["stockout_miss_rate"]


def overstock_rate(actual: ArrayLike, forecast: ArrayLike, *, unit: float = 1.0) -> float | None:
    """Of all days, the share where the whole-unit forecast exceeds demand by more than max(1 unit, 20 % of demand)."""
    return summarize(actual, forecast, unit=unit)["overstock_rate"]


def _column(values: ArrayLike | None, size: int) -> pl.Series:
    if values is None:
        return pl.Series([None] * size, dtype=pl.Float64)
    array = np.asarray(values, dtype=np.float64).ravel()
    return pl.Series(np.full(size, array[0]) if array.size == 1 else array)


def _ratio(numerator: float, denominator: float) -> float | None:
    if not denominator:
        return None
    value = numerator / denominator
    return float(value) if math.isfinite(value) else None


def _percent(numerator: float, denominator: float) -> float | None:
    value = _ratio(numerator, denominator)
    return None if value is None else 100.0 * value
