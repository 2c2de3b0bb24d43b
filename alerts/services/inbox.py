"""Raising alerts, reading them, and deciding them once.

Lock order: the alert's row, then whatever the deed locks (the model's row), then the audit head.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import structlog
from django.db import IntegrityError, transaction

from alerts.models import MLAlert, Occurrence
from alerts.rules import Finding, tell_again, worse
from alerts.services.closing import close_alert, lock_alert
from alerts.services.deeds import deed_of, refuse_own_review
from alerts.services.notifying import notify
from alerts.states import ALERT_LIFECYCLE, OPEN, AlertStatus, Decision
from mlops.audit.services import record
from mlops.errors import DomainError, InvalidField
from mlops.lifecycle.mechanism import move
from mlops.moments import iso
from mlops.tenancy.roles import Principal
from registry.services.lookups import IfMatch

log = structlog.get_logger(__name__)


class AlreadyDecided(DomainError):
    """Somebody else was first."""

    code: ClassVar[str] = "already_decided"

    def __init__(self, alert: MLAlert) -> None:
        super().__init__(f"This alert was {alert.status} by {alert.decided_by} already.")
        self.alert = alert

    def extra(self) -> dict[str, Any]:
        """Who decided what, and when."""
        decided_at = iso(self.alert.decided_at) if self.alert.decided_at else None
        return {"decided_by": self.alert.decided_by, "decision": self.alert.decision, "decided_at": decided_at}


def raise_alert(*, finding: Finding, at: datetime) -> MLAlert | None:
    """Open an alert, or let the finding join the one that is open for its cause. None where this very occurrence was counted before.

    Subscribers are told of a new alert, of one that became more urgent, and of a repeat whose cool-down is over.
    """
    with transaction.atomic():
        key = f"{finding.cause}#{finding.occurrence or uuid4()}"[:300]
        seen = Occurrence.objects.filter(key=key)
        if seen.exists():
            return None
        alert, new = _open_or_create(finding, at)
        if not new and seen.exists():  # told by another worker while we waited for the lock
            return None
        Occurrence.objects.create(alert=alert, key=key, severity=finding.severity, message=finding.message, details=finding.details, at=at)
        tell = new or _join(alert, finding, at)
        if tell:
            notify(alert, occurrence=key, at=at)
            MLAlert.objects.filter(pk=alert.pk).update(notified_at=at)
            alert.notified_at = at
    return alert


def mark_read(*, alert_id: UUID, by: Principal, at: datetime, if_match: IfMatch | None = None) -> MLAlert:
    """Somebody has seen it. Repeats change nothing; a decided alert is no longer marked. Raises NotFound, IllegalMove, Stale."""
    with transaction.atomic():
        alert = lock_alert(alert_id)
        by.authorize("alert.read")
        if alert.status == AlertStatus.READ:
            return alert
        if if_match is not None:
            if_match(alert)
        changes: dict[str, Any] = {"read_at": at, "read_by": by.name, "revision": alert.revision + 1}
        move(ALERT_LIFECYCLE, alert, AlertStatus.READ, label=alert.title, actor=by, at=at, **changes)
    return alert


def approve(*, alert_id: UUID, by: Principal, at: datetime, notes: str = "", if_match: IfMatch | None = None) -> MLAlert:
    """Do what the alert asks for, and close it: one transaction, so exactly once.

    Raises AlreadyDecided, Stale, Forbidden, and whatever the deed refuses with (four eyes, a retraining that runs already, …); then the
    alert stays open and nothing was done.
    """
    with transaction.atomic():
        alert = _lock_undecided(alert_id, by, if_match)
        deed = deed_of(alert)
        outcome = {"deed": deed.name, **deed.act(alert, by, at, notes)}
        close_alert(alert, Decision.APPROVE, by=by, at=at, notes=notes, outcome=outcome)
    log.info("alert.approved", alert_id=str(alert.pk), alert_type=alert.alert_type, **outcome)
    return alert


def dismiss(*, alert_id: UUID, by: Principal, at: datetime, notes: str, if_match: IfMatch | None = None) -> MLAlert:
    """Close the alert without its deed. Raises InvalidField without a reason, AlreadyDecided, OwnProposal for one's own emergency, Stale,
    Forbidden."""
    with transaction.atomic():
        alert = _lock_undecided(alert_id, by, if_match)
        refuse_own_review(alert, by)
        if not notes.strip():
            raise InvalidField("notes", "Say why the alert is dismissed; it goes into the record.")
        close_alert(alert, Decision.DISMISS, by=by, at=at, notes=notes, outcome={})
    return alert


def _open_or_create(finding: Finding, at: datetime) -> tuple[MLAlert, bool]:
    """The open alert of the cause, locked, or a new one; and which of the two."""
    cause = finding.cause[:300]
    while True:
        found = MLAlert.objects.select_for_update(no_key=True).filter(cause_key=cause, status__in=OPEN).first()
        if found is not None:
            return found, False
        try:
            with transaction.atomic():
                return _create(finding, cause, at), True
        except IntegrityError:
            if not MLAlert.objects.filter(cause_key=cause, status__in=OPEN).exists():
                raise
            # Somebody else opened it between our look and our insert: look again, and join.


def _create(finding: Finding, cause: str, at: datetime) -> MLAlert:
    alert = MLAlert.objects.create(
        alert_type=finding.alert_type,
        severity=finding.severity,
        title=finding.title[:200],
        message=finding.message,
        action_url=finding.action_url[:500],
        cause_key=cause,
        model_name=finding.model_name,
        version=finding.version,
        details=finding.details,
        created_at=at,
        last_seen_at=at,
    )
    record(action="alert.raised", target=alert, label=alert.title, at=at, after={"type": alert.alert_type, "severity": alert.severity})
    return alert


def _join(alert: MLAlert, finding: Finding, at: datetime) -> bool:
    """Count a repeat; the newest numbers are the ones to decide on. Returns whether subscribers should hear of it."""
    severity = worse(alert.severity, finding.severity)
    tell = tell_again(alert_type=alert.alert_type, before=alert.severity, after=severity, notified_at=alert.notified_at, at=at)
    alert.severity, alert.message, alert.last_seen_at = severity, finding.message or alert.message, at
    alert.details = {**alert.details, **finding.details}
    alert.repeat_count, alert.revision = alert.repeat_count + 1, alert.revision + 1
    alert.action_url = finding.action_url[:500] or alert.action_url
    changed = ["severity", "severity_rank", "message", "search_text", "last_seen_at", "details", "repeat_count", "revision", "action_url"]
    alert.save(update_fields=changed)
    return tell


def _lock_undecided(alert_id: UUID, by: Principal, if_match: IfMatch | None) -> MLAlert:
    """Whoever comes too late hears who was first, whatever revision they had seen."""
    alert = lock_alert(alert_id)
    by.authorize("alert.act")
    if not alert.is_open:
        raise AlreadyDecided(alert)
    if if_match is not None:
        if_match(alert)
    return alert
