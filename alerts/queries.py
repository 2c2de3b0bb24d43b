"""Reads for the API and for screens. The number of queries never depends on the number of alerts."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from django.db.models import Count, Q, QuerySet

from alerts.models import Channel, Delivery, MLAlert, Occurrence, Subscription
from alerts.services.deeds import Prospect, prospect
from alerts.states import OPEN, AlertStatus, Severity
from mlops.tenancy.roles import Principal

PAGE_SIZE = 20
SHOWN_OCCURRENCES = 10

Order = Literal["urgency", "newest", "oldest"]
_ORDERS: dict[Order, tuple[str, ...]] = {
    "urgency": ("-severity_rank", "-created_at", "pk"),
    "newest": ("-created_at", "pk"),
    "oldest": ("created_at", "pk"),
}


@dataclass(frozen=True)
class InboxPage:
    """One page of the inbox."""

    alerts: list[MLAlert]
    count: int
    """Of all pages."""
    number: int
    size: int

    @property
    def pages(self) -> int:
        """How many there are; at least one."""
        return max((self.count + self.size - 1) // self.size, 1)


@dataclass(frozen=True)
class OpenCounts:
    """How many alerts wait for a decision, by severity, the most urgent first."""

    unread: dict[str, int]
    read: dict[str, int]

    @property
    def total_unread(self) -> int:
        """Those that nobody has read."""
        return sum(self.unread.values())

    @property
    def total_open(self) -> int:
        """Those that nobody has decided."""
        return self.total_unread + sum(self.read.values())


@dataclass(frozen=True)
class Preview:
    """What stands beside the list: the evidence, and what approving would do now."""

    alert: MLAlert
    prospect: Prospect
    occurrences: list[Occurrence]
    """The last times its cause was seen, newest first."""


def alerts() -> QuerySet[MLAlert]:
    """All alerts, the most urgent first, the newest first among those."""
    return MLAlert.objects.order_by(*_ORDERS["urgency"])


def inbox(
    *,
    statuses: Collection[str] = OPEN,
    severity: str = "",
    alert_type: str = "",
    model_name: str = "",
    search: str = "",
    order: Order = "urgency",
    page: int = 1,
    page_size: int = PAGE_SIZE,
) -> InboxPage:
    """One page; empty filters let everything pass, `search` is looked for as `matching` does. Two queries."""
    found = MLAlert.objects.filter(status__in=statuses) if set(statuses) < set(AlertStatus.values) else MLAlert.objects.all()
    exact = {"severity_rank": Severity(severity).rank if severity else None, "alert_type": alert_type, "model_name": model_name}
    found = matching(found.filter(**{name: value for name, value in exact.items() if value}), search)
    start = (page - 1) * page_size
    return InboxPage(list(found.order_by(*_ORDERS[order])[start : start + page_size]), found.count(), page, page_size)


def matching(found: QuerySet[MLAlert], words: str) -> QuerySet[MLAlert]:
    """Those whose title or message has the words as they stand, in whatever case."""
    return found.filter(Q(title__icontains=words) | Q(message__icontains=words)) if words.strip() else found


def asking() -> QuerySet[MLAlert]:
    """Open alerts whose approval does something, oldest first: what Approvals lists. Those about a promotion request are left out, because
    the request itself is listed there."""
    waiting = MLAlert.objects.filter(status__in=OPEN).exclude(alert_type="promotion_pending", details__has_key="request_id")
    return waiting.exclude(alert_type="experiment_complete").order_by(*_ORDERS["oldest"])


def open_counts() -> OpenCounts:
    """For the number in the navigation: one grouped query over an index of open alerts alone."""
    grouped = MLAlert.objects.filter(status__in=OPEN).order_by().values_list("status", "severity_rank").annotate(n=Count("pk"))
    found = {(str(status), int(rank)): int(n) for status, rank, n in grouped}
    unread, read = ({one.value: found.get((status.value, one.rank), 0) for one in reversed(Severity)} for status in OPEN)
    return OpenCounts(unread, read)


def preview(alert: MLAlert, *, by: Principal | None = None) -> Preview:
    """What to look at before deciding, for `by`. At most four queries."""
    seen = Occurrence.objects.filter(alert=alert).order_by("-at", "pk")
    return Preview(alert, prospect(alert, by=by), list(seen[:SHOWN_OCCURRENCES]))


def shared_channels() -> QuerySet[Channel]:
    """Channels that are nobody's own."""
    return Channel.objects.filter(owner=None, deleted_at=None).order_by("name", "pk")


def visible_subscriptions(principal: Principal) -> QuerySet[Subscription]:
    """The principal's own, and those of shared channels."""
    found = Subscription.objects.select_related("channel__owner").filter(channel__deleted_at=None)
    shared = found.filter(channel__owner=None)
    own = found.filter(channel__owner_id=principal.user_id) if principal.user_id else found.none()
    return (shared | own).order_by("created_at", "pk")


def deliveries_of(channel: Channel) -> QuerySet[Delivery]:
    """What was sent through the channel, newest first."""
    return Delivery.objects.filter(channel=channel).order_by("-created_at", "pk")
