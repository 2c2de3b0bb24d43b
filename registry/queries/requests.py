"""Promotions and rollbacks that wait, or waited, for a second pair of eyes."""

from django.db.models import QuerySet

from mlops.errors import NotFound
from registry.models import PromotionRequest
from registry.services.lookups import as_uuid
from registry.states import RequestStatus

MOST_PENDING = 200


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
