"""Appending to the audit trail, and proving that nobody rewrote it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import Max, Model

from mlops.audit.models import AuditEvent, AuditHead
from mlops.database.reading import reading
from mlops.telemetry.context import request_id
from mlops.tenancy.context import required
from mlops.tenancy.principals import ambient_principal
from mlops.tenancy.roles import Principal, system

Witness = Callable[[], None]
_witness: ContextVar[Witness | None] = ContextVar("witness", default=None)
LARGEST_EXACT = 2.0**53
"""From here on not every integer is a float of its own."""
_HASHED = (
    "number",
    "actor",
    "actor_kind",
    "on_behalf_of",
    "action",
    "object_type",
    "object_id",
    "object_label",
    "before",
    "after",
    "reason",
)


@dataclass(frozen=True)
class Entry:
    """What an event says, apart from who and when. `before` and `after` hold JSON values."""

    action: str
    target: Model
    label: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    reason: str = ""


def record(
    *,
    action: str,
    target: Model,
    label: str,
    at: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    actor: Principal | None = None,
) -> AuditEvent:
    """Append one event to the ambient customer's chain, inside the caller's own transaction; see `record_all`."""
    return record_all([Entry(action, target, label, before, after, reason)], at=at, actor=actor)[0]


def record_all(entries: Sequence[Entry], *, at: datetime, actor: Principal | None = None) -> list[AuditEvent]:
    """Append events to the ambient customer's chain in this order, inside the caller's own transaction.

    The head's row is locked first, so appends of one customer queue and every number and link is unique. Raises
    TransactionManagementError outside a transaction: an act and its trace are written together.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("An audit event is written in the transaction of the act it records.")
    witness = _witness.get()
    principal = actor or ambient_principal() or system(required())
    head = _lock_head()
    events = []
    for entry in entries:
        event = _event(entry, number=head.number + 1, principal=principal, at=at)
        event.canonical = canonical_text(event)
        event.digest = link(head.digest, event.canonical)
        head.number, head.digest = event.number, event.digest
        events.append(event)
    AuditEvent.objects.bulk_create(events)
    AuditHead.objects.filter(pk=head.pk).update(number=head.number, digest=head.digest)
    if witness is not None:
        witness()
    return events


@contextmanager
def witnessed(witness: Witness) -> Iterator[None]:
    """Call `witness` after events that are recorded meanwhile, in their transaction: what it raises undoes the act."""
    token = _witness.set(witness)
    try:
        yield
    finally:
        _witness.reset(token)


def _lock_head() -> AuditHead:
    locked = AuditHead.objects.select_for_update(no_key=True)
    try:
        return locked.get()
    except AuditHead.DoesNotExist:
        AuditHead.objects.bulk_create([AuditHead()], ignore_conflicts=True)  # a customer's first event; another one may be first
        return locked.get()


def _event(entry: Entry, *, number: int, principal: Principal, at: datetime) -> AuditEvent:
    return AuditEvent(
        number=number,
        actor=principal.name,
        actor_kind=principal.kind,
        on_behalf_of=principal.on_behalf_of,
        action=entry.action,
        object_type=entry.target._meta.label_lower,
        object_id=str(entry.target.pk),
        object_label=entry.label[:300],
        before=_exact(entry.before or {}),
        after=_exact(entry.after or {}),
        reason=entry.reason,
        request_id=request_id(),
        occurred_at=at,
    )


def canonical_text(event: AuditEvent) -> str:
    """The event as one line of JSON with sorted keys: what is hashed."""
    value = {name: getattr(event, name) for name in _HASHED}
    moment = event.occurred_at.astimezone(UTC).isoformat()  # the database gives it back in UTC, wherever it came from
    value |= {"occurred_at": moment, "request_id": event.request_id, "customer": str(event.customer_id)}
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def link(previous: str, canonical: str) -> str:
    """SHA-256 over the predecessor's digest and this event's text, hexadecimal."""
    return hashlib.sha256(f"{previous}\n{canonical}".encode()).hexdigest()


@dataclass(frozen=True)
class Verification:
    """What walking the chain found."""

    intact: bool
    events: int
    head_digest: str
    problem: str = ""
    first_bad_number: int | None = None


def verify() -> Verification:
    """Walk the ambient customer's chain, oldest first: numbers without gaps, every link, every column against its hashed text, the head.

    Appends go on meanwhile: what is checked is the chain up to the head as it was at the beginning, and that nothing lies beyond the
    head as it is at the end. O(events) in time, constant memory.
    """
    with reading():
        head = AuditHead.objects.first()
        number, digest = (head.number, head.digest) if head else (0, "")
        previous, expected = "", 1
        for event in AuditEvent.objects.filter(number__lte=number).order_by("number").iterator(chunk_size=1000):
            problem = _problem_with(event, expected, previous)
            if problem:
                return Verification(False, expected - 1, previous, problem, expected)
            previous, expected = event.digest, expected + 1
        last = AuditEvent.objects.aggregate(last=Max("number"))["last"] or 0
        grown = AuditHead.objects.first()
    if (number, digest) != (expected - 1, previous):
        problem = f"the head says {number} events, the chain ends after {expected - 1}"
        return Verification(False, expected - 1, previous, problem, expected)
    if last > (grown.number if grown else 0):
        return Verification(False, number, digest, f"event {last} lies beyond the head", number + 1)
    return Verification(True, number, digest)


def _problem_with(event: AuditEvent, expected: int, previous: str) -> str:
    if event.number != expected:
        return f"event {expected} is missing"
    if link(previous, event.canonical) != event.digest:
        return f"the link of event {expected} does not fit its predecessor or its text"
    if _values(event.canonical) != json.loads(canonical_text(event)):
        return f"a column of event {expected} differs from the text that was hashed"
    return ""


def _values(canonical: str) -> Any:
    try:
        return json.loads(canonical)
    except (ValueError, RecursionError):
        return None  # never written by us, and equal to nothing that was


def _exact(value: Any) -> Any:
    """The value as every database gives it back: PostgreSQL keeps large floats by their digits and returns integers."""
    if isinstance(value, float) and abs(value) >= LARGEST_EXACT:
        return int(value)
    if isinstance(value, Mapping):
        return {str(name): _exact(item) for name, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list | tuple) else value
