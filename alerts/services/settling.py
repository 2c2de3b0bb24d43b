"""Closing alerts whose question was answered elsewhere: on another page, by a schedule, or by the course of things.

News brings us here at once. The daily digest looks at every promotion once more before it tells people what is open.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from alerts.models import MLAlert
from alerts.services.closing import close_alert
from alerts.states import AlertType, Decision
from mlops.database.reading import reading
from mlops.tenancy.context import required
from mlops.tenancy.roles import system
from registry.models import ModelVersion, PromotionRequest
from registry.services.lookups import as_uuid
from registry.states import RequestStatus, VersionStatus

COMPLAINTS = (AlertType.DRIFT_DETECTED, AlertType.BACKTEST_DEGRADATION, AlertType.VALIDATION_REGRESSION)
"""About a version as champion: once another one serves, they ask for nothing that could still be done."""


@dataclass(frozen=True)
class Settlement:
    """What the answer was, who gave it, and in words."""

    decision: Decision
    who: str
    said: str


def settle_promotions(*, at: datetime, version_id: UUID | None = None) -> int:
    """Close promotion alerts that were answered elsewhere: of one version, or all of them. Returns how many."""
    waiting = MLAlert.objects.filter(decided_at=None, alert_type=AlertType.PROMOTION_PENDING)
    return _settle(_about(waiting, version_id), _promotion_answered, at=at)


def settle_complaints(*, at: datetime, version_id: UUID, who: str = "system") -> int:
    """Close alerts about a version that is not the champion any more. Returns how many."""

    def answer(alert: MLAlert) -> Settlement | None:
        version = ModelVersion.objects.filter(pk=version_id).first()
        if version is None or version.status == VersionStatus.CHAMPION:
            return None
        return Settlement(Decision.DISMISS, who, f"{version} is not the champion any more: it is {version.status}.")

    return _settle(_about(MLAlert.objects.filter(decided_at=None, alert_type__in=COMPLAINTS), version_id), answer, at=at)


def settle_failures(*, at: datetime, version_id: UUID) -> int:
    """Close what asks to retrain once more, after a version came of a later retraining. Returns how many."""
    version = ModelVersion.objects.filter(pk=version_id).first()
    if version is None or not version.lineage.get("retraining"):
        return 0
    waiting = MLAlert.objects.filter(decided_at=None, alert_type=AlertType.RETRAIN_FAILED, model_name=version.model_name)
    said = f"{version} came of a later retraining."
    return _settle(waiting, lambda _: Settlement(Decision.APPROVE, version.created_by, said), at=at)


def _about(waiting: QuerySet[MLAlert], version_id: UUID | None) -> QuerySet[MLAlert]:
    return waiting if version_id is None else waiting.filter(details__version_id=str(version_id))


def _settle(waiting: QuerySet[MLAlert], answer: Callable[[MLAlert], Settlement | None], *, at: datetime) -> int:
    """All that were answered, in one transaction, which may be the caller's: looked at again once all their rows are locked. Whoever
    answers one by hand locks it before the audit trail too; one after the other would hold the trail while waiting for the next."""
    with reading():
        found = [alert.pk for alert in waiting.order_by("pk") if answer(alert) is not None]
    settled = 0
    with transaction.atomic():
        for alert in list(MLAlert.objects.select_for_update(no_key=True).filter(pk__in=found).order_by("pk")):
            given = answer(alert) if alert.is_open else None
            if given is not None:
                close_alert(alert, given.decision, by=system(required()), at=at, notes=given.said, outcome={}, decided_by=given.who)
                settled += 1
    return settled


def _promotion_answered(alert: MLAlert) -> Settlement | None:
    """What was decided where the request was decided, or the version went its way, without this alert."""
    request_id = as_uuid(str(alert.details.get("request_id") or ""))
    request = PromotionRequest.objects.filter(pk=request_id).first() if request_id else None
    if request is not None:
        if request.status == RequestStatus.PENDING:
            return None
        decision = Decision.APPROVE if request.status == RequestStatus.APPROVED else Decision.DISMISS
        said = f"The request was {request.status} elsewhere. {request.decision_reason}".strip()
        return Settlement(decision, request.decided_by or "system", said)
    version_id = as_uuid(str(alert.details.get("version_id") or ""))
    version = ModelVersion.objects.filter(pk=version_id).first() if version_id else None
    if version is not None and version.status == VersionStatus.CHAMPION:
        return Settlement(Decision.APPROVE, "system", f"{version} became champion elsewhere.")
    if version is not None and version.status in (VersionStatus.ARCHIVED, VersionStatus.DEPRECATED):
        return Settlement(Decision.DISMISS, "system", f"{version} is {version.status}.")
    return None
