"""Promotions and rollbacks that wait, or waited, for a second pair of eyes, and the decisions that came of them."""

from uuid import UUID

from django.db.models import QuerySet

from mlops.errors import NotFound
from registry.models import DecisionRecord, PromotionRequest
from registry.services.lookups import as_uuid
from registry.states import RequestStatus

MOST_PENDING = 200
CROWNING = (DecisionRecord.Kind.PROMOTION, DecisionRecord.Kind.ROLLBACK)


def promotion_requests() -> QuerySet[PromotionRequest]:
    """All of them, newest first, each with its version and verdict."""
    return PromotionRequest.objects.select_related("version", "verdict__against").order_by("-requested_at", "pk")


def find_request(reference: str) -> PromotionRequest:
    """One of them by its id. Raises NotFound."""
    identifier = as_uuid(reference)
    found = promotion_requests().filter(pk=identifier).first() if identifier else None
    if found is None:
        raise NotFound("There is no such promotion request.")
    return found


def pending_requests() -> list[PromotionRequest]:
    """What waits for a manager, oldest first, each with its version, model and verdict. One query."""
    waiting = promotion_requests().filter(status=RequestStatus.PENDING)
    return list(waiting.select_related("model").order_by("requested_at", "pk")[:MOST_PENDING])


def find_decision(pk: UUID) -> DecisionRecord | None:
    """A decision record with its versions and its verdict. One query."""
    return _decisions().filter(pk=pk).first()


def decision_of(asked: PromotionRequest) -> DecisionRecord | None:
    """The record of the decision that granted the request, written in the same act. One query."""
    if asked.decided_at is None:
        return None
    return _decisions().filter(version=asked.version_id, decided_at=asked.decided_at, kind__in=CROWNING).first()


def request_of(record: DecisionRecord) -> PromotionRequest | None:
    """The request that the decision granted, where one was asked for. One query."""
    return PromotionRequest.objects.filter(version=record.version_id, status=RequestStatus.APPROVED, decided_at=record.decided_at).first()


def _decisions() -> QuerySet[DecisionRecord]:
    return DecisionRecord.objects.select_related("model", "version", "former_champion", "verdict__version", "verdict__against")
