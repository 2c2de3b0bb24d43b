"""What each model's `retention_days` lets go: raw rows whose sums are kept elsewhere, never evidence.

Days count back from the newest one that a model has measured, so that data which end long ago keep as much as data of today.

Evidence is what an audit event points at, or what a decision names among the things it rests on.
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from mlops.tenancy.models import TenantModel
from mlops.upkeep import delete_batch, told_of, upkeep
from registry.models import DecisionRecord, ForecastAccuracy, RegisteredModel, ShadowPrediction
from registry.models.accuracy import OVERALL
from registry.services.accuracy import first_kept_day

Row = TypeVar("Row", bound=TenantModel)


@upkeep("shadow predictions")
def _shadow_predictions(_at: datetime, limit: int, dry_run: bool) -> int:
    """Pairs of single series and days; the sums of their days stay."""
    return _of_each_model(lambda model, before: ShadowPrediction.objects.filter(version__model=model, day__lt=before), limit, dry_run)


@upkeep("accuracy by segment")
def _accuracy_by_segment(_at: datetime, limit: int, dry_run: bool) -> int:
    """Days of single segments; the days overall stay."""

    def old(model: RegisteredModel, before: date) -> "QuerySet[ForecastAccuracy]":
        return ForecastAccuracy.objects.filter(version_ref__model=model, forecast_date__lt=before).exclude(segment_column=OVERALL)

    return _of_each_model(old, limit, dry_run)


def _of_each_model(old: Any, limit: int, dry_run: bool) -> int:
    """Remove up to `limit` rows of `old(model, first day that stays)` over all models, but what is evidence."""
    removed = 0
    with transaction.atomic():
        for model in RegisteredModel.objects.order_by("pk"):
            if removed >= limit:
                break
            kept = first_kept_day(model)
            if kept is not None:
                rows = _without_evidence(old(model, kept), model).order_by("pk")
                removed += delete_batch(rows, limit - removed, dry_run)
    return removed


def _without_evidence(rows: "QuerySet[Row]", model: RegisteredModel) -> "QuerySet[Row]":
    records = DecisionRecord.objects.filter(model=model).values_list("rests_on", flat=True)
    cited = {identifier for record in records for identifier in _ids_in(record)} | told_of(rows.model)
    return rows.exclude(pk__in=cited) if cited else rows


def _ids_in(value: Any) -> Iterator[UUID]:
    """Every id that a JSON value names, at any depth."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from _ids_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _ids_in(entry)
    elif isinstance(value, str) and len(value) == 36:
        try:
            yield UUID(value)
        except ValueError:
            return
