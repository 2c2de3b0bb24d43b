"""The WSGI door. Granian serves it; Django may never hold the last two threads, which stay free for what needs no database."""

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlops.settings")

StartResponse = Callable[..., Any]

django = get_wsgi_application()
gate = threading.BoundedSemaphore(max(int(os.environ.get("WEB_THREADS", "8")) - 2, 1))
HEALTHY = b'{"status": "ok"}'
BUSY = b'{"type": "about:blank", "title": "Service Unavailable", "status": 503, "code": "busy", "detail": "All workers are busy. Try again in a second."}'


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer liveness without Django; admit everything else through the gate, or answer 503 with Retry-After."""
    if environ["PATH_INFO"] in ("/health", "/health/"):
        start_response("200 OK", [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [HEALTHY]
    if not gate.acquire(timeout=5.0):
        start_response("503 Service Unavailable", [("Content-Type", "application/problem+json"), ("Retry-After", "1")])
        return [BUSY]
    try:
        return django(environ, start_response)
    finally:
        gate.release()
