"""Pure decisions."""

from datetime import timedelta

import pytest

from alerts import rules
from alerts.states import AlertType, Severity
from tests.alerts.factories import NOON


@pytest.mark.parametrize(
    ("drift", "severity"), [("low", "info"), ("medium", "warning"), ("high", "critical"), ("critical", "critical"), ("odd", "warning")]
)
def test_severity_follows_the_drift(drift: str, severity: str) -> None:
    assert rules.drift_severity(drift) == severity


def test_worse_never_calms_down() -> None:
    assert rules.worse("critical", "info") is Severity.CRITICAL
    assert rules.worse("info", "warning") is Severity.WARNING


@pytest.mark.parametrize(
    ("hours", "after", "told"), [(1, "warning", False), (70, "warning", False), (71, "warning", True), (1, "critical", True)]
)
def test_a_repeat_is_told_after_its_cool_down_or_when_it_got_worse(hours: int, after: str, told: bool) -> None:
    again = rules.tell_again(alert_type="drift_detected", before="warning", after=after, notified_at=NOON, at=NOON + timedelta(hours=hours))

    assert again is told


@pytest.mark.parametrize("alert_type", AlertType.values)
def test_every_type_has_a_cool_down(alert_type: str) -> None:
    at = NOON + timedelta(days=30)

    assert rules.tell_again(alert_type=alert_type, before="info", after="info", notified_at=NOON, at=at)


@pytest.mark.parametrize(
    ("types", "least", "covered"),
    [
        ([], "info", True),
        ([], "warning", True),
        ([], "critical", False),
        (["retrain_failed"], "info", False),
        (["drift_detected"], "info", True),
    ],
)
def test_a_subscription_covers_types_and_severities(types: list[str], least: str, covered: bool) -> None:
    assert rules.wanted(alert_type="drift_detected", severity="warning", types=types, min_severity=least) is covered
