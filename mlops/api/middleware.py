"""Rules that hold before and around every view."""

import re
import uuid
from collections.abc import Callable

import structlog
from csp.constants import SELF, UNSAFE_EVAL
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from mlops.api.problems import OUTAGES, Problem, http_response, outage
from mlops.telemetry.context import set_request_id
from mlops.telemetry.metrics import REQUESTS

GetResponse = Callable[[HttpRequest], HttpResponse]
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
log = structlog.get_logger(__name__)


class RequestIdMiddleware:
    """Accepts a sane `X-Request-ID` or makes one, and sends it back."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get("X-Request-ID", "")
        identifier = sent if ACCEPTED_ID.match(sent) else str(uuid.uuid4())
        request.META["HTTP_X_REQUEST_ID"] = identifier  # the log's middleware reads it from here
        set_request_id(identifier)
        response = self.get_response(request)
        response["X-Request-ID"] = identifier
        REQUESTS.labels(status=f"{response.status_code // 100}xx").inc()
        return response


class OutageMiddleware:
    """A database that is restarting is a 503 with Retry-After, wherever in the request it shows."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return self.get_response(request)
        except OUTAGES as failure:
            return self.process_exception(request, failure) or HttpResponse(status=503)

    def process_exception(self, request: HttpRequest, failure: Exception) -> HttpResponse | None:
        """Answer an outage; leave everything else to Django."""
        if not isinstance(failure, OUTAGES):
            return None
        log.warning("database.unavailable", error=str(failure), path=request.path)
        return http_response(outage())


class BodyLimitMiddleware:
    """Bodies above the limit are 413 before they are read; uploads have limits of their own."""

    uploads = re.compile(r"/api/v1/(datasets(/[^/]+/versions)?|models/[^/]+/versions)/?\Z")

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            return http_response(Problem(400, "invalid", "Content-Length is not a number."))
        multipart = (request.content_type or "") == "multipart/form-data"
        limit = settings.MAX_DATASET_BYTES if multipart and self.uploads.search(request.path_info) else settings.MAX_BODY_BYTES
        if int(length[:18]) > limit or len(length) > 18:
            return http_response(Problem(413, "too_large", f"The body may have {limit:,} bytes here.", limit=limit))
        return self.get_response(request)


class AdminThemeMiddleware:
    """Allows `unsafe-eval` on the admin theme's own pages, whose Alpine expressions cannot do without; nowhere else."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path_info.startswith("/admin/"):
            response._csp_update = {"script-src": [SELF, UNSAFE_EVAL]}  # type: ignore[attr-defined] # noqa: SLF001 - django-csp's documented hook sets just this
        return response
