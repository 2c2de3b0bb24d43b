"""Raising, joining, reading, deciding."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from alerts.models import MLAlert, Occurrence
from alerts.services import deeds, inbox
from alerts.services.deeds import Deed
from alerts.states import AlertType
from mlops.audit.models import AuditEvent
from mlops.errors import InvalidField, NotFound
from mlops.lifecycle.mechanism import IllegalMove
from mlops.lifecycle.models import Move
from mlops.tenancy.roles import Forbidden, Principal, Role
from tests.alerts.factories import NOON, finding, make_alert


def raised() -> list[MLAlert]:
    return list(MLAlert.objects.order_by("created_at"))


def test_raising_opens_an_unread_alert_with_its_trace(scope: Principal) -> None:
    alert = make_alert()

    assert (alert.status, alert.repeat_count, alert.revision) == ("unread", 0, 1)
    assert AuditEvent.objects.filter(action="alert.raised", object_id=str(alert.pk)).count() == 1


def test_a_repeat_joins_the_open_alert_and_is_counted(scope: Principal) -> None:
    later = NOON + timedelta(days=1)
    alert = make_alert(occurrence="monday")

    inbox.raise_alert(finding=finding(occurrence="tuesday", message="Worse.", severity="critical"), at=later)

    alert.refresh_from_db()
    assert raised() == [alert]
    assert (alert.repeat_count, alert.last_seen_at, alert.created_at) == (1, later, NOON)
    assert (alert.severity, alert.severity_rank, alert.message, alert.revision) == ("critical", 3, "Worse.", 2)
    assert alert.occurrences.count() == 2


def test_the_same_occurrence_counts_once_even_after_the_decision(scope: Principal) -> None:
    alert = make_alert(occurrence="monday")
    assert inbox.raise_alert(finding=finding(occurrence="monday"), at=NOON) is None
    inbox.dismiss(alert_id=alert.pk, by=scope, at=NOON, notes="Known.")

    assert inbox.raise_alert(finding=finding(occurrence="monday"), at=NOON) is None

    assert len(raised()) == 1
    assert Occurrence.objects.count() == 1


def test_a_cause_seen_after_the_decision_opens_another_alert(scope: Principal) -> None:
    alert = make_alert(occurrence="monday")
    inbox.dismiss(alert_id=alert.pk, by=scope, at=NOON, notes="Known.")

    make_alert(occurrence="tuesday", at=NOON + timedelta(days=1))

    assert [one.status for one in raised()] == ["dismissed", "unread"]


def test_the_database_allows_one_open_alert_per_cause(scope: Principal) -> None:
    alert = make_alert()
    twin = {name: getattr(alert, name) for name in ("alert_type", "severity", "title", "cause_key", "created_at", "last_seen_at")}

    with pytest.raises(IntegrityError), transaction.atomic():
        MLAlert.objects.create(**twin)


def test_reading_twice_is_reading_once(scope: Principal) -> None:
    alert = make_alert()

    inbox.mark_read(alert_id=alert.pk, by=scope, at=NOON)
    again = inbox.mark_read(alert_id=alert.pk, by=scope, at=NOON + timedelta(hours=1))

    assert (again.status, again.read_at, again.read_by) == ("read", NOON, scope.name)
    assert Move.objects.filter(object_id=alert.pk).count() == 1


def test_a_decided_alert_cannot_be_marked_as_read(scope: Principal) -> None:
    alert = make_alert()
    inbox.dismiss(alert_id=alert.pk, by=scope, at=NOON, notes="Known.")

    with pytest.raises(IllegalMove):
        inbox.mark_read(alert_id=alert.pk, by=scope, at=NOON)


@pytest.mark.parametrize("notes", ["", "   "])
def test_dismissing_needs_a_reason(notes: str, scope: Principal) -> None:
    alert = make_alert()

    with pytest.raises(InvalidField, match="why"):
        inbox.dismiss(alert_id=alert.pk, by=scope, at=NOON, notes=notes)


def test_dismissing_records_who_and_why_and_does_nothing(scope: Principal) -> None:
    alert = inbox.dismiss(alert_id=make_alert().pk, by=scope, at=NOON, notes="A public holiday.")

    alert.refresh_from_db()
    assert (alert.status, alert.decision, alert.decided_by, alert.notes) == ("dismissed", "dismiss", scope.name, "A public holiday.")
    assert alert.outcome == {}
    assert Move.objects.get(object_id=alert.pk).reason == "A public holiday."


def test_acting_twice_names_who_was_first(scope: Principal) -> None:
    alert = make_alert(alert_type=AlertType.JOB_FAILED)
    inbox.approve(alert_id=alert.pk, by=scope, at=NOON, notes="Mended.")

    with pytest.raises(inbox.AlreadyDecided, match=scope.name) as late:
        inbox.dismiss(alert_id=alert.pk, by=scope, at=NOON, notes="No.")

    assert late.value.extra() == {
        "decided_by": scope.name,
        "decision": "approve",
        "decided_at": "2026-03-02T12:00:00Z",
    }


@pytest.mark.parametrize("role", ["viewer", "data_scientist"])
def test_deciding_is_for_managers(role: str, scope: Principal) -> None:
    alert = make_alert()
    other = Principal(kind="user", name="v@example.com", role=Role(role), customer_id=scope.customer_id)

    with pytest.raises(Forbidden):
        inbox.approve(alert_id=alert.pk, by=other, at=NOON)


def test_an_unknown_alert_is_not_found(scope: Principal) -> None:
    with pytest.raises(NotFound):
        inbox.approve(alert_id=scope.customer_id, by=scope, at=NOON)


def test_a_crash_after_the_deed_leaves_neither_deed_nor_decision(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def deed(alert: MLAlert, *_: Any) -> dict[str, Any]:
        make_alert(cause="left behind by the deed")
        done.append("once")
        return {}

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    alert = make_alert()
    monkeypatch.setitem(deeds.DEEDS, AlertType.DRIFT_DETECTED, Deed("d", "d", deed))  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(inbox, "close_alert", crash)
        with pytest.raises(KeyboardInterrupt):
            inbox.approve(alert_id=alert.pk, by=scope, at=NOON)
    alert.refresh_from_db()
    assert (alert.status, len(raised())) == ("unread", 1)

    inbox.approve(alert_id=alert.pk, by=scope, at=NOON)

    alert.refresh_from_db()
    assert (alert.status, len(raised()), len(done)) == ("actioned", 2, 2)
