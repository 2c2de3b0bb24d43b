"""The queue of each channel: lease, send, note what became of it.

One sender per channel at a time, outside any transaction. Every moment at which something has to happen next is an outbox message written
in the transaction that set it: the end of the lease, the end of a pause, a retry. So a process killed anywhere delays, and loses nothing;
a message may arrive twice, under the same id. A failing receiver delays nobody else: it is left alone for a while, and its messages wait.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from alerts.models import Channel, Delivery
from alerts.services import couriers
from alerts.services.couriers import Result
from alerts.services.notifying import wake
from alerts.services.reaching import usable_channel
from alerts.states import DeliveryStatus
from mlops.audit.services import record
from mlops.errors import DomainError, NotFound
from mlops.outbound import backoff
from mlops.outbound.metrics import ATTEMPTS, DEAD
from mlops.tenancy.roles import Principal

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=2)
"""Longer than any attempt takes: resolving 5 s, the call 10 s, SMTP 10 s per step."""
BUDGET = timedelta(seconds=15)
"""After this long a busy channel lets other work of the process come first."""

UNSAID = "Every attempt broke off, and nothing is known of any."


class NotDead(DomainError):
    """Only a message that was given up on can be sent again."""

    code = "not_dead"


def deliver_due(*, channel_id: UUID, clock: Callable[[], datetime] = timezone.now) -> int:
    """Send what is due on the channel. Returns how many attempts were made. Call it outside any transaction."""
    leased = lease(channel_id=channel_id, at=clock())
    return deliver(leased, clock=clock) if leased else 0


def lease(*, channel_id: UUID, at: datetime) -> Delivery | None:
    """The next due message, with its attempt counted and the channel held for LEASE; None if it is held, paused, or nothing is due.

    Whoever holds or paused the channel has already promised that somebody looks again, and so does this.
    """
    with transaction.atomic():
        channel = Channel.objects.select_for_update(no_key=True).filter(pk=channel_id, enabled=True, deleted_at=None).first()
        if channel is None or _later(channel.leased_until, at) or _later(channel.paused_until, at):
            return None
        _bury(channel, at)
        delivery = _pending(channel_id).filter(due_at__lte=at).order_by("due_at", "created_at", "pk").first()
        if delivery is None:
            return None
        Channel.objects.filter(pk=channel_id).update(leased_until=at + LEASE)
        Delivery.objects.filter(pk=delivery.pk).update(attempts=delivery.attempts + 1)
        wake(channel_id, now=at, at=at + LEASE)
        return Delivery.objects.select_related("channel__owner").get(pk=delivery.pk)


def deliver(leased: Delivery, *, clock: Callable[[], datetime] = timezone.now) -> int:
    """Send a leased message, then what else is due on its channel. Returns how many attempts were made. Not inside a transaction."""
    began, attempts = clock(), 0
    delivery: Delivery | None = leased
    while delivery is not None:
        result = couriers.send(delivery, at=clock())
        attempts += 1
        at = clock()
        _note(delivery, result, at=at)
        if at - began >= BUDGET:
            with transaction.atomic():
                wake(leased.channel_id, now=at, at=at)
            break
        delivery = lease(channel_id=leased.channel_id, at=at)
    return attempts


def resend(*, delivery_id: UUID, by: Principal, at: datetime) -> Delivery:
    """Try a message again that was given up on; it gets three more days. Raises Forbidden, NotFound, NotDead."""
    by.authorize("channel.manage")
    with transaction.atomic():
        delivery = Delivery.objects.filter(pk=delivery_id).first()
        if delivery is None or not _reaches(delivery.channel_id, by):
            raise NotFound("There is no such delivery.")
        channel = Channel.objects.select_for_update(no_key=True).get(pk=delivery.channel_id)
        if not channel.enabled:
            raise NotDead("The channel is disabled; enable it first.")
        changed = Delivery.objects.filter(pk=delivery_id, status=DeliveryStatus.DEAD).update(
            status=DeliveryStatus.PENDING, attempts=0, due_at=at, give_up_at=at + backoff.GIVE_UP_AFTER, ended_at=None
        )
        if not changed:
            raise NotDead("Only a message that was given up on can be sent again.")
        record(action="delivery.resent", target=delivery, label=str(delivery), at=at, before={"last_error": delivery.last_error}, actor=by)
        wake(channel.pk, now=at, at=max(at, channel.paused_until or at))
    delivery.refresh_from_db()
    return delivery


def drop_pending(channel: Channel, *, why: str, at: datetime) -> int:
    """Give up on everything that waits for the channel. Returns how many."""
    dropped = _pending(channel.pk).update(status=DeliveryStatus.DEAD, ended_at=at, last_error=why[:500])
    DEAD.inc_on_commit(dropped, kind=channel.kind)
    return dropped


def _bury(channel: Channel, at: datetime) -> None:
    """Give up on what was tried and has no time left: nobody notes anything of a message whose sender dies of it each time. One that was
    never tried, because the workers or the receiver were away, has its one attempt."""
    expired = _pending(channel.pk).filter(give_up_at__lt=at, attempts__gt=0)
    expired.filter(last_error="").update(last_error=UNSAID)
    DEAD.inc_on_commit(expired.update(status=DeliveryStatus.DEAD, ended_at=at), kind=channel.kind)


def _note(delivery: Delivery, result: Result, *, at: datetime) -> None:
    """Write what became of the attempt; nothing where the lease ran out and another attempt was begun."""
    with transaction.atomic():
        channel = Channel.objects.select_for_update(no_key=True).get(pk=delivery.channel_id)
        mine = _pending(channel.pk).filter(pk=delivery.pk, attempts=delivery.attempts)
        mine.update(last_status=result.status, last_error=result.error[:500])
        if result.delivered:
            mine.update(status=DeliveryStatus.DELIVERED, ended_at=at)
            Channel.objects.filter(pk=channel.pk).update(failures=0, paused_until=None, leased_until=None)
        elif result.final:
            _give_up(channel, mine, result, at)
        else:
            _try_later(channel, delivery, mine, result, at)
    ATTEMPTS.inc(kind=channel.kind, outcome="delivered" if result.delivered else "failed")
    log.info("delivery.attempted", channel_id=str(channel.pk), delivery_id=str(delivery.pk), attempt=delivery.attempts, error=result.error)


def _give_up(channel: Channel, mine: QuerySet[Delivery], result: Result, at: datetime) -> None:
    DEAD.inc_on_commit(mine.update(status=DeliveryStatus.DEAD, ended_at=at), kind=channel.kind)
    Channel.objects.filter(pk=channel.pk).update(leased_until=None)
    if result.disable:
        Channel.objects.filter(pk=channel.pk).update(enabled=False, disabled_reason=result.error[:300], revision=channel.revision + 1)
        after = {"enabled": False}
        record(action="channel.disabled", target=channel, label=channel.name, at=at, after=after, reason=result.error)
        drop_pending(channel, why=result.error, at=at)


def _try_later(channel: Channel, delivery: Delivery, mine: QuerySet[Delivery], result: Result, at: datetime) -> None:
    failures = channel.failures + 1
    paused_until = at + backoff.pause(failures=failures, dice=random.random())  # noqa: S311 - spreads load, guards nothing
    due_at = at + backoff.next_try(attempts=delivery.attempts, dice=random.random(), retry_after_s=result.retry_after_s)  # noqa: S311 - as above
    if due_at > delivery.give_up_at:
        DEAD.inc_on_commit(mine.update(status=DeliveryStatus.DEAD, ended_at=at), kind=channel.kind)
    else:
        mine.update(due_at=due_at)
        if due_at > paused_until:
            wake(channel.pk, now=at, at=due_at)
    # What waited behind a receiver that never came back is given up on in its turn, whether or not it was its turn to be tried.
    expired = _pending(channel.pk).filter(give_up_at__lt=at)
    DEAD.inc_on_commit(expired.update(status=DeliveryStatus.DEAD, ended_at=at, last_error=result.error[:500]), kind=channel.kind)
    Channel.objects.filter(pk=channel.pk).update(failures=failures, paused_until=paused_until, leased_until=None)
    wake(channel.pk, now=at, at=paused_until)


def _reaches(channel_id: UUID, by: Principal) -> bool:
    try:
        usable_channel(channel_id, by)
    except NotFound:  # another person's own
        return False
    return True


def _pending(channel_id: UUID) -> QuerySet[Delivery]:
    return Delivery.objects.filter(channel_id=channel_id, status=DeliveryStatus.PENDING)


def _later(moment: datetime | None, at: datetime) -> bool:
    return moment is not None and moment > at
