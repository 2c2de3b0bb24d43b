"""Writing messages to channels, in the transaction of what they tell of. `delivering` sends them."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, QuerySet

from alerts.events import ChannelDue
from alerts.models import Channel, Delivery, MLAlert, Subscription
from alerts.rules import wanted
from alerts.states import OPEN, AlertStatus, Severity
from mlops.outbound.backoff import GIVE_UP_AFTER
from mlops.outbox.models import Message
from mlops.outbox.services import publish

LISTED = 20
"""Most alerts that a digest lists by name."""


def active(**wish: bool) -> QuerySet[Subscription]:
    """The subscriptions with this wish that are on, as their channels are, each with its channel."""
    found = Subscription.objects.filter(enabled=True, channel__enabled=True, channel__deleted_at=None, **wish)
    return found.select_related("channel").order_by("pk")


def notify(alert: MLAlert, *, occurrence: str, at: datetime) -> int:
    """Write one message per channel whose subscriptions cover the alert, in the caller's transaction. Returns how many."""
    channels: dict[UUID, Channel] = {}
    for subscription in active(immediate=True):
        if _covers(subscription, alert):
            channels[subscription.channel_id] = subscription.channel
    for channel in channels.values():
        write(
            channel, kind=Delivery.Kind.ALERT, key=f"alert:{alert.pk}:{occurrence}"[-200:], alert=alert, at=at, **_texts(channel, alert, at)
        )
    return len(channels)


def notify_test(channel: Channel, *, by: str, at: datetime) -> Delivery:
    """Write a message that says it is a test."""
    subject = "Tiltyard: test message"
    if channel.kind == Channel.Kind.WEBHOOK:
        body = event_json("ml_alert.test", at, {"channel_id": str(channel.pk), "channel": channel.name, "requested_by": by})
    else:
        body = f"{by} asked Tiltyard to send this test to {channel.name}. It works.\n"
    return write(channel, kind=Delivery.Kind.TEST, key=f"test:{uuid4()}", alert=None, at=at, subject=subject, body=body)


def write_digests(*, day: str, at: datetime) -> int:
    """Write the day's digest to every channel that wants one and has something open; once per channel and day. Returns how many."""
    wishes: dict[UUID, list[Subscription]] = {}
    for subscription in active(digest=True):
        wishes.setdefault(subscription.channel_id, []).append(subscription)
    written = 0
    for subscriptions in wishes.values():
        channel, key = subscriptions[0].channel, f"digest:{day}"
        if Delivery.objects.filter(channel=channel, dedupe_key=key).exists():
            continue
        texts = _digest(channel, subscriptions, at)
        if texts:
            write(channel, kind=Delivery.Kind.DIGEST, key=key, alert=None, at=at, **texts)
            written += 1
    return written


def wake(channel_id: UUID, *, now: datetime, at: datetime) -> None:
    """Promise, in the caller's transaction, that somebody looks at the channel's queue then."""
    message = publish(ChannelDue(str(channel_id)), at=now)
    if at > now:
        Message.objects.filter(pk=message.pk).update(due_at=at)


def alert_data(alert: MLAlert) -> dict[str, Any]:
    """What a webhook tells of an alert."""
    return {
        "id": str(alert.pk),
        "alert_type": alert.alert_type,
        "severity": alert.severity,
        "status": alert.status,
        "title": alert.title,
        "message": alert.message,
        "model_name": alert.model_name,
        "version": alert.version,
        "action_url": absolute(alert.action_url),
        "repeat_count": alert.repeat_count,
        "created_at": _moment(alert.created_at),
        "last_seen_at": _moment(alert.last_seen_at),
    }


def write(channel: Channel, *, kind: str, key: str, alert: MLAlert | None, at: datetime, subject: str, body: str) -> Delivery:
    """Write one message and promise that somebody sends it. `key` is told once per channel: IntegrityError for a second one."""
    with transaction.atomic():
        delivery = Delivery.objects.create(
            channel=channel,
            alert=alert,
            kind=kind,
            dedupe_key=key,
            subject=" ".join(subject.split())[:250],
            body=body,
            due_at=at,
            give_up_at=at + GIVE_UP_AFTER,
            created_at=at,
        )
        wake(channel.pk, now=at, at=at)
    return delivery


def _covers(subscription: Subscription, alert: MLAlert) -> bool:
    return wanted(
        alert_type=alert.alert_type, severity=alert.severity, types=subscription.alert_types, min_severity=subscription.min_severity
    )


def _texts(channel: Channel, alert: MLAlert, at: datetime) -> dict[str, str]:
    again = f" (seen {alert.repeat_count + 1} times)" if alert.repeat_count else ""
    subject = f"[{alert.severity}] {alert.title}{again}"
    if channel.kind == Channel.Kind.WEBHOOK:
        return {
            "subject": subject,
            "body": event_json("ml_alert.repeated" if alert.repeat_count else "ml_alert.raised", at, alert_data(alert)),
        }
    lines = [f"{alert.title}{again}", "", alert.message, "", f"Look: {absolute(alert.action_url)}" if alert.action_url else ""]
    return {"subject": subject, "body": letter(lines)}


def _digest(channel: Channel, subscriptions: list[Subscription], at: datetime) -> dict[str, str] | None:
    """Subject and body, or None when nothing is open. Three queries."""
    covered = Q(pk__in=[])
    for subscription in subscriptions:
        types = Q(alert_type__in=subscription.alert_types) if subscription.alert_types else Q()
        covered |= types & Q(severity_rank__gte=Severity(subscription.min_severity).rank)
    waiting = MLAlert.objects.filter(covered, status__in=OPEN)
    counts = {str(severity): int(n) for severity, n in waiting.values_list("severity").annotate(n=Count("pk")).order_by("severity")}
    if not counts:
        return None
    unread = waiting.filter(status=AlertStatus.UNREAD).count()
    listed = list(waiting.order_by("-severity_rank", "-created_at", "pk")[:LISTED])
    total = sum(counts.values())
    subject = f"Tiltyard: {total} open alert{'s' if total != 1 else ''}, {unread} unread"
    if channel.kind == Channel.Kind.WEBHOOK:
        data = {"open": total, "unread": unread, "by_severity": counts, "alerts": [alert_data(alert) for alert in listed]}
        return {"subject": subject, "body": event_json("ml_alert.digest", at, data)}
    return {"subject": subject, "body": letter(_digest_lines(listed, total, unread))}


def _digest_lines(listed: list[MLAlert], total: int, unread: int) -> Iterable[str]:
    if total == 1:
        yield f"1 alert is open, {'unread' if unread else 'read'}:"
    else:
        yield f"{total} alerts are open, {unread} of them unread. The most urgent first:"
    yield ""
    for alert in listed:
        yield f"- [{alert.severity}] {alert.title} (since {alert.created_at:%Y-%m-%d})"
        if alert.action_url:
            yield f"  {absolute(alert.action_url)}"
    if total > len(listed):
        yield f"- and {total - len(listed)} more"


def letter(lines: Iterable[str]) -> str:
    """The text of an e-mail."""
    text = "\n".join(lines).strip()
    return f"{text}\n\n-- \nTiltyard. Which alerts you hear of is set in the inbox: {settings.PUBLIC_URL}/admin/alerts/inbox/\n"


def event_json(event: str, at: datetime, data: dict[str, Any]) -> str:
    """The body of a webhook."""
    return json.dumps({"type": event, "timestamp": _moment(at), "data": data}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def absolute(path: str) -> str:
    """The address as somebody outside needs it."""
    return urljoin(f"{settings.PUBLIC_URL}/", path) if path else ""


def _moment(at: datetime) -> str:
    return (at.astimezone(UTC) - timedelta(microseconds=at.microsecond)).isoformat().replace("+00:00", "Z")
