"""Wishes for looser promotion policies that wait, or waited, for a second pair of eyes."""

from django.db.models import QuerySet

from mlops.errors import NotFound
from registry.models import PolicyChangeRequest
from registry.services.lookups import as_uuid
from registry.states import RequestStatus


def policy_requests() -> QuerySet[PolicyChangeRequest]:
    """All of them, newest first, each with its model."""
    return PolicyChangeRequest.objects.select_related("model").order_by("-requested_at", "pk")


def find_policy_request(reference: str) -> PolicyChangeRequest:
    """One of them by its id. Raises NotFound."""
    identifier = as_uuid(reference)
    found = policy_requests().filter(pk=identifier).first() if identifier else None
    if found is None:
        raise NotFound("There is no such policy request.")
    return found


def waiting_policy_requests() -> QuerySet[PolicyChangeRequest]:
    """Those that wait for a manager, oldest first."""
    return policy_requests().filter(status=RequestStatus.PENDING).order_by("requested_at", "pk")
