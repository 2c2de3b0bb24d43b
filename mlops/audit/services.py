"""Appending to the audit trail, and proving that nobody rewrote it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Model

from mlops.audit.models import AuditEvent, AuditHead
from mlops.telemetry.context import request_id
from mlops.tenancy.context import required
from mlops.tenancy.principals import ambient_principal
from mlops.tenancy.roles import Principal, system

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
    """Append one event to the ambient customer's chain, inside the caller's own transaction.

    The head's row is locked first, so appends of one customer queue and every number and link is unique. `before` and `after`
    hold JSON values. Raises TransactionManagementError outside a transaction: an act and its trace are written together.
    """
    principal = actor or ambient_principal() or system(required())
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("An audit event is written in the transaction of the act it records.")
    AuditHead.objects.bulk_create([AuditHead()], ignore_conflicts=True)
    head = AuditHead.objects.select_for_update().get()
    event = AuditEvent(
        number=head.number + 1,
        actor=principal.name,
        actor_kind=principal.kind,
        on_behalf_of=principal.on_behalf_of,
        action=action,
        object_type=target._meta.label_lower,
        object_id=str(target.pk),
        object_label=label[:300],
        before=dict(before or {}),
        after=dict(after or {}),
        reason=reason,
        request_id=request_id(),
        occurred_at=at,
    )
    event.canonical = canonical_text(event)
    event.digest = link(head.digest, event.canonical)
    event.save(force_insert=True)
    AuditHead.objects.filter(pk=head.pk).update(number=event.number, digest=event.digest)
    return event


def canonical_text(event: AuditEvent) -> str:
    """The event as one line of JSON with sorted keys: what is hashed."""
    value = {name: getattr(event, name) for name in _HASHED}
    value |= {"occurred_at": event.occurred_at.isoformat(), "request_id": event.request_id, "customer": str(event.customer_id)}
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
    """Walk the ambient customer's whole chain, oldest first: numbers without gaps, every link, every column against its hashed text, the head.

    O(events) in time, constant memory.
    """
    with transaction.atomic():
        previous, expected = "", 1
        for event in AuditEvent.objects.order_by("number").iterator(chunk_size=1000):
            problem = _problem_with(event, expected, previous)
            if problem:
                return Verification(False, expected - 1, previous, problem, expected)
            previous, expected = event.digest, expected + 1
        head = AuditHead.objects.first()
    recorded = (head.number, head.digest) if head else (0, "")
    if recorded != (expected - 1, previous):
        return Verification(
            False, expected - 1, previous, f"the head says {recorded[0]} events, the chain ends after {expected - 1}", expected
        )
    return Verification(True, expected - 1, previous)


def _problem_with(event: AuditEvent, expected: int, previous: str) -> str:
    if event.number != expected:
        return f"event {expected} is missing"
    if link(previous, event.canonical) != event.digest:
        return f"the link of event {expected} does not fit its predecessor or its text"
    if json.loads(event.canonical) != json.loads(canonical_text(event)):
        return f"a column of event {expected} differs from the text that was hashed"
    return ""
