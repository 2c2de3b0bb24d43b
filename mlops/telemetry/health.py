"""Liveness, readiness and metrics. No detail leaves without a token."""

import hmac
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import structlog
from django.conf import settings
from django.db import connection
from django.db.utils import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from kombu.exceptions import OperationalError as BrokerError
from obstore.exceptions import BaseError as StorageError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError

from mlops.api.errors import read_only
from mlops.api.problems import Problem, http_response
from mlops.moments import iso
from mlops.telemetry.metrics import scrape_registry

log = structlog.get_logger(__name__)

WORKERS_ASKED_EVERY = 2.0
WORKERS_ANSWER_WITHIN = 0.5
_workers_lock = Lock()
QUEUES = ("jobs", "events", "deliveries")
_workers: tuple[float, frozenset[str]] = (float("-inf"), frozenset())


@read_only
def health(request: HttpRequest) -> JsonResponse:
    """Whether this process answers at all."""
    return JsonResponse({"status": "ok", "time": iso(datetime.now(UTC))})


@read_only
def ready(request: HttpRequest) -> JsonResponse:
    """Whether database, broker and storage answer: 200, or 503 naming what does not. Says also which queues no worker serves."""
    failing = [name for name, check in (("database", _database), ("broker", _broker), ("storage", _storage)) if not _answers(name, check)]
    served = frozenset() if "broker" in failing else _served_queues()
    missing = [queue for queue in QUEUES if queue not in served]
    workers = "alive" if not missing else "some missing" if len(missing) < len(QUEUES) else "none alive"
    status = "unready" if failing else "ready"
    body = {"status": status, "failing": failing, "workers": workers, "queues_without_worker": missing}
    return JsonResponse(body, status=503 if failing else 200, headers={"Retry-After": "2"} if failing else {})


@read_only
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for holders of METRICS_TOKEN."""
    _, _, token = request.headers.get("Authorization", "").partition(" ")
    if not settings.METRICS_TOKEN or not hmac.compare_digest(token.encode(), settings.METRICS_TOKEN.encode()):
        headers = {"WWW-Authenticate": 'Bearer realm="metrics"'}
        return http_response(Problem(401, "not_authenticated", "Send METRICS_TOKEN as a bearer token.", headers=headers))
    registry = scrape_registry()
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _answers(name: str, check: Callable[[], None]) -> bool:
    try:
        check()
    except (OperationalError, InterfaceError, BrokerError, RedisError, StorageError, OSError) as failure:
        log.warning("ready.failing", part=name, error=str(failure))
        return False
    return True


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _broker() -> None:
    from mlops.celery import app

    with app.connection_for_write(connect_timeout=2) as broker:
        broker.ensure_connection(max_retries=1, timeout=2)


class _AllServed(Exception):
    """Nobody else's answer would change anything."""


def _served_queues() -> frozenset[str]:
    """The queues whose workers answered within half a second. Anybody may ask for readiness, so the workers are asked seldom."""
    global _workers
    with _workers_lock:
        asked_at, served = _workers
        if time.monotonic() - asked_at > WORKERS_ASKED_EVERY:
            found: set[str] = set()
            _answers("workers", lambda: _ask_workers(found))
            served = frozenset(found)
            _workers = (time.monotonic(), served)
    return served


def _ask_workers(found: set[str]) -> None:
    from mlops.celery import app

    def hear(answers: dict[str, Any]) -> None:
        for queues in answers.values():
            if isinstance(queues, list):  # a worker that is just starting answers with an error
                found.update(queue["name"] for queue in queues)
        if found.issuperset(QUEUES):
            raise _AllServed

    with suppress(_AllServed):
        app.control.broadcast("active_queues", reply=True, timeout=WORKERS_ANSWER_WITHIN, callback=hear)


def _storage() -> None:
    from mlops.artifacts.storage import storage

    storage().list("health/")
