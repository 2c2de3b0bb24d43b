"""Rules that hold before and around every view."""

import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from queue import Empty, Queue
from threading import BoundedSemaphore, Thread
from typing import Any

import structlog
from csp.constants import UNSAFE_EVAL
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from mlops.api.problems import OUTAGES, Problem, http_response, outage
from mlops.telemetry.context import ambient_request
from mlops.telemetry.metrics import REQUESTS

GetResponse = Callable[[HttpRequest], HttpResponse]
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
NOBODYS_BYTES = 64 * 1024
NOBODYS_SECONDS = 3.0
_places = BoundedSemaphore(2)  # fewer than the threads that Django may hold: slow senders without a credential keep nobody else waiting
log = structlog.get_logger(__name__)


class RequestIdMiddleware:
    """Accepts a sane `X-Request-ID` or makes one, and sends it back."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get("X-Request-ID", "")
        identifier = sent if ACCEPTED_ID.match(sent) else str(uuid.uuid4())
        request.META["HTTP_X_REQUEST_ID"] = identifier  # the log's middleware reads it from here
        with ambient_request(identifier):
            response = self.get_response(request)
        response["X-Request-ID"] = identifier
        REQUESTS.labels(status=f"{response.status_code // 100}xx").inc()
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
    """What no view should have to refuse: NUL in the address, a body above the limit (413 before it is read).

    Nobody in particular (without a credential) sends small bodies only, and cannot make the server wait for them.
    """

    uploads = re.compile(
        r"/api/v1/(datasets(/[^/]+/versions)?|models/[^/]+/versions)/?\Z|/admin/registry/dataset/(upload|[^/]+/new-version)/\Z"
    )

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        problem = self._problem(request)
        if problem is not None:
            return http_response(problem)
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Take the body in, now that the credential is known, and before the check of the form's token reads it."""
        if getattr(request, "principal", None) is None:
            problem = _take_from_nobody(request)
        else:
            problem = _take_chunks(request) if _in_chunks(request) else None
        return None if problem is None else http_response(problem)

    def _problem(self, request: HttpRequest) -> Problem | None:
        if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            return Problem(400, "invalid", "The address holds the NUL character, which no text here can have.")
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            return Problem(400, "invalid", "Content-Length is not a number.")
        upload = request.content_type == "multipart/form-data" and self.uploads.search(request.path_info)
        limit = max(settings.MAX_DATASET_BYTES, settings.MAX_ARTIFACT_BYTES) if upload else settings.MAX_BODY_BYTES
        return _too_large(limit) if len(length) > 18 or int(length) > limit else None


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


def _in_chunks(request: HttpRequest) -> bool:
    return "CONTENT_LENGTH" not in request.META and bool(request.headers.get("Transfer-Encoding"))


def _take_from_nobody(request: HttpRequest) -> Problem | None:
    """Read a form of the login, say. The API asks for a credential before it reads anything, and chunks without a length stay unread."""
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    if not length or request.path_info.startswith("/api/"):
        return None
    if length > NOBODYS_BYTES:
        return _too_large(NOBODYS_BYTES)
    if not _places.acquire(timeout=0.2):
        return _too_slow()
    source, arrived = request.META["wsgi.input"], Queue[bytes](1)

    def wait() -> None:
        with suppress(OSError):  # the client left
            arrived.put(source.read(length))

    try:
        Thread(target=wait, daemon=True).start()  # a read cannot be given a time of its own
        request._stream = BytesIO(arrived.get(timeout=NOBODYS_SECONDS))  # noqa: SLF001 - where Django keeps what it has not read yet
    except Empty:
        return _too_slow()
    finally:
        _places.release()
    return None


def _too_slow() -> Problem:
    return Problem(503, "busy", "The request did not arrive in time. Try again in a moment.", headers={"Retry-After": "5"})


def _take_chunks(request: HttpRequest) -> Problem | None:
    """Read a body without a length, which Django would take for an empty one. It stays in memory, so large files must name a length."""
    source, content = request.META["wsgi.input"], bytearray()
    while part := source.read(64 * 1024):
        content += part
        if len(content) > settings.MAX_BODY_BYTES:
            return _too_large(settings.MAX_BODY_BYTES)
    request.META["CONTENT_LENGTH"] = str(len(content))
    request._stream = BytesIO(content)  # noqa: SLF001 - where Django keeps the body it has not read yet
    return None


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"The body may have {limit:,} bytes here.", limit=limit)
