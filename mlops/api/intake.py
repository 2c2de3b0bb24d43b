"""Whether a body may come in, decided by credential, view and length; nothing of it is read for a refusal."""

from io import BytesIO
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.parsers import MultiPartParser

from mlops.addresses import counted
from mlops.api.permissions import ActionPermission
from mlops.api.problems import Problem
from mlops.tenancy.roles import Principal

SMALL = 64 * 1024
"""What anybody may send, and any form that declares nothing else. `mlops.rsgi` has received as much before Django is called; a form's
file is handed over when there is room for its reading."""
FILES_AT_ONCE = 2
CHUNK = 64 * 1024


def take(request: HttpRequest, view: Any) -> HttpResponse | None:
    """Refuse the body, ask the door for it (the answer is then for the door alone), or let the view read it (None).

    Raises Problem, or what `ActionPermission` raises, before a byte is read.
    """
    offered = _offered(request)
    limit, into_file = _limit(request, view)
    if into_file:
        request.file_limit = limit - settings.MAX_BODY_BYTES  # type: ignore[attr-defined]  # StreamingUploadHandler stops there
    if offered == 0:
        return None
    principal: Principal | None = getattr(request, "principal", None)
    door = request.META.get("tiltyard.intake")
    if door is not None and door.arrived:
        return None
    if offered is None or offered > SMALL:
        _authorize(request, view, principal)
        if offered is not None and offered > limit:
            raise too_large(limit)
    if door is not None:
        if principal is None:  # a small form: what a larger one could hold was refused above
            door.want(limit=SMALL, sender=f"address {counted(request.META)}", most=settings.UPLOADS_AT_ONCE, into_file=False)
            return HttpResponse(status=100)
        at_once = min(FILES_AT_ONCE, settings.UPLOADS_AT_ONCE) if into_file else settings.UPLOADS_AT_ONCE
        door.want(limit=limit, sender=f"{principal.customer_id}:{principal.kind}:{principal.name}", most=at_once, into_file=into_file)
        return HttpResponse(status=100)
    if offered is None and principal is not None:
        _take_chunks(request, limit)
    return None


def too_large(limit: int) -> Problem:
    """413, saying how much is allowed."""
    return Problem(413, "too_large", f"The body may have {limit:,} bytes here.", limit=limit)


def _offered(request: HttpRequest) -> int | None:
    """The body's declared size; 0 for none, None where it comes in chunks."""
    if request.META.get("CONTENT_LENGTH"):
        return int(request.META["CONTENT_LENGTH"])
    return None if request.headers.get("Transfer-Encoding") else 0


def _limit(request: HttpRequest, view: Any) -> tuple[int, bool]:
    """Bytes that the view takes in all, and whether a file is among them. The form around a file has room for its other fields."""
    cls = getattr(view, "cls", None)
    name: str = getattr(view if cls is None else cls, "file_limit", "")
    if not name and cls is not None and MultiPartParser in cls.parser_classes:
        name = "MAX_DATASET_BYTES"
    if name and request.content_type == "multipart/form-data":
        return int(getattr(settings, name)) + settings.MAX_BODY_BYTES, True
    return settings.MAX_BODY_BYTES if cls is not None or bool(getattr(view, "action", "")) else SMALL, False


def _authorize(request: HttpRequest, view: Any, principal: Principal | None) -> None:
    """What the view would say to this caller, whatever the body holds."""
    cls = getattr(view, "cls", None)
    if cls is not None:
        ActionPermission().has_permission(SimpleNamespace(user=principal, method=request.method), cls)  # type: ignore[arg-type]  # it asks no more
    elif principal is None:
        raise too_large(SMALL)
    elif action := getattr(view, "action", ""):
        principal.authorize(action)


def _take_chunks(request: HttpRequest, limit: int) -> None:
    """Read a body without a length, which Django would take for an empty one, from a server that hands over a stream. Into memory."""
    source, content = request.META["wsgi.input"], bytearray()
    most = min(limit, settings.MAX_BODY_BYTES)
    while part := source.read(CHUNK):
        content += part
        if len(content) > most:
            raise too_large(most)
    request.META["CONTENT_LENGTH"] = str(len(content))
    request._stream = BytesIO(content)  # noqa: SLF001 - where Django keeps the body it has not read yet
