"""Rules that hold before and around every view."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from csp.constants import UNSAFE_EVAL
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from mlops.api import idempotency, intake
from mlops.api.idempotency import Claim
from mlops.api.problems import OUTAGES, Problem, as_problem, http_response, outage
from mlops.telemetry.context import COMMAND_LINE, ambient_request
from mlops.telemetry.counting import write_counts
from mlops.telemetry.metrics import REQUESTS

GetResponse = Callable[[HttpRequest], HttpResponse]
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
log = structlog.get_logger(__name__)


class RequestIdMiddleware:
    """Accepts a sane `X-Request-ID` or makes one, and sends it back."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        identifier = request_id_of(request)
        request.META["HTTP_X_REQUEST_ID"] = identifier  # the log's middleware reads it from here
        with ambient_request(identifier):
            response = self.get_response(request)
        return counted(response, identifier)


def request_id_of(request: HttpRequest) -> str:
    """The id that the client gave the request, or a new one; none that reads like the command line's, in whatever case."""
    sent = request.META.get("HTTP_X_REQUEST_ID", "")
    return sent if ACCEPTED_ID.match(sent) and not sent.casefold().startswith(COMMAND_LINE) else str(uuid.uuid4())


def counted(response: HttpResponse, identifier: str) -> HttpResponse:
    """The answer with its id, counted in the metrics."""
    response["X-Request-ID"] = identifier
    REQUESTS.labels(status=f"{response.status_code // 100}xx").inc()
    write_counts()
    return response


class OutageMiddleware:
    """A view whose database is restarting answers 503 with Retry-After.

    Django turns an exception inside a middleware into an answer before any outer one sees it: those outages are `errors.server_error`'s.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, failure: Exception) -> HttpResponse | None:
        """Answer an outage; leave everything else to Django."""
        if not isinstance(failure, OUTAGES):
            return None
        log.warning("database.unavailable", error=str(failure), path=request.path)
        return http_response(outage())


class IntakeMiddleware:
    """What no view should have to refuse: NUL in the address, and a body that is too large or that nobody may send, before it is read.

    Behind `mlops.rsgi` small bodies are there already; a larger one is asked for here, once it is known whose it is and where it goes.
    Other servers (development, tests) hand over a stream.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        problem = self._problem(request)
        if problem is not None:
            return http_response(problem)
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> HttpResponse | None:
        """Judge the body, now that credential and view are known, and before the check of the form's token reads it."""
        try:
            return intake.take(request, view)
        except Exception as failure:
            problem = as_problem(failure)
            if problem is None:
                raise
            return http_response(problem)

    def _problem(self, request: HttpRequest) -> Problem | None:
        if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            return Problem(400, "invalid", "The address holds the NUL character, which no text here can have.")
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            return Problem(400, "invalid", "Content-Length is not a number.")
        return intake.too_large(settings.MAX_BODY_BYTES) if len(length) > 18 else None


class IdempotencyMiddleware:
    """Claims the `Idempotency-Key` of a POST to the API before its view's transaction opens, and gives it back when the view refused.

    Whom the view would refuse anyhow claims nothing.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        held: Claim | None = getattr(request, "idempotency_claim", None)
        if held is not None and not (held.answered and response.status_code < 400):
            held.release()
        return response

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> HttpResponse | None:
        """Claim the key, or answer what the POST was answered before."""
        principal, cls = getattr(request, "principal", None), getattr(view, "cls", None)
        if request.method != "POST" or idempotency.HEADER not in request.headers or principal is None or cls is None:
            return None
        if not principal.may(getattr(cls, "actions_by_method", {}).get("POST", "undeclared")):
            return None
        if not getattr(cls, "takes_idempotency_key", True):
            return http_response(idempotency.not_taken())
        try:
            # Two keys may have one name; what one of them was answered is nothing to replay to the other.
            claimed = idempotency.claim(request, cls, principal_name=str(principal.key_id or principal.name), at=timezone.now())
        except Exception as failure:
            problem = as_problem(failure)
            if problem is None:
                raise
            return http_response(problem)
        if isinstance(claimed, HttpResponse):
            return claimed
        request.idempotency_claim = claimed  # type: ignore[attr-defined]  # what `ApiView` binds its act to
        return None


class AdminThemeMiddleware:
    """Allows `unsafe-eval` on the admin theme's own pages, whose Alpine expressions cannot do without; nowhere else."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path_info.startswith("/admin/"):
            # What django-csp's own decorator `csp_update` sets; its middleware, further out, adds it to the policy of this answer.
            update: dict[str, Any] = {"script-src": [UNSAFE_EVAL]}
            response._csp_update = update  # type: ignore[attr-defined] # noqa: SLF001 - see above
        return response
