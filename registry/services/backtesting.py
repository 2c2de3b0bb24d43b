"""Backtests of versions: run outside any transaction, stored in one."""

import hashlib
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.db import transaction

from registry.models import BacktestResult, BacktestRun, BacktestSegment, DatasetVersion, ModelVersion
from registry.models.accuracy import OVERALL
from registry.models.backtest import ErrorColumns
from registry.rules.policy import Policy
from registry.rules.recipes import build
from registry.services.artifacts import load_forecaster
from registry.services.lookups import hold_dataset

if TYPE_CHECKING:
    import polars as pl

    from engine.forecasting.backtest import BacktestResult as Measured
    from engine.forecasting.backtest import Scored
    from engine.forecasting.protocol import Forecaster
    from engine.frames.panel import Panel

log = structlog.get_logger(__name__)

WEEK = 7
METRICS = ("mae", "rmse", "mape", "wape", "mase", "rmsse", "bias_pct", "coverage", "stockout_miss_rate", "overstock_rate")
Progress = Callable[[float, str], None]
Fence = Callable[[], AbstractContextManager[Any]]
"""Opens the transaction that outputs are written in: a job's own refuses for an attempt that is to stop."""


@dataclass(frozen=True)
class Evaluation:
    """A finished backtest that is not stored yet."""

    measured: "Measured"
    data: DatasetVersion
    window_days: int
    horizon: int
    retrain_days: int
    seconds: float
    standing: dict[str, float | None]
    """Beside the seasonal naive forecast, and from origin to origin (`STANDING`)."""
    truth: str
    """Digest of the panel's known values: actuals that came by API change them under the same data."""

    @property
    def metrics(self) -> dict[str, float | None]:
        """The overall metrics, and the standing."""
        return {**{name: self.measured.overall.get(name) for name in METRICS}, **self.standing}


def evaluate(
    *,
    recipe: dict[str, Any],
    panel: "Panel",
    data: DatasetVersion,
    policy: Policy,
    frozen: "Forecaster | None" = None,
    progress: Progress | None = None,
    scored: "Scored | None" = None,
) -> Evaluation:
    """Backtest over the panel's last days. Every origin is forecast by the frozen artifact if that had not seen the origin's future,
    else by its recipe refitted on what was known then. Raises ForecastError, also for a recipe; `progress` and `scored`, which is told
    the metrics so far after each origin, may raise to stop."""
    from engine.forecasting.backtest import backtest
    from engine.forecasting.standing import standing

    began = time.perf_counter()
    days = policy.backtest_days
    measured = backtest(
        panel,
        build(recipe, horizon=policy.horizon),
        window_days=days,
        horizon=policy.horizon,
        step=step_of(policy),
        retrain_every=policy.backtest_retrain_days or None,
        frozen=frozen,
        progress=progress,
        scored=scored,
    )
    beside = standing(panel, measured.forecasts)
    seconds = time.perf_counter() - began
    log.info("backtest.finished", window_days=days, fits=measured.fits, seconds=round(seconds, 2), mae=measured.overall.get("mae"))
    return Evaluation(measured, data, days, policy.horizon, policy.backtest_retrain_days, seconds, beside, truth_digest(panel))


def step_of(policy: Policy) -> int:
    """Days between origins: a week, or the horizon where that is shorter, so that no day is left unforecast."""
    return min(WEEK, policy.horizon)


def truth_digest(panel: "Panel") -> str:
    """SHA-256 of every value known in the panel, in its order."""
    return hashlib.sha256(panel.frame["target"].fill_null(float("nan")).to_numpy().tobytes()).hexdigest()


def run_on(version: ModelVersion, *, panel: "Panel", data: DatasetVersion, policy: Policy) -> BacktestRun | None:
    """The version's newest stored backtest on this very data, truth, window and horizon; those of earlier releases lack what gates ask
    for, and do not count."""
    from engine.forecasting.standing import STANDING

    runs = version.backtest_runs.filter(dataset_version=data, horizon=policy.horizon, window_end=panel.last_day)
    runs = runs.filter(metrics__has_keys=list(STANDING))
    same = runs.filter(options__window_days=policy.backtest_days, options__truth=truth_digest(panel))
    return same.order_by("-created_at", "pk").first()


def evaluate_version(
    *, version: ModelVersion, panel: "Panel", data: DatasetVersion, policy: Policy, progress: Progress | None = None
) -> Evaluation:
    """Backtest a registered version with its own artifact. Raises NoArtifact, DigestMismatch, ArtifactError, ForecastError."""
    frozen = load_forecaster(version)
    recipe = version.lineage.get("recipe") or {"kind": frozen.kind}
    return evaluate(recipe=recipe, panel=panel, data=data, policy=policy, frozen=frozen, progress=progress)


def store_run(
    *,
    version: ModelVersion,
    evaluation: Evaluation,
    purpose: str,
    at: datetime,
    job_id: UUID | None = None,
    fence: Fence = transaction.atomic,
) -> BacktestRun:
    """Keep a backtest: the run, its rows per day (replacing older ones of the same dates) and its sums per segment, in one transaction."""
    measured = evaluation.measured
    daily = measured.daily
    days: list[date] = daily["date"].sort().to_list()
    with fence():
        hold_dataset(evaluation.data.dataset_id)
        run = BacktestRun.objects.create(
            version=version,
            dataset_version=evaluation.data,
            purpose=purpose,
            window_start=days[0],
            window_end=days[-1],
            horizon=evaluation.horizon,
            options={
                "window_days": evaluation.window_days,
                "retrain_days": evaluation.retrain_days,
                "nominal": measured.nominal,
                "truth": evaluation.truth,
            },
            metrics=evaluation.metrics,
            by_segment=_by_segment(measured.by_segment),
            worst_series=_plain_rows(measured.worst_series),
            error_histogram=measured.histogram,
            fits=measured.fits,
            seconds=evaluation.seconds,
            job_id=job_id,
            created_at=at,
        )
        upsert_daily(version, daily.iter_rows(named=True), at=at, run=run)
        whole = [_segment(run, OVERALL, OVERALL, row) for row in daily.iter_rows(named=True)]
        parts = [_segment(run, row["column"], str(row["value"])[:128], row) for row in measured.segments.iter_rows(named=True)]
        BacktestSegment.objects.bulk_create([*whole, *parts], batch_size=500)
    return run


def _segment(run: BacktestRun, column: str, segment: str, row: dict[str, Any]) -> BacktestSegment:
    return BacktestSegment(
        run=run,
        forecast_date=row["date"],
        segment_column=column,
        segment=segment,
        n=row["n"],
        sum_actual=row["sum_actual"],
        sum_error=row["sum_forecast"] - row["sum_actual"],
        sum_abs_error=row["sum_abs_error"],
    )


DAILY_FIELDS = tuple(field.name for field in ErrorColumns._meta.local_fields)


def daily_values(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of `ErrorColumns` from one row of the engine's daily or segment frame."""
    values = {name: row.get(name) for name in DAILY_FIELDS}
    return values | {"sum_error": row["sum_forecast"] - row["sum_actual"]}


def upsert_daily(version: ModelVersion, daily: Iterable[dict[str, Any]], *, at: datetime, run: BacktestRun | None) -> None:
    """Write `backtest_results` from the engine's daily rows: one per version and forecast date, the newest wins."""
    rows = [
        BacktestResult(
            version_ref=version,
            run=run,
            model_name=version.model_name,
            model_version=version.version,
            forecast_date=row["date"],
            created_at=at,
            **daily_values(row),
        )
        for row in daily
    ]
    BacktestResult.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["version_ref", "forecast_date"],
        update_fields=["run", "created_at", *DAILY_FIELDS],
        batch_size=500,
    )


def _by_segment(frame: "pl.DataFrame") -> dict[str, dict[str, dict[str, Any]]]:
    segments: dict[str, dict[str, dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        values = {name: row.get(name) for name in (*METRICS, "n", "sum_actual")}
        segments.setdefault(row["column"], {})[str(row["value"])] = values
    return segments


def _plain_rows(frame: "pl.DataFrame", most: int = 10) -> list[dict[str, Any]]:
    return list(frame.head(most).iter_rows(named=True))
