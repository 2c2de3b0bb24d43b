"""Model drift: has the champion become worse than it was when it won, and where?"""

from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction

from mlops.database.reading import reading
from mlops.outbox.services import publish
from registry.events import ModelDrifted
from registry.models import BacktestRun, BacktestSegment, ForecastAccuracy, ModelVersion, RegisteredModel
from registry.models.accuracy import OVERALL
from registry.rules.trailing import DEGRADED_PCT
from registry.services.backtesting import Fence
from registry.services.lookups import champion_of, lock_model, reference_run

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from engine.drift import DriftVerdict

log = structlog.get_logger(__name__)

RECENT_DAYS = 7


def detect(*, model: RegisteredModel, at: datetime, fence: Fence = transaction.atomic) -> dict[str, Any]:
    """Compare the champion's last seven validated days with its first backtest; publish `ModelDrifted` once where it drifted,
    in a transaction that `fence` opens.

    Reads two indexed ranges, segments × (90 + days since training) rows, whatever the number of series. The event carries every number
    it rests on.
    """
    with reading():
        champion = champion_of(model)
        run = reference_run(champion) if champion else None
        recent = _recent_rows(champion) if champion else []
    if champion is None or run is None or not recent:
        return {
            "version": champion.version if champion else None,
            "drifted": None,
            "said": "Nothing to compare yet: drift needs a champion, its backtest, and validated days after its training.",
        }
    as_of = max(row["date"] for row in recent)
    window = (run.window_start, run.window_end)
    if window[1] >= as_of - timedelta(days=RECENT_DAYS - 1):
        return {"version": champion.version, "drifted": None, "said": f"Fewer than {RECENT_DAYS} validated days after {window[1]}."}
    verdict = _judge(_reference_rows(run), recent, as_of=as_of, reference_window=window)
    told = verdict.drifted and _tell(_news(model, champion, verdict), model=model, at=at, fence=fence)
    log.info("drift.checked", model=model.name, version=champion.version, drifted=verdict.drifted, score=verdict.score, as_of=str(as_of))
    if told:
        log.warning("drift.detected", model=model.name, segments=[f"{found.column}={found.value}" for found in verdict.named])
    return {"version": champion.version, **report(verdict)}


def _tell(news: ModelDrifted, *, model: RegisteredModel, at: datetime, fence: Fence) -> bool:
    """Publish the news, once per champion, day and severity, however often the check runs. Returns whether it did."""
    told = {"version_id": news.version_id, "as_of": news.as_of, "severity": news.severity}
    with fence():
        if lock_model(model.pk).drift_told == told:
            return False
        RegisteredModel.objects.filter(pk=model.pk).update(drift_told=told)
        publish(news, at=at)
    return True


def report(verdict: "DriftVerdict") -> dict[str, Any]:
    """The verdict as JSON values: what the job keeps and the screens show."""
    return {
        "drifted": verdict.drifted,
        "as_of": verdict.as_of.isoformat(),
        "score": verdict.score,
        "severity": verdict.severity,
        "method": verdict.method,
        "reference": [day.isoformat() for day in verdict.reference],
        "replayed_days": verdict.replayed_days,
        "would_have_fired_days": verdict.fired_days,
        "false_alarm_rate": verdict.reference_alarm_rate,
        "said": summary(verdict),
        "segments": [asdict(segment) for segment in verdict.segments],
    }


def summary(verdict: "DriftVerdict") -> str:
    """The verdict in one sentence."""
    if not verdict.drifted:
        return f"No drift on {verdict.as_of}: no segment's seven-day error is beyond its own noise."
    named = ", ".join(
        f"{found.value or 'overall'} ({found.mae_change_pct:+.0f} % MAE)" if found.mae_change_pct is not None else found.value
        for found in verdict.named[:5]
    )
    return f"Errors of the last seven days up to {verdict.as_of} are beyond the champion's baseline in {named}."


def _judge(
    reference: list[dict[str, Any]], recent: list[dict[str, Any]], *, as_of: date, reference_window: tuple[date, date]
) -> "DriftVerdict":
    import polars as pl

    from engine.drift import DriftRule, model_drift

    rule = DriftRule(threshold=DEGRADED_PCT / 100)
    return model_drift(pl.DataFrame([*reference, *recent]), as_of=as_of, reference=reference_window, rule=rule)


def _reference_rows(run: BacktestRun) -> list[dict[str, Any]]:
    with reading():
        return _named(run.segments.all())


def _recent_rows(champion: ModelVersion) -> list[dict[str, Any]]:
    return _named(ForecastAccuracy.objects.filter(version_ref=champion, n__gt=0).order_by("forecast_date"))


def _named(rows: "QuerySet[BacktestSegment] | QuerySet[ForecastAccuracy]") -> list[dict[str, Any]]:
    """Rows as `engine.drift` names them."""
    columns = ("forecast_date", "segment_column", "segment", "n", "sum_abs_error", "sum_actual", "sum_error")
    return [
        {
            "date": day,
            "column": column,
            "value": "" if column == OVERALL else segment,
            "n": n,
            "sum_abs_error": absolute,
            "sum_actual": actual,
            "sum_forecast": actual + error,
        }
        for day, column, segment, n, absolute, actual, error in rows.values_list(*columns)
    ]


def _news(model: RegisteredModel, champion: ModelVersion, verdict: "DriftVerdict") -> ModelDrifted:
    return ModelDrifted(
        model_name=model.name,
        version_id=str(champion.pk),
        version=champion.version,
        as_of=verdict.as_of.isoformat(),
        severity=verdict.severity,
        score=verdict.score,
        summary=summary(verdict),
        segments=[asdict(segment) for segment in verdict.named],
    )
