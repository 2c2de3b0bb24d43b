"""Reads for the API and for screens."""

from django.db.models import Count, QuerySet

from alerts.models import Channel, Delivery, MLAlert, Subscription
from alerts.states import AlertStatus, Severity
from mlops.tenancy.roles import Principal


def alerts() -> QuerySet[MLAlert]:
    """All alerts, the most urgent first, the newest first among those."""
    return MLAlert.objects.order_by("-severity_rank", "-created_at", "pk")


def unread_by_severity() -> dict[str, int]:
    """How many alerts nobody has read, most urgent severity first. One grouped query."""
    counted = MLAlert.objects.filter(status=AlertStatus.UNREAD).order_by().values_list("severity").annotate(n=Count("pk"))
    found = {str(severity): int(n) for severity, n in counted}
    return {severity.value: found.get(severity.value, 0) for severity in reversed(Severity)}


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
