"""The daily T-1 validation: what the champion said about the days whose truth is now known."""

import hashlib
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction
from django.db.models import Max, Sum

from mlops.database.reading import reading
from registry.models import ForecastAccuracy, ModelVersion, RegisteredModel, ShadowDay
from registry.models.accuracy import OVERALL
from registry.rules.policy import Policy, parse
from registry.services.artifacts import load_forecaster
from registry.services.backtesting import DAILY_FIELDS, Fence, Progress, daily_values, step_of, upsert_daily
from registry.services.lookups import champion_of
from registry.services.panels import identities, model_panel, newest_data, unknown_series

if TYPE_CHECKING:
    from engine.forecasting.backtest import BacktestResult as Measured
    from engine.forecasting.protocol import Forecaster
    from engine.frames.panel import Panel

log = structlog.get_logger(__name__)

NOTHING: dict[str, Any] = {"n": 0, "sum_actual": 0.0, "sum_forecast": 0.0, "sum_abs_error": 0.0}
"""The sums of a day on which only series are known that had not begun at its origin."""


def validate_new_days(
    *,
    model: RegisteredModel,
    at: datetime,
    progress: Progress | None = None,
    through: date | None = None,
    fence: Fence = transaction.atomic,
) -> dict[str, Any]:
    """Score the champion on every day after its training whose truth arrived, became complete or was corrected since the last time, by
    actuals or in a newer file, or whose segments are lost though they are still kept; and on the days after such a day, whose forecasts
    rest on it.

    The forecasts are those of rolling origins a week apart, counted from the last day of its training, as in its backtest, so that the
    numbers compare. Writes `forecast_accuracy` (overall and by segment) and the days' rows of `backtest_results`, except those of a
    backtest. A day that has no forecast has a row without a series, and is not looked at again before its truth changes. `through` looks
    at the data as it was on that day; `fence` opens the transaction. Raises NoData, NoArtifact, DigestMismatch, ForecastError.
    """
    with reading():
        champion = champion_of(model)
    if champion is None or not champion.has_artifact:
        return {"days": 0, "said": "There is no champion that predicts here."}
    forecaster = load_forecaster(champion)
    panel = model_panel(model, newest_data(model), through=through)
    truth = truth_by_day(panel, after=forecaster.trained_through)
    first = _first_new_day(champion, truth, columns=panel.segments)
    strangers = unknown_series(model, panel)
    left_out: dict[str, Any] = {"unknown_series": {"count": len(strangers), "examples": strangers[:5]}} if strangers else {}
    if first is None:
        return {"days": 0, "said": f"No truth after {panel.last_day}: {champion.version} is validated up to there.", **left_out}
    new = {day: digest for day, digest in truth.items() if day >= first}
    days = _store(champion, _measure(forecaster, panel, first, parse(model.policy), progress), truth=new, at=at, fence=fence)
    log.info("accuracy.validated", model=model.name, version=champion.version, days=days, through=str(panel.last_day))
    if days < len(new):
        left_out["without_forecast"] = len(new) - days
    return {"days": days, "from": str(first), "through": str(panel.last_day), "version": champion.version, **left_out}


def _measure(forecaster: "Forecaster", panel: "Panel", first: date, policy: Policy, progress: Progress | None) -> "Measured":
    from engine.forecasting.backtest import backtest
    from engine.forecasting.naive import SeasonalNaiveRecipe

    step = step_of(policy)
    origin = first_origin(first, trained_through=forecaster.trained_through, horizon=policy.horizon, step=step)
    return backtest(
        panel,
        SeasonalNaiveRecipe(),  # never fitted: the frozen forecaster is older than every origin
        window_days=(panel.last_day - origin).days,
        horizon=policy.horizon,
        step=step,
        frozen=forecaster,
        progress=progress,
    )


def first_origin(day: date, *, trained_through: date, horizon: int, step: int) -> date:
    """The first origin that reaches the day, of those every `step` days from the end of training: a day is always forecast from the same
    origins, however many days are validated at once."""
    behind = (day - trained_through).days - horizon
    return trained_through + timedelta(days=step * max(0, -(-behind // step)))


def truth_by_day(panel: "Panel", *, after: date) -> dict[date, str]:
    """SHA-256 of each later day's known values with their series, ascending by day; days of which nothing is known are left out.

    Series are told by their keys, so that a file with more of them leaves the days of the others as they were.
    """
    import polars as pl

    names = [int.from_bytes(hashlib.sha256(keys.encode()).digest()[:8]) for keys in identities(panel)]
    series = panel.series.select("series", pl.Series("name", names, pl.UInt64))
    later = panel.frame.filter(pl.col("target").is_not_null() & (pl.col("date") > after)).select("series", "date", "target")
    days = later.join(series, on="series").sort("date", "name").partition_by("date", as_dict=True, maintain_order=True)
    return {
        day: hashlib.sha256(part["name"].to_numpy().tobytes() + part["target"].to_numpy().tobytes()).hexdigest()
        for (day,), part in days.items()
    }


def first_kept_day(model: RegisteredModel) -> date | None:
    """The first day of which the model keeps rows of single segments and series: `retention_days` before the newest day that it has
    measured, not before the calendar's today. None where nothing was measured."""
    measured = (
        ForecastAccuracy.objects.filter(version_ref__model=model).aggregate(last=Max("forecast_date"))["last"],
        ShadowDay.objects.filter(version__model=model).aggregate(last=Max("day"))["last"],
    )
    newest = max((day for day in measured if day), default=None)
    return newest - timedelta(days=model.retention_days) if newest else None


def _first_new_day(champion: ModelVersion, truth: dict[date, str], *, columns: tuple[str, ...]) -> date | None:
    """The first day whose truth is not what was scored, or of whose segments fewer are there than were scored; None without such a day.

    A day older than `first_kept_day` has rightly lost its segments: written again, they would only be removed again.
    """
    with reading():
        validated = ForecastAccuracy.objects.filter(version_ref=champion, segment_column=OVERALL)
        scored = {day: (digest, n) for day, digest, n in validated.values_list("forecast_date", "truth", "n")}
        kept = first_kept_day(champion.model)
        split = ForecastAccuracy.objects.filter(version_ref=champion, segment_column__in=columns, forecast_date__gte=kept or date.max)
        counted = dict(split.order_by().values("forecast_date").annotate(in_segments=Sum("n")).values_list("forecast_date", "in_segments"))

    def known(day: date, digest: str) -> bool:
        was, n = scored.get(day, ("", 0))
        whole = kept is None or day < kept or counted.get(day, 0) >= n * len(columns)
        return day in scored and was == digest and whole

    return next((day for day, digest in truth.items() if not known(day, digest)), None)


def _store(champion: ModelVersion, measured: "Measured", *, truth: dict[date, str], at: datetime, fence: Fence) -> int:
    """Write what these days were worth. Returns on how many of them there was a forecast."""
    scored = {row["date"]: row for row in measured.daily.iter_rows(named=True) if row["date"] in truth}
    daily = [scored.get(day, {"date": day, **NOTHING}) for day in truth]
    segments = [row for row in measured.segments.iter_rows(named=True) if row["date"] in truth]
    with fence():
        # What was said of the series that a day has lost would no longer add up to the whole.
        champion.accuracy.filter(forecast_date__in=truth.keys() - scored.keys()).exclude(segment_column=OVERALL).delete()
        ForecastAccuracy.objects.bulk_create(
            [
                *(_row(champion, row, at, truth=truth[row["date"]]) for row in daily),
                *(_row(champion, row, at, segment_column=row["column"], segment=str(row["value"])[:128]) for row in segments),
            ],
            update_conflicts=True,
            unique_fields=["version_ref", "forecast_date", "segment_column", "segment"],
            update_fields=["created_at", "truth", *DAILY_FIELDS],
            batch_size=500,
        )
        # A row that belongs to a backtest stays its own: its days have to add up to its metrics.
        backtested = champion.backtest_results.filter(forecast_date__gte=min(truth)).exclude(run=None)
        taken = set(backtested.values_list("forecast_date", flat=True))
        upsert_daily(champion, (row for row in daily if row["date"] not in taken), at=at, run=None)
    return len(scored)


def _row(champion: ModelVersion, row: dict[str, Any], at: datetime, **named: str) -> ForecastAccuracy:
    return ForecastAccuracy(
        version_ref=champion,
        model_name=champion.model_name,
        model_version=champion.version,
        forecast_date=row["date"],
        created_at=at,
        **named,
        **(_values(row) if row["n"] else daily_values(row)),
    )


def _values(row: dict[str, Any]) -> dict[str, Any]:
    from engine.metrics import from_sums

    return daily_values({**row, **from_sums(row)})
