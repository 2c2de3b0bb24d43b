"""The WSGI door. Granian serves it; Django may never hold the last two threads, which stay free for what needs no database."""

import json
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlops.settings")

StartResponse = Callable[..., Any]

django = get_wsgi_application()
gate = threading.BoundedSemaphore(max(int(os.environ.get("WEB_THREADS", "8")) - 2, 1))


def _problem(status: int, title: str, code: str, detail: str) -> bytes:
    return json.dumps({"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, "errors": []}).encode()


HEALTHY = b'{"status": "ok"}'
BUSY = _problem(503, "Service Unavailable", "busy", "All workers are busy. Try again in a second.")
UNREADABLE = _problem(415, "Unsupported Media Type", "unsupported_media_type", "The Content-Type cannot be read, or is not UTF-8.")
UTF_8 = ("utf-8", "utf8", "us-ascii")


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer liveness without Django; admit everything else through the gate, or answer 503 with Retry-After."""
    if environ["PATH_INFO"] in ("/health", "/health/") and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        start_response("200 OK", [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [HEALTHY]
    if not _readable_content_type(environ.get("CONTENT_TYPE", "")):
        start_response("415 Unsupported Media Type", [("Content-Type", "application/problem+json")])
        return [UNREADABLE]
    if not gate.acquire(timeout=5.0):
        start_response("503 Service Unavailable", [("Content-Type", "application/problem+json"), ("Retry-After", "1")])
        return [BUSY]
    try:
        return django(environ, start_response)
    finally:
        gate.release()


def _readable_content_type(header: str) -> bool:
    # Django reads the header while it builds the request, where no handler of errors is in place yet, and decodes the query string by
    # whatever codec it names, be it one that decodes nothing.
    try:
        _, parameters = parse_header_parameters(header)
    except ValueError:
        return False
    return (parameters.get("charset") or "utf-8").strip().lower() in UTF_8
