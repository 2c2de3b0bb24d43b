"""The daily T-1 validation: what the champion said about the days whose truth is now known."""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction
from django.db.models import Max

from registry.models import BacktestResult, ForecastAccuracy, ModelVersion, RegisteredModel
from registry.models.accuracy import OVERALL
from registry.rules.policy import parse
from registry.services.artifacts import load_forecaster
from registry.services.backtesting import DAILY_FIELDS, daily_values
from registry.services.judging import champion_of
from registry.services.panels import model_panel, newest_data

if TYPE_CHECKING:
    from engine.forecasting.backtest import BacktestResult as Measured

log = structlog.get_logger(__name__)

STEP = 7


def validate_new_days(*, model: RegisteredModel, at: datetime, progress: Any = None, through: date | None = None) -> dict[str, Any]:
    """Score the champion on every day after its training whose truth arrived since the last time.

    The forecasts are those of rolling origins a week apart, counted from the last day of its training, as in its backtest, so that the
    numbers compare. Writes `forecast_accuracy` (overall and by segment) and the days' rows of `backtest_results`. `through` looks at the
    data as it was on that day.
    """
    from engine.forecasting.backtest import backtest
    from engine.forecasting.naive import SeasonalNaiveRecipe

    with transaction.atomic():
        champion = champion_of(model)
    if champion is None or not champion.has_artifact:
        return {"days": 0, "said": "There is no champion that predicts here."}
    forecaster = load_forecaster(champion)
    panel = model_panel(model, newest_data(model))
    if through is not None:
        panel = panel.until(through)
    first = _first_new_day(champion, forecaster.trained_through)
    if panel.last_day < first:
        return {"days": 0, "said": f"No truth after {panel.last_day}: {champion.version} is validated up to there."}
    window = (panel.last_day - _origin_before(first, forecaster.trained_through)).days
    policy = parse(model.policy)
    # With a frozen model older than every origin nothing is fitted; the recipe is never used.
    measured = backtest(
        panel, SeasonalNaiveRecipe(), window_days=window, horizon=policy.horizon, step=STEP, frozen=forecaster, progress=progress
    )
    days = _store(champion, measured, first=first, at=at)
    log.info("accuracy.validated", model=model.name, version=champion.version, days=days, through=str(panel.last_day))
    return {"days": days, "from": str(first), "through": str(panel.last_day), "version": champion.version}


def _first_new_day(champion: ModelVersion, trained_through: date) -> date:
    with transaction.atomic():
        last = ForecastAccuracy.objects.filter(version_ref=champion).aggregate(last=Max("forecast_date"))["last"]
    return max(last or trained_through, trained_through) + timedelta(days=1)


def _origin_before(day: date, trained_through: date) -> date:
    """The last origin before the day, counted in weeks from the end of training."""
    weeks = ((day - trained_through).days - 1) // STEP
    return trained_through + timedelta(days=STEP * weeks)


def _store(champion: ModelVersion, measured: "Measured", *, first: date, at: datetime) -> int:
    named = {"version_ref": champion, "model_name": champion.model_name, "model_version": champion.version, "created_at": at}
    daily = [row for row in measured.daily.iter_rows(named=True) if row["date"] >= first]
    segments = [row for row in measured.segments.iter_rows(named=True) if row["date"] >= first]
    rows = [
        ForecastAccuracy(
            **named,
            forecast_date=row["date"],
            segment_column=row.get("column", OVERALL),
            segment=str(row.get("value", OVERALL))[:128],
            **_segment_values(row),
        )
        for row in [*daily, *segments]
    ]
    results = [BacktestResult(**named, forecast_date=row["date"], **daily_values(row)) for row in daily]
    with transaction.atomic():
        ForecastAccuracy.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["version_ref", "forecast_date", "segment_column", "segment"],
            update_fields=["created_at", *DAILY_FIELDS],
            batch_size=500,
        )
        BacktestResult.objects.bulk_create(
            results,
            update_conflicts=True,
            unique_fields=["version_ref", "forecast_date"],
            update_fields=["created_at", *DAILY_FIELDS],
            batch_size=500,
        )
    return len(daily)


def _segment_values(row: dict[str, Any]) -> dict[str, Any]:
    from engine.metrics import from_sums

    return daily_values({**row, **from_sums(row)})
