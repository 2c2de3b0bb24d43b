"""Writing events, leasing them to the relay, handling them once."""

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from mlops.outbox.events import Event, Handler, event_type_of, subscribers_of
from mlops.outbox.models import Handled, Message
from mlops.telemetry.context import request_id, set_request_id
from mlops.tenancy.context import required
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
"""How long a sent message is given before it is sent again."""
MAX_ATTEMPTS = 12
BATCH = 100


def publish(event: Event, *, at: datetime) -> Message:
    """Write the event in the caller's transaction. If that rolls back, it never happened."""
    return Message.objects.create(
        customer_id=required(), topic=event.TOPIC, payload=event.to_payload(), request_id=request_id(), created_at=at, due_at=at
    )


def claim(*, at: datetime, limit: int = BATCH) -> list[UUID]:
    """Lease due messages, oldest first, for LEASE; two relays never hold one at once.

    A relay or worker that dies lets the lease run out and the message is sent again: handlers bear repeats, and `Handled` makes them rare.
    A message sent MAX_ATTEMPTS times is dead: kept, shown, and sent again only by hand.
    """
    with transaction.atomic():
        Message.objects.filter(_due(at), attempts__gte=MAX_ATTEMPTS).update(dead_at=at)
        due = Message.objects.filter(_due(at)).order_by("created_at", "id")
        ids = list(_lock(due).values_list("pk", flat=True)[:limit])
        Message.objects.filter(pk__in=ids).update(due_at=at + LEASE, attempts=F("attempts") + 1)
    return ids


def handle(*, message_id: UUID, at: datetime) -> None:
    """Tell every subscriber that has not heard it yet, each in a transaction of its own.

    One subscriber's failure does not keep the others from hearing; the message is then due again, later each time.
    """
    message = Message.objects.filter(pk=message_id, handled_at=None, dead_at=None).first()
    if message is None:
        return
    failures = []
    with acting(system(message.customer_id)):
        set_request_id(message.request_id)
        event = event_type_of(message.topic).from_payload(message.payload)
        for name, handler in subscribers_of(message.topic).items():
            try:
                _handle_once(message, name, handler, event, at)
            except Exception as failure:  # noqa: BLE001 - the boundary of all subscribers: whatever it is, it is kept and tried again
                log.exception("outbox.subscriber_failed", topic=message.topic, subscriber=name, message_id=str(message.pk))
                failures.append(f"{name}: {failure!r}")
    if failures:
        pause = timedelta(seconds=min(2**message.attempts, 3600))
        Message.objects.filter(pk=message.pk).update(due_at=at + pause, last_error="\n".join(failures)[:2000])
    else:
        Message.objects.filter(pk=message.pk).update(handled_at=at, last_error="")


def resend(*, message_id: UUID, at: datetime) -> bool:
    """Bring a dead message back. False if it is not dead."""
    return bool(Message.objects.filter(pk=message_id).exclude(dead_at=None).update(dead_at=None, attempts=0, due_at=at))


def _handle_once(message: Message, name: str, handler: Handler, event: Event, at: datetime) -> None:
    with transaction.atomic():
        _, new = Handled.objects.get_or_create(message=message, subscriber=name, defaults={"at": at})
        if new:
            handler(event)


def _due(at: datetime) -> Q:
    return Q(handled_at=None, dead_at=None, due_at__lte=at)


def _lock(queryset: QuerySet[Message]) -> QuerySet[Message]:
    if connection.features.has_select_for_update_skip_locked:
        return queryset.select_for_update(skip_locked=True)
    return queryset  # SQLite: the IMMEDIATE transaction is the lock
