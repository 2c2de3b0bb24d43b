"""Rolling-origin backtest: every forecast day is predicted by a model that never saw it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from engine.forecasting.grid import build_grid, targets_at
from engine.forecasting.protocol import FORECAST_SCHEMA, Forecaster, ForecastError, Recipe
from engine.frames.panel import Panel
from engine.metrics import error_sums, from_sums

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class SoFar:
    """What a backtest knows before its end."""

    origins: int
    """Forecast so far, in the order of their models."""
    fits_left: int
    """Models still to be fitted. With none left nearly all of the time is spent."""
    overall: Mapping[str, float | None]
    """The metrics of all forecasts so far; after the last origin those of the result, but for the rounding of their sums."""


Scored = Callable[[SoFar], None]

_SCALE_DAYS = 728
"""Training days the scale of MASE and RMSSE is taken from."""
_WORST = 20
_HISTOGRAM_BINS = 41
_SUM_NAMES = tuple(expression.meta.output_name() for expression in error_sums())


@dataclass(frozen=True)
class BacktestResult:
    """Errors of a backtest by day, by segment and day, by segment, by series, and overall (units: those of the target)."""

    daily: pl.DataFrame
    """One row per forecast date: the metrics and the sums they come from."""
    segments: pl.DataFrame
    """One row per date, segment `column` and `value`: sums and mae."""
    overall: dict[str, float | None]
    by_segment: pl.DataFrame
    """One row per segment `column` and `value`: sums and metrics over the whole window."""
    worst_series: pl.DataFrame
    """The series with the largest total absolute error: keys, sums and metrics."""
    histogram: dict[str, list[float]]
    """`edges` and `counts` of forecast minus actual; the outermost bins hold everything beyond."""
    forecasts: pl.DataFrame
    """origin, series, date, prediction, lower, upper, target of every forecast whose actual is known."""
    origins: tuple[date, ...]
    fits: int
    fit_seconds: float
    nominal: float | None
    """Nominal coverage of the intervals, to compare `overall["coverage"]` with."""


@dataclass(frozen=True)
class _Leg:
    """Origins predicted by one model: the frozen one (`through` None) or one trained up to `through`."""

    through: date | None
    origins: tuple[date, ...]


def backtest(
    panel: Panel,
    recipe: Recipe,
    *,
    window_days: int = 90,
    horizon: int = 7,
    step: int = 7,
    retrain_every: int | None = None,
    frozen: Forecaster | None = None,
    progress: Progress | None = None,
    scored: Scored | None = None,
) -> BacktestResult:
    """Forecast the last `window_days` of the panel from an origin every `step` days, `horizon` days ahead each.

    An origin is predicted by `frozen` where that was trained on nothing later; otherwise by the recipe, fitted on data
    up to the first such origin and again every `retrain_every` days. `progress(fraction, text)` may raise to cancel, and so
    may `scored(so_far)`, called for each origin once its model has forecast; what they raise comes out unchanged.
    Raises ForecastError if the window leaves nothing to learn from.
    """
    if min(window_days, horizon, step) < 1 or (retrain_every is not None and retrain_every < 1):
        raise ForecastError("window, horizon, step and retraining interval must be at least one day")
    tell = progress or _silent
    origins = plan_origins(panel, window_days=window_days, step=step)
    legs = _plan_legs(origins, frozen=frozen, retrain_every=retrain_every)
    tell(0.0, f"{len(origins)} origins from {origins[0]} to {origins[-1]}")
    scales = naive_scales(panel, through=origins[0])
    running = _Running(panel, scales, scored) if scored else None
    frames, nominal, fits, seconds = _run(panel, recipe, legs, horizon=horizon, frozen=frozen, tell=tell, running=running)
    tell(0.95, "measuring the errors")
    forecasts = _with_scales(panel, pl.concat(frames), scales)
    del frames
    return _result(panel, forecasts, origins=origins, fits=fits, seconds=seconds, nominal=nominal)


def _silent(_fraction: float, _text: str) -> None:
    return


def plan_origins(panel: Panel, *, window_days: int, step: int) -> tuple[date, ...]:
    """The last day known before each fold, ascending."""
    start = panel.last_day - timedelta(days=window_days)
    if start < panel.first_day:
        days = (panel.last_day - panel.first_day).days + 1
        raise ForecastError(f"the data has {days} days, and a backtest over {window_days} leaves none to learn from")
    return tuple(start + timedelta(days=offset) for offset in range(0, window_days, step))


def naive_scales(panel: Panel, *, through: date, season: int = 7) -> pl.DataFrame:
    """Per series the mean absolute (`scale`) and mean squared (`squared_scale`) seasonal difference up to `through`."""
    grid = build_grid(panel, first=max(panel.first_day, through - timedelta(days=_SCALE_DAYS + season)), last=through)
    change = grid.target[:, season:] - grid.target[:, :-season]
    known = ~np.isnan(change)
    change[~known] = 0
    count = known.sum(axis=1)
    scales = {
        name: np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        for name, total in (
            ("scale", np.abs(change, out=change).sum(axis=1, dtype=np.float64)),
            ("squared_scale", np.square(change, out=change).sum(axis=1, dtype=np.float64)),
        )
    }
    return pl.DataFrame({"series": grid.series, **scales}).with_columns(pl.col("scale", "squared_scale").fill_nan(None))


def _plan_legs(origins: Sequence[date], *, frozen: Forecaster | None, retrain_every: int | None) -> list[_Leg]:
    legs: list[_Leg] = []
    for origin in origins:
        if frozen is not None and frozen.trained_through <= origin:
            through = None
        else:
            last = next((leg.through for leg in reversed(legs) if leg.through is not None), None)
            due = last is None or (retrain_every is not None and (origin - last).days >= retrain_every)
            through = origin if due else last
        if legs and legs[-1].through == through:
            legs[-1] = _Leg(through, (*legs[-1].origins, origin))
        else:
            legs.append(_Leg(through, (origin,)))
    return legs


@dataclass
class _Running:
    """Adds up the errors of the origins forecast so far, and tells of them."""

    panel: Panel
    scales: pl.DataFrame
    scored: Scored
    _origins: int = 0
    _sums: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(_SUM_NAMES, 0))

    def add(self, forecasts: pl.DataFrame, origins: Sequence[date], *, fits_left: int) -> None:
        """The forecasts of one model. An origin without a known actual changes no sum."""
        known = _with_scales(self.panel, forecasts, self.scales)
        of_origin = {row["origin"]: row for row in known.group_by("origin").agg(error_sums()).iter_rows(named=True)}
        for origin in origins:
            more = of_origin.get(origin, {})
            self._sums = {name: total + more.get(name, 0) for name, total in self._sums.items()}
            self._origins += 1
            self.scored(SoFar(self._origins, fits_left, from_sums(self._sums)))


def _run(
    panel: Panel,
    recipe: Recipe,
    legs: list[_Leg],
    *,
    horizon: int,
    frozen: Forecaster | None,
    tell: Progress,
    running: _Running | None,
) -> tuple[list[pl.DataFrame], float | None, int, float]:
    """Forecast frames of all legs, the intervals' nominal coverage, number and seconds of the fits."""
    frames: list[pl.DataFrame] = []
    nominal: float | None = None
    known = [leg for leg in legs if leg.through is None]
    todo = [(leg.through, leg.origins) for leg in legs if leg.through is not None]
    for leg in known:
        assert frozen is not None  # noqa: S101 - a leg without a fit is only planned for a frozen model
        frames.append(frozen.predict_origins(panel, origins=leg.origins, horizon=horizon))
        nominal = frozen.nominal
        if running:
            running.add(frames[-1], leg.origins, fits_left=len(todo))
    if not todo:
        return frames, nominal, 0, 0.0
    tell(0.02, "computing features")
    began = time.perf_counter()
    workspace = recipe.workspace(panel, first_fit=todo[0][0], last_fit=todo[-1][0])
    seconds = time.perf_counter() - began
    for first in range(0, len(todo), workspace.batch):
        batch = todo[first : first + workspace.batch]
        tell(0.05 + 0.9 * first / len(todo), f"training {first + 1} of {len(todo)}")
        began = time.perf_counter()
        forecasters = workspace.fit(throughs=[through for through, _ in batch])
        seconds += time.perf_counter() - began
        for forecaster, (_, origins) in zip(forecasters, batch, strict=True):
            frames.append(workspace.predict(forecaster, origins=origins, horizon=horizon))
            nominal = forecaster.nominal
            if running:
                running.add(frames[-1], origins, fits_left=max(0, len(todo) - first - workspace.batch))
    return frames, nominal, len(todo), seconds


def _with_scales(panel: Panel, forecasts: pl.DataFrame, scales: pl.DataFrame) -> pl.DataFrame:
    """The forecasts whose actual is known, with it as `target` and the scales of their series; sorted by date, series and origin."""
    return _with_targets(panel, forecasts).join(scales, on="series", how="left")


def _with_targets(panel: Panel, forecasts: pl.DataFrame) -> pl.DataFrame:
    """The forecasts whose actual is known, with it as `target`; sorted by date, series and origin."""
    target = targets_at(panel, forecasts["series"].to_numpy(), forecasts["date"].to_physical().to_numpy())
    return forecasts.with_columns(pl.Series("target", target)).filter(~np.isnan(target)).sort("date", "series", "origin")


def _result(
    panel: Panel, scored: pl.DataFrame, *, origins: tuple[date, ...], fits: int, seconds: float, nominal: float | None
) -> BacktestResult:
    sums = error_sums()
    labelled = scored.join(panel.series.select("series", *panel.segments), on="series", how="left")
    daily = with_metrics(scored.group_by("date").agg(sums).sort("date"))
    by_day, totals = [], []
    for column in panel.segments:
        value = pl.col(column).cast(pl.String).fill_null("").alias("value")
        tag = pl.lit(column).alias("column")
        by_day.append(labelled.group_by("date", value).agg(sums).select("date", tag, pl.exclude("date")))
        totals.append(labelled.group_by(value).agg(sums).select(tag, pl.all()))
    empty = daily.clear().select("date", pl.lit("").alias("column"), pl.lit("").alias("value"), pl.exclude("date"))
    segments = pl.concat(by_day).sort("column", "value", "date") if by_day else empty
    by_segment = pl.concat(totals).sort("column", "value") if totals else empty.drop("date")
    worst = scored.group_by("series").agg(sums).sort("sum_abs_error", "series", descending=[True, False]).head(_WORST)
    return BacktestResult(
        daily=daily,
        segments=segments.with_columns(mae=pl.col("sum_abs_error") / pl.col("n")),
        overall=from_sums(scored.select(sums).row(0, named=True)),
        by_segment=with_metrics(by_segment),
        worst_series=with_metrics(worst.join(panel.series, on="series", how="left", maintain_order="left")),
        histogram=_histogram(scored),
        forecasts=scored.select(*FORECAST_SCHEMA, "target"),
        origins=origins,
        fits=fits,
        fit_seconds=seconds,
        nominal=nominal,
    )


def with_metrics(sums: pl.DataFrame) -> pl.DataFrame:
    """The frame of sums with every metric as a further column."""
    metrics = [from_sums(row) for row in sums.iter_rows(named=True)]
    names = from_sums(dict.fromkeys(_SUM_NAMES, 0)) if not metrics else metrics[0]
    return sums.with_columns(pl.Series(name, [row[name] for row in metrics], dtype=pl.Float64) for name in names)


def _histogram(scored: pl.DataFrame) -> dict[str, list[float]]:
    error = (scored["prediction"] - scored["target"]).to_numpy()
    reach = float(np.quantile(np.abs(error), 0.995)) if len(error) else 1.0
    edges = np.linspace(-(reach or 1.0), reach or 1.0, _HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.clip(error, edges[0], edges[-1]), edges)
    return {"edges": [float(edge) for edge in edges], "counts": [float(count) for count in counts]}


def describe(result: BacktestResult) -> dict[str, Any]:
    """The overall numbers with the facts of the run, as plain JSON."""
    return {
        **result.overall,
        "origins": [day.isoformat() for day in result.origins],
        "fits": result.fits,
        "fit_seconds": round(result.fit_seconds, 3),
        "nominal_coverage": result.nominal,
        "rows": result.forecasts.height,
    }
