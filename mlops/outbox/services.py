"""Writing events, leasing them to the relay, handling them once."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q

from mlops.audit.services import record
from mlops.database.locking import unlocked
from mlops.outbox.events import Event, Handler, event_type_of, queue_of, subscribers_of
from mlops.outbox.models import Handled, Message
from mlops.telemetry.context import ambient_request, request_id
from mlops.tenancy.context import required
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
"""How long a sent message is given before it is sent again."""
MAX_ATTEMPTS = 12
BATCH = 100


def publish(event: Event, *, at: datetime) -> Message:
    """Write the event in the caller's transaction. If that rolls back, it never happened."""
    return publish_all([event], at=at)[0]


def publish_all(events: Sequence[Event], *, at: datetime) -> list[Message]:
    """Write these events in the caller's transaction, by one statement."""
    common: dict[str, Any] = {"customer_id": required(), "request_id": request_id(), "created_at": at, "due_at": at}
    return Message.objects.bulk_create(Message(topic=event.TOPIC, payload=event.to_payload(), **common) for event in events)


class Claimed(NamedTuple):
    """A leased message: its id, its attempts so far, and the broker's queue it goes through."""

    message_id: UUID
    attempts: int
    queue: str


def claim(*, at: datetime, limit: int = BATCH) -> list[Claimed]:
    """Lease due messages, oldest first, for LEASE; two relays never hold one at once.

    A relay or worker that dies lets the lease run out and the message is sent again: handlers bear repeats, and `Handled` makes them rare.
    """
    with transaction.atomic():
        due = Message.objects.filter(_due(at)).order_by("created_at", "id")
        found = unlocked(due).values_list("pk", "attempts", "topic")[:limit]
        claimed = [Claimed(pk, attempts, queue_of(topic)) for pk, attempts, topic in found]
        Message.objects.filter(pk__in=[one.message_id for one in claimed]).update(due_at=at + LEASE)
    return claimed


def release(*, message_ids: list[UUID], at: datetime) -> None:
    """Give leased messages back: the broker did not take them, so they are due at once."""
    Message.objects.filter(pk__in=message_ids, handled_at=None).update(due_at=at)


def handle(*, message_id: UUID, attempts: int, at: datetime) -> None:
    """Tell every subscriber that has not heard it yet, each in a transaction of its own.

    One subscriber's failure does not keep the others from hearing; the message is then due again, later each time. Attempts are counted
    before the work, so that a message that kills its worker runs out of them too; `attempts` is the count when it was sent, so that a
    copy which arrives late is ignored. A message without attempts left is dead: kept, shown, and sent again only by hand. One that waits
    for a broker or a worker spends none.
    """
    open_message = Message.objects.filter(pk=message_id, handled_at=None, dead_at=None)
    if not open_message.filter(attempts=attempts).update(attempts=F("attempts") + 1, due_at=at + LEASE):
        return
    message = Message.objects.get(pk=message_id)
    if message.attempts > MAX_ATTEMPTS:
        log.error("outbox.message_died", topic=message.topic, message_id=str(message.pk), last_error=message.last_error)
        open_message.update(dead_at=at)
        return
    failures = _tell_everybody(message, at)
    if failures:
        pause = timedelta(seconds=min(2**message.attempts, 3600))
        open_message.update(due_at=at + pause, last_error="\n".join(failures)[:2000])
    else:
        open_message.update(handled_at=at, last_error="")


def _tell_everybody(message: Message, at: datetime) -> list[str]:
    try:
        event = event_type_of(message.topic).from_payload(message.payload)
    except (KeyError, TypeError) as unreadable:  # written by a newer release than this worker's
        log.warning("outbox.event_unreadable", topic=message.topic, message_id=str(message.pk), error=repr(unreadable))
        return [f"{message.topic} is not understood here: {unreadable!r}"]
    failures = []
    with acting(system(message.customer_id)), ambient_request(message.request_id):
        for name, handler in subscribers_of(message.topic).items():
            try:
                _handle_once(message, name, handler, event, at)
            except Exception as failure:
                # The boundary of all subscribers: whatever went wrong is kept with the message and tried again.
                log.exception("outbox.subscriber_failed", topic=message.topic, subscriber=name, message_id=str(message.pk))
                failures.append(f"{name}: {failure!r}")
    return failures


def resend(*, message_id: UUID, at: datetime, by: Principal) -> bool:
    """Bring a dead message of the actor's customer back. False if there is none."""
    with transaction.atomic(), acting(by):
        dead = Message.objects.filter(pk=message_id, customer_id=by.customer_id).exclude(dead_at=None)
        message = dead.select_for_update(no_key=True).first()
        if message is None:
            return False
        record(action="message.resent", target=message, label=str(message), at=at, before={"last_error": message.last_error}, actor=by)
        return bool(dead.update(dead_at=None, attempts=0, due_at=at))


def _handle_once(message: Message, name: str, handler: Handler, event: Event, at: datetime) -> None:
    with transaction.atomic():
        _, new = Handled.objects.get_or_create(message=message, subscriber=name, defaults={"at": at})
        if new:
            handler(event)


def _due(at: datetime) -> Q:
    return Q(handled_at=None, dead_at=None, due_at__lte=at)
