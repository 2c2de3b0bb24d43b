"""Reads for the API and for screens. The number of queries never depends on the number of alerts."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeVar
from uuid import UUID

from django.db import connections
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Value, Window
from django.db.models.functions import Coalesce

from alerts.models import Channel, Delivery, MLAlert, Occurrence, Subscription
from alerts.models.fields import searchable
from alerts.services.deeds import Prospect, prospect
from alerts.states import OPEN, AlertStatus, DeliveryStatus, Severity
from alerts.targets import masked
from mlops.errors import NotFound
from mlops.tenancy.roles import Principal

PAGE_SIZE = 20
SHOWN_OCCURRENCES = 10
DEEP = 1000
"""Rows before a page from which on skipping whole rows costs more than asking twice."""
AHEAD = 1000
"""Ids that a search on SQLite fetches at once."""

OfChannel = TypeVar("OfChannel", Subscription, Delivery)
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


@dataclass(frozen=True)
class Preview:
    """What stands beside the list: the evidence, and what approving would do now."""

    alert: MLAlert
    prospect: Prospect
    occurrences: list[Occurrence]
    """The last times its cause was seen, newest first."""


def find_alert(alert_id: UUID) -> MLAlert:
    """One alert. Raises NotFound."""
    found = MLAlert.objects.filter(pk=alert_id).first()
    if found is None:
        raise NotFound("There is no such alert.")
    return found


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
    """One page; empty filters let everything pass, `search` is looked for as `matching` does. At most three queries."""
    exact = {"severity_rank": Severity(severity).rank if severity else None, "alert_type": alert_type, "model_name": model_name}
    wanted = {name: value for name, value in exact.items() if value}
    counted = matching(standing(statuses).filter(**wanted), search)
    # What is open has an index of its own in the inbox's order; searches have another one, which knows the status.
    only_open = set(statuses) == set(OPEN) and not searchable(search)
    found = MLAlert.objects.filter(decided_at=None, **wanted) if only_open else counted
    return page_of(found.order_by(*_ORDERS[order]), number=page, size=page_size, searched=bool(searchable(search)), counted=counted)


def page_of(
    found: QuerySet[MLAlert], *, number: int, size: int, searched: bool = False, counted: QuerySet[MLAlert] | None = None
) -> InboxPage:
    """The page of an ordered queryset, and the count of `counted`, which says the same in another way. At most three queries.

    A search and a page far behind ask for ids first, which an index has, then for the rows of the page alone. The count is asked for only
    where the page does not say it. A search costs one pass over an index: PostgreSQL counts in it; SQLite would put whatever it counts
    aside, at twice the cost, so there the ids of some pages more tell the count of all but frequent words, which a second pass counts.
    """
    start = (number - 1) * size
    by_ids = searched or start >= DEEP
    shown, count = _by_ids(found, start, size, searched=searched) if by_ids else (list(found[start : start + size]), None)
    if count is None:
        says_it = len(shown) < size and (shown or start == 0)
        count = start + len(shown) if says_it else (found if counted is None else counted).order_by().count()
    return InboxPage(shown, count, number, size)


def _by_ids(found: QuerySet[MLAlert], start: int, size: int, *, searched: bool) -> tuple[list[MLAlert], int | None]:
    """The page's rows, and the count where a search came by it."""
    in_passing = searched and connections[found.db].vendor == "postgresql"
    ahead = AHEAD if searched and not in_passing else size
    keys = list(
        found.values_list("pk", Window(Count("*")) if in_passing else Value(None, IntegerField()))[start : start + max(size, ahead)]
    )
    page = [pk for pk, _ in keys[:size]]
    rows = MLAlert.objects.in_bulk(page) if page else {}
    shown = [rows[pk] for pk in page if pk in rows]
    if in_passing:
        return shown, keys[0][1] if keys else None
    return shown, start + len(keys) if len(keys) < ahead and (keys or start == 0) else None


def matching(found: QuerySet[MLAlert], words: str) -> QuerySet[MLAlert]:
    """Those whose title and message, the first 500 characters of both together, have these words as they stand, in whatever case."""
    wanted = searchable(words)
    return found.filter(search_text__holds=wanted) if wanted else found


def standing(statuses: Collection[str]) -> QuerySet[MLAlert]:
    """Those in one of the statuses."""
    wanted = set(statuses)
    return MLAlert.objects.all() if wanted == set(AlertStatus.values) else MLAlert.objects.filter(status__in=sorted(wanted))


def asking() -> QuerySet[MLAlert]:
    """Open alerts whose approval does something, oldest first: what Approvals lists. Those about a promotion request are left out, because
    the request itself is listed there."""
    waiting = MLAlert.objects.filter(decided_at=None).exclude(alert_type="promotion_pending", details__has_key="request_id")
    return waiting.exclude(alert_type="experiment_complete").order_by(*_ORDERS["oldest"])


def open_counts() -> OpenCounts:
    """For the number in the navigation: one grouped query over an index."""
    grouped = standing(OPEN).order_by().values_list("status", "severity_rank").annotate(n=Count("pk"))
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


def counted_channels() -> QuerySet[Channel]:
    """The same, each with how many subscriptions it has, and how many messages wait for it (`waiting`) or were given up on (`dead`)."""
    waiting = _count_of(Delivery.objects.filter(status=DeliveryStatus.PENDING))
    dead = _count_of(Delivery.objects.filter(status=DeliveryStatus.DEAD))
    return shared_channels().annotate(wishes=_count_of(Subscription.objects.all()), waiting=waiting, dead=dead)


def target_for(channel: Channel, principal: Principal) -> str:
    """Address or URL; in full only for those who manage channels: webhook URLs often carry a secret."""
    if principal.may("channel.manage"):
        return channel.target
    return masked(channel.kind, channel.target)


def visible_subscriptions(principal: Principal) -> QuerySet[Subscription]:
    """The principal's own, and those of shared channels."""
    return _visible(Subscription.objects.all(), principal).order_by("created_at", "pk")


def find_subscription(subscription_id: UUID, principal: Principal) -> Subscription:
    """One that is the principal's own or of a shared channel. Raises NotFound."""
    found = visible_subscriptions(principal).filter(pk=subscription_id).first()
    if found is None:
        raise NotFound("There is no such subscription.")
    return found


def deliveries_of(channel: Channel) -> QuerySet[Delivery]:
    """What was sent through the channel, newest first."""
    return Delivery.objects.filter(channel=channel).order_by("-created_at", "pk")


def dead_deliveries(principal: Principal) -> QuerySet[Delivery]:
    """What was given up on, newest first, of shared channels and of the principal's own; none of channels that are gone."""
    return _visible(Delivery.objects.filter(status=DeliveryStatus.DEAD), principal).order_by("-created_at", "pk")


def _visible(rows: QuerySet[OfChannel], principal: Principal) -> QuerySet[OfChannel]:
    """Those of shared channels and of the principal's own, each with its channel; none of channels that are gone."""
    living = rows.select_related("channel__owner").filter(channel__deleted_at=None)
    shared = living.filter(channel__owner=None)
    own = living.filter(channel__owner_id=principal.user_id) if principal.user_id else living.none()
    return shared | own


def _count_of(rows: QuerySet[Delivery] | QuerySet[Subscription]) -> Coalesce:
    counted = rows.filter(channel=OuterRef("pk")).order_by().values("channel").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted), 0)
