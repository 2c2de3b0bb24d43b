"""Pure decisions: how urgent, who hears of it, and when a repeat is told again. No database, no clock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from alerts.states import AlertType, Severity

DRIFT_SEVERITY = {"low": Severity.INFO, "medium": Severity.WARNING, "high": Severity.CRITICAL, "critical": Severity.CRITICAL}

COOL_DOWN: Mapping[AlertType, timedelta] = {
    # Seen again every day while it lasts: a reminder every third day is enough, the digest has it daily.
    AlertType.DRIFT_DETECTED: timedelta(hours=71),
    AlertType.FEEDBACK_DRIFT: timedelta(hours=71),
    AlertType.VALIDATION_REGRESSION: timedelta(hours=71),
    # Weekly: each one is news.
    AlertType.BACKTEST_DEGRADATION: timedelta(days=6),
    AlertType.ENDPOINT_UNHEALTHY: timedelta(hours=1),
}
DEFAULT_COOL_DOWN = timedelta(hours=23)


@dataclass(frozen=True)
class Finding:
    """Something that needs a person."""

    alert_type: AlertType
    severity: Severity
    title: str
    message: str
    cause: str
    """What it is about: one alert is open per cause."""
    occurrence: str = ""
    """What tells this time from another one; empty where the news itself comes once."""
    action_url: str = ""
    model_name: str = ""
    version: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def drift_severity(named: str) -> Severity:
    """An alert's severity from that of the drift; one that nobody knows is a warning."""
    return DRIFT_SEVERITY.get(named, Severity.WARNING)


def worse(one: str, other: str) -> Severity:
    """The more urgent of two."""
    return max(Severity(one), Severity(other), key=lambda severity: severity.rank)


def tell_again(*, alert_type: str, before: str, after: str, notified_at: datetime | None, at: datetime) -> bool:
    """Whether a repeat is worth another message: it became more urgent, or its cool-down is over."""
    if notified_at is None or Severity(after).rank > Severity(before).rank:
        return True
    return at - notified_at >= COOL_DOWN.get(AlertType(alert_type), DEFAULT_COOL_DOWN)


def wanted(*, alert_type: str, severity: str, types: Collection[str], min_severity: str) -> bool:
    """Whether a subscription covers the alert."""
    return (not types or alert_type in types) and Severity(severity).rank >= Severity(min_severity).rank
