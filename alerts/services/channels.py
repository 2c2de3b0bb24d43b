"""Receivers and who wants to hear what."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from alerts.models import Channel, Delivery, Subscription
from alerts.services.delivering import drop_pending
from alerts.services.notifying import notify_test, wake
from alerts.services.reaching import shared_channel, usable_channel
from alerts.states import AlertType, Severity
from alerts.targets import for_the_trail
from mlops.audit.services import record
from mlops.database.locking import lock_row
from mlops.errors import DomainError, Duplicate, InvalidField, NotFound
from mlops.outbound import client, signing
from mlops.outbound.mailboxes import deliverable
from mlops.outbound.targets import Refused, Unreachable
from mlops.tenancy.models import User
from mlops.tenancy.roles import Principal
from registry.services.lookups import IfMatch

MOST_SUBSCRIPTIONS = 50
"""Per channel; more would say the same twice."""


class NotReceiving(DomainError):
    """The channel takes no messages."""

    code = "channel_disabled"


class TooMany(DomainError):
    """The channel has as many subscriptions as it may have."""

    code = "too_many"


@dataclass(frozen=True)
class Made:
    """A channel and, for a webhook, its signing secret: shown this once."""

    channel: Channel
    secret: str


def create_channel(*, kind: str, name: str, target: str, by: Principal, at: datetime) -> Made:
    """A shared e-mail address or a webhook. Raises Forbidden, Duplicate, or InvalidField for an address that will not do.

    The address of a webhook is resolved here, before any transaction of ours, and again at every sending.
    """
    by.authorize("channel.manage")
    target = _checked(kind, target)
    with transaction.atomic():
        channel = Channel(kind=kind, name=name, target=target, created_by=by.name, created_at=at)
        secret = _new_secret(channel)
        try:
            with transaction.atomic():
                channel.save(force_insert=True)
        except IntegrityError:
            raise Duplicate(f"There is a channel named {name} already.") from None
        after = for_the_trail(kind, {"kind": kind, "target": target})
        record(action="channel.created", target=channel, label=name, at=at, after=after, actor=by)
    return Made(channel, secret)


def configure_channel(
    *, channel_id: UUID, changes: dict[str, Any], by: Principal, at: datetime, if_match: IfMatch | None = None
) -> Channel:
    """Change name, target, or whether it is enabled. Raises Forbidden, NotFound, Duplicate, InvalidField, Stale."""
    by.authorize("channel.manage")
    found = shared_channel(channel_id)
    if "target" in changes:
        changes = {**changes, "target": _checked(found.kind, changes["target"])}
    with transaction.atomic():
        channel = _lock(channel_id, if_match)
        before = for_the_trail(channel.kind, {name: getattr(channel, name) for name in changes})
        for name, value in changes.items():
            setattr(channel, name, value)
        channel.revision += 1
        if changes.get("enabled"):
            channel.disabled_reason, channel.failures, channel.paused_until = "", 0, None
        try:
            with transaction.atomic():
                channel.save()
        except IntegrityError:
            raise Duplicate(f"There is a channel named {channel.name} already.") from None
        after = for_the_trail(channel.kind, changes)
        record(action="channel.configured", target=channel, label=channel.name, at=at, before=before, after=after, actor=by)
        wake(channel.pk, now=at, at=at)
    return channel


def renew_secret(*, channel_id: UUID, by: Principal, at: datetime, if_match: IfMatch | None = None) -> Made:
    """A new signing secret; the former one signs nothing any more. Raises Forbidden, NotFound, InvalidField for an e-mail channel."""
    by.authorize("channel.manage")
    with transaction.atomic():
        channel = _lock(channel_id, if_match)
        if channel.kind != Channel.Kind.WEBHOOK:
            raise InvalidField("channel_id", "Only webhooks have a signing secret.")
        secret = _new_secret(channel)
        channel.revision += 1
        channel.save(update_fields=["secret_salt", "secret_fingerprint", "revision"])
        record(action="channel.secret_renewed", target=channel, label=channel.name, at=at, actor=by)
    return Made(channel, secret)


def delete_channel(*, channel_id: UUID, by: Principal, at: datetime, if_match: IfMatch | None = None) -> None:
    """End the channel with its subscriptions; what was sent through it stays on record. Raises Forbidden, NotFound, Stale."""
    by.authorize("channel.manage")
    with transaction.atomic():
        channel = _lock(channel_id, if_match)
        channel.subscriptions.all().delete()
        drop_pending(channel, why="The channel was deleted.", at=at)
        Channel.objects.filter(pk=channel.pk).update(deleted_at=at, enabled=False, revision=channel.revision + 1)
        before = for_the_trail(channel.kind, {"kind": channel.kind, "target": channel.target})
        record(action="channel.deleted", target=channel, label=channel.name, at=at, before=before, actor=by)


def test_channel(*, channel_id: UUID, by: Principal, at: datetime) -> Delivery:
    """Send a test message; the delivery shows what became of it. Raises Forbidden, NotFound, NotReceiving."""
    with transaction.atomic():
        channel = usable_channel(channel_id, by)
        if not channel.enabled:
            raise NotReceiving(f"{channel.name} is disabled. {channel.disabled_reason}".strip())
        return notify_test(channel, by=by.name, at=at)


def subscribe(
    *,
    channel_id: UUID | None,
    by: Principal,
    at: datetime,
    alert_types: Collection[str] = (),
    min_severity: str = Severity.WARNING,
    immediate: bool = True,
    digest: bool = False,
    approvals: bool = False,
    enabled: bool = True,
) -> Subscription:
    """Let a channel hear of alerts: a shared one (`channel.manage`), or without an id the actor's own e-mail.

    Raises Forbidden, NotFound, TooMany, or InvalidField where the actor is nobody who has an address.
    """
    with transaction.atomic():
        channel = usable_channel(channel_id, by) if channel_id else _own_channel(by, at)
        if channel.subscriptions.count() >= MOST_SUBSCRIPTIONS:
            raise TooMany(f"{channel.name} has {MOST_SUBSCRIPTIONS} subscriptions; change one of them.")
        subscription = Subscription.objects.create(
            channel=channel,
            alert_types=_types(alert_types),
            min_severity=min_severity,
            immediate=immediate,
            digest=digest,
            approvals=approvals,
            enabled=enabled,
            created_by=by.name,
            created_at=at,
        )
        record(action="subscription.created", target=subscription, label=str(subscription), at=at, after=_shown(subscription), actor=by)
    return subscription


def configure_subscription(
    *, subscription_id: UUID, changes: dict[str, Any], by: Principal, at: datetime, if_match: IfMatch | None = None
) -> Subscription:
    """Change what a channel hears of. Raises Forbidden, NotFound, Stale."""
    with transaction.atomic():
        subscription = _lock_subscription(subscription_id, by, if_match)
        before = _shown(subscription)
        for name, value in changes.items():
            setattr(subscription, name, _types(value) if name == "alert_types" else value)
        subscription.revision += 1
        subscription.save()
        after = _shown(subscription)
        record(action="subscription.configured", target=subscription, label=str(subscription), at=at, before=before, after=after, actor=by)
    return subscription


def unsubscribe(*, subscription_id: UUID, by: Principal, at: datetime, if_match: IfMatch | None = None) -> None:
    """End a subscription. Raises Forbidden, NotFound, Stale."""
    with transaction.atomic():
        subscription = _lock_subscription(subscription_id, by, if_match)
        record(action="subscription.deleted", target=subscription, label=str(subscription), at=at, before=_shown(subscription), actor=by)
        subscription.delete()


def _own_channel(by: Principal, at: datetime) -> Channel:
    by.authorize("subscription.own")
    person = User.objects.filter(pk=by.user_id).first() if by.user_id else None
    if person is None:
        raise InvalidField("channel_id", "This key belongs to no person: name a channel.")
    channel, _ = Channel.objects.get_or_create(
        owner=person,
        deleted_at=None,
        defaults={"kind": Channel.Kind.EMAIL, "name": f"E-mail to {person.email}"[:100], "created_by": by.name, "created_at": at},
    )
    if not channel.enabled:  # disabled when the person had left; here they are again
        Channel.objects.filter(pk=channel.pk).update(enabled=True, disabled_reason="", failures=0, paused_until=None)
        channel.refresh_from_db()
    return channel


def _lock(channel_id: UUID, if_match: IfMatch | None) -> Channel:
    shared = Channel.objects.filter(pk=channel_id, owner=None, deleted_at=None)
    return lock_row(shared, missing="There is no such channel.", if_match=if_match)


def _lock_subscription(subscription_id: UUID, by: Principal, if_match: IfMatch | None) -> Subscription:
    subscription = lock_row(Subscription.objects.filter(pk=subscription_id), missing="There is no such subscription.")
    try:
        usable_channel(subscription.channel_id, by)
    except NotFound:
        raise NotFound("There is no such subscription.") from None
    if if_match is not None:
        if_match(subscription)
    return subscription


def _new_secret(channel: Channel) -> str:
    if channel.kind != Channel.Kind.WEBHOOK:
        return ""
    channel.secret_salt = signing.new_salt()
    secret = signing.derive(receiver=str(channel.pk), salt=channel.secret_salt)
    channel.secret_fingerprint = signing.fingerprint(secret)
    return secret


def _checked(kind: str, target: str) -> str:
    """The target as it is kept: an e-mail address in ASCII, a URL as it came. Raises InvalidField."""
    try:
        if kind == Channel.Kind.EMAIL:
            return deliverable(target)
        client.check(target, allowed_hosts=settings.WEBHOOK_ALLOWED_HOSTS)
    except ValidationError as invalid:
        raise InvalidField("target", " ".join(invalid.messages)) from None
    except (Refused, Unreachable) as refusal:
        raise InvalidField("target", str(refusal)) from None
    return target


def _types(given: Collection[str]) -> list[str]:
    """In the order of the documents, each once. Raises InvalidField."""
    unknown = sorted(set(given) - set(AlertType.values))
    if unknown:
        raise InvalidField("alert_types", f"Not known: {', '.join(unknown)[:200]}. Known: {', '.join(AlertType.values)}.")
    return [name for name in AlertType.values if name in set(given)]


def _shown(subscription: Subscription) -> dict[str, Any]:
    names = ("alert_types", "min_severity", "immediate", "digest", "approvals", "enabled")
    return {"channel_id": str(subscription.channel_id), **{name: getattr(subscription, name) for name in names}}
