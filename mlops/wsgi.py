"""Django as a WSGI application, and what is answered without it. The server's own door, `mlops.rsgi`, calls this in its threads."""

import json
import os
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlops.settings")

StartResponse = Callable[..., Any]

django = get_wsgi_application()


def problem_bytes(status: int, code: str, detail: str) -> bytes:
    """A problem document for what is refused before Django sees it."""
    values = {"type": f"/docs/problems#{code}", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail}
    return json.dumps({**values, "errors": []}).encode()


HEALTHY = b'{"status": "ok"}'
UNREADABLE = problem_bytes(415, "unsupported_media_type", "The Content-Type cannot be read, or is not UTF-8.")
UTF_8 = ("utf-8", "utf8", "us-ascii")


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer liveness without Django; hand everything else to it that its request can be built from."""
    if environ["PATH_INFO"] in ("/health", "/health/") and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        start_response("200 OK", [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [HEALTHY]
    if not _readable_content_type(environ.get("CONTENT_TYPE", "")):
        start_response("415 Unsupported Media Type", [("Content-Type", "application/problem+json")])
        return [UNREADABLE]
    return django(environ, start_response)


def _readable_content_type(header: str) -> bool:
    # Django reads the header while it builds the request, where no handler of errors is in place yet, and decodes the query string by
    # whatever codec it names, be it one that decodes nothing.
    try:
        _, parameters = parse_header_parameters(header)
    except ValueError:
        return False
    return (parameters.get("charset") or "utf-8").strip().lower() in UTF_8
