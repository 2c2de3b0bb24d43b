"""The relay: a process of its own that carries promises from the database to the broker.

Requests write rows only, so a broker that is down, slow or silent delays nobody. The relay leases due messages and queued jobs, publishes
their ids, and takes up jobs whose worker died. It keeps nothing in memory: killed at any moment, another one goes on.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import close_old_connections
from django.db.utils import InterfaceError, OperationalError
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from mlops.jobs import services as jobs
from mlops.jobs.tasks import run_job
from mlops.outbox import services as outbox
from mlops.outbox.tasks import handle_message
from mlops.telemetry.counting import write_counts

log = structlog.get_logger(__name__)

PAUSE = 0.3
LONGEST_PAUSE = 5.0

_Task = tuple[UUID, int, dict[str, str]]
"""An id, its attempts so far, and options of the publishing."""


def run(*, until: Callable[[], bool]) -> None:
    """Relay until told to stop; a failing broker or database is waited out with growing pauses."""
    pause = PAUSE
    while not until():
        try:
            busy = relay_once(at=timezone.now())
        except (BrokerError, OSError) as failure:
            pause = min(pause * 2, LONGEST_PAUSE)
            log.warning("relay.broker_unreachable", error=str(failure), retry_in=pause)
        except (OperationalError, InterfaceError) as failure:
            pause = min(pause * 2, LONGEST_PAUSE)
            log.warning("relay.database_unreachable", error=str(failure), retry_in=pause)
            close_old_connections()
        else:
            pause = PAUSE if not busy else 0.0
        time.sleep(pause)


def relay_once(*, at: datetime) -> int:
    """One round: take up abandoned jobs, publish due messages and queued jobs. Returns how many were published."""
    jobs.take_up_abandoned()
    write_counts()
    news: list[_Task] = [(one.message_id, one.attempts, {"queue": one.queue}) for one in outbox.claim(at=at)]
    sent = _send(handle_message, news, lambda ids: outbox.release(message_ids=ids, at=at))
    queued: list[_Task] = [(job_id, attempt, {}) for job_id, attempt in jobs.claim_for_publishing(at=at)]
    return sent + _send(run_job, queued, lambda ids: jobs.release(job_ids=ids, at=at))


def _send(task: Any, claimed: Sequence[_Task], give_back: Callable[[list[UUID]], None]) -> int:
    """Publish all; what the broker does not take is given back, so that it goes out as soon as the broker returns."""
    waiting = list(claimed)
    try:
        while waiting:
            identifier, attempts, options = waiting[0]
            task.apply_async(args=[str(identifier), attempts], retry=False, **options)
            waiting.pop(0)
    finally:
        if waiting:
            give_back([identifier for identifier, *_ in waiting])
    return len(claimed)
