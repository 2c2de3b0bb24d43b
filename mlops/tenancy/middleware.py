"""The door of every request: from its credential to a principal and a customer, before any view or transaction."""

from collections.abc import Callable
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from mlops.tenancy.principals import acting, principal_of_key, principal_of_person
from mlops.tenancy.roles import Principal

CHOSEN_CUSTOMER = "customer_id"


class PrincipalMiddleware:
    """Sets `request.principal` (None if nobody could be recognized) and scopes the request to the principal's customer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        principal = self._recognize(request)
        request.principal = principal  # type: ignore[attr-defined]  # the attribute this middleware exists for
        if principal is None:
            return self.get_response(request)
        with acting(principal):
            return self.get_response(request)

    def _recognize(self, request: HttpRequest) -> Principal | None:
        header = request.headers.get("Authorization", "")
        scheme, _, secret = header.partition(" ")
        if scheme.lower() == "bearer":
            request.via_key = True  # type: ignore[attr-defined]  # a key carries no cookie, so it needs no CSRF token
            return principal_of_key(secret.strip(), at=timezone.now())
        if header or not request.user.is_authenticated:
            return None
        return principal_of_person(request.user, _uuid(request.session.get(CHOSEN_CUSTOMER)))


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None
