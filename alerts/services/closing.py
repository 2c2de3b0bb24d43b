"""Locking an alert and closing it: the one way in which it ends, whoever or whatever answers it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from alerts.models import MLAlert
from alerts.states import ALERT_LIFECYCLE, AlertStatus, Decision
from mlops.database.locking import lock_row
from mlops.lifecycle.mechanism import move
from mlops.tenancy.roles import Principal


def lock_alert(alert_id: UUID) -> MLAlert:
    """Lock the alert's row; see `lock_row`."""
    return lock_row(MLAlert.objects.filter(pk=alert_id), missing="There is no such alert.")


def close_alert(
    alert: MLAlert, decision: Decision, *, by: Principal, at: datetime, notes: str, outcome: dict[str, Any], decided_by: str = ""
) -> None:
    """Close a locked alert. `decided_by` names who answered, where that was not `by`."""
    status = AlertStatus.ACTIONED if decision is Decision.APPROVE else AlertStatus.DISMISSED
    changes: dict[str, Any] = {
        "decision": decision.value,
        "decided_at": at,
        "decided_by": decided_by or by.name,
        "notes": notes,
        "outcome": outcome,
        "revision": alert.revision + 1,
    }
    move(ALERT_LIFECYCLE, alert, status, label=alert.title, actor=by, at=at, reason=notes, details=outcome, **changes)
