"""The life cycle, spelled out a second time on purpose: changing it means changing it here too."""

from itertools import product

import pytest

from alerts.states import ALERT_LIFECYCLE, AlertStatus, AlertType, Severity
from mlops.lifecycle.mechanism import IllegalMove, move
from mlops.tenancy.roles import Principal
from tests.alerts.factories import NOON, make_alert

LEGAL = {("unread", "read"), ("unread", "actioned"), ("unread", "dismissed"), ("read", "actioned"), ("read", "dismissed")}


@pytest.mark.parametrize(("current", "wanted"), list(product(AlertStatus.values, repeat=2)))
def test_move_allows_the_life_cycle_and_nothing_else(current: str, wanted: str, scope: Principal) -> None:
    alert = make_alert()
    decided = {"decided_at": NOON} if current in ("actioned", "dismissed") else {}
    type(alert).objects.filter(pk=alert.pk).update(status=current, **decided)
    alert.refresh_from_db()
    changes = {"decided_at": NOON} if wanted in ("actioned", "dismissed") else {}

    moved = True
    try:
        move(ALERT_LIFECYCLE, alert, wanted, label="x", actor=scope, at=NOON, **changes)
    except IllegalMove:
        moved = False

    alert.refresh_from_db()
    assert moved is ((current, wanted) in LEGAL)
    assert alert.status == (wanted if moved else current)


def test_severities_rank_as_people_mean_them() -> None:
    assert [severity.rank for severity in (Severity.INFO, Severity.WARNING, Severity.CRITICAL)] == [1, 2, 3]


def test_every_documented_type_exists() -> None:
    documented = "drift_detected promotion_pending backtest_degradation experiment_complete validation_regression endpoint_unhealthy"

    assert {*documented.split(), "feedback_drift", "retrain_failed"} <= set(AlertType.values)
