"""Verifying the chain for people, who want to know later when that was and what it said."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from mlops.audit.models import AuditEvent, AuditHead, AuditVerification
from mlops.audit.services import Verification, verify


def verify_and_keep(*, at: datetime) -> Verification:
    """Walk the ambient customer's chain as `verify` does, and keep what was found as the latest verification. O(events)."""
    found = verify()
    values = {
        "verified_at": at,
        "intact": found.intact,
        "events": found.events,
        "first_bad_number": found.first_bad_number,
        "problem": found.problem,
    }
    with transaction.atomic():
        AuditVerification.objects.update_or_create(defaults=values)
    return found


@dataclass(frozen=True)
class ChainState:
    """What is known of the ambient customer's chain without walking it. `since`: the first event's moment; `events`: what the head says."""

    events: int
    since: datetime | None
    latest: AuditVerification | None

    @property
    def appended(self) -> int:
        """Events since the latest verification; negative where the head has gone back, which no act does."""
        return self.events - self.latest.events if self.latest else self.events


def chain_state() -> ChainState:
    """Three queries, each of one row by its index, whatever the chain's length."""
    head, first = AuditHead.objects.first(), AuditEvent.objects.order_by("number").only("occurred_at").first()
    return ChainState(head.number if head else 0, first.occurred_at if first else None, AuditVerification.objects.first())
