"""What alerts ask of a manager: rows of the approvals, counts of the navigation, and whether an open page is still true."""

from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse

from alerts.models import MLAlert
from alerts.queries import asking
from alerts.services.deeds import OWN_REVIEW, deed_of, reviewed
from alerts.states import AlertStatus, Severity
from mlops.tenancy.roles import Principal
from mlops.waiting import MOST_COUNTED, Choice, Objection, Waiting, open_by_model, subject, tally, waits

MOST_ROWS = 30
"""Of the oldest; the inbox has them all."""
LONGEST = 300


@tally("alerts")
def unread() -> QuerySet[MLAlert]:
    """Alerts that nobody has read."""
    return MLAlert.objects.filter(status=AlertStatus.UNREAD)


@tally("critical")
def critical() -> QuerySet[MLAlert]:
    """What the first page calls wrong."""
    return _open(Severity.CRITICAL)


@tally("warning")
def warning() -> QuerySet[MLAlert]:
    """What should be looked at."""
    return _open(Severity.WARNING)


@tally("info")
def info() -> QuerySet[MLAlert]:
    """What is good to know."""
    return _open(Severity.INFO)


@open_by_model
def open_alerts() -> list[str]:
    """The models of the open alerts, the oldest first."""
    return list(MLAlert.objects.filter(decided_at=None).order_by("created_at", "pk").values_list("model_name", flat=True)[:MOST_COUNTED])


@tally("approvals")
def that_ask() -> QuerySet[MLAlert]:
    """Open alerts whose approval does something."""
    return asking()


@subject("alert")
def revision_of_alert(pk: UUID) -> int | None:
    """Counts every change: repeats, readers, the decision."""
    return MLAlert.objects.filter(pk=pk).values_list("revision", flat=True).first()


@waits
def alerts_waiting(principal: Principal) -> list[Waiting]:
    """The oldest open alerts that ask for something. One query."""
    alerts, may = list(asking()[:MOST_ROWS]), principal.may("alert.act")
    return [_row(alert, may=may) for alert in alerts]


def _row(alert: MLAlert, *, may: bool) -> Waiting:
    url, says = reverse("admin:alerts_alert", args=[alert.pk]), deed_of(alert).says
    choices = (
        Choice("Approve", "check", url, "approve", needs_other=True),
        Choice("Dismiss", "close", url, "dismiss", dangerous=True, needs_other=True),
    )
    evidence = alert.message if len(alert.message) <= LONGEST else f"{alert.message[:LONGEST]}…"
    return Waiting(
        kind="Alert",
        icon="notifications",
        title=alert.title,
        about=alert.get_alert_type_display(),
        url=url,
        asked_by=f"{alert.get_severity_display()} alert, raised",
        asked_at=alert.created_at,
        reason="",
        evidence=evidence or says,
        will=says[:1].lower() + says[1:],
        revision=alert.revision,
        choices=choices if may else (),
        objections=(Objection(OWN_REVIEW, found),) if (found := reviewed(alert)) else (),
    )


def _open(severity: Severity) -> QuerySet[MLAlert]:
    return MLAlert.objects.filter(decided_at=None, severity_rank=severity.rank)
