"""Running one attempt of a job: heartbeat beside the work, one outcome at the end."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread, get_ident
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection
from django.db.utils import InterfaceError, OperationalError

from mlops.jobs import services
from mlops.jobs.models import Job
from mlops.jobs.services import Cancelled, JobRefused, LeaseLost
from mlops.jobs.watchdog import ended_after
from mlops.telemetry.context import ambient_request
from mlops.telemetry.metrics import JOB_ATTEMPTS
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system

log = structlog.get_logger(__name__)

Work = Callable[["Attempt"], dict[str, Any]]
_work: dict[str, Work] = {}


def job(kind: str) -> Callable[[Work], Work]:
    """Decorator: the function does jobs of this kind. It takes an `Attempt` and returns a JSON result."""

    def register(work: Work) -> Work:
        _work[kind] = work
        return work

    return register


@dataclass
class Attempt:
    """What the work knows of the job it does, and how it speaks."""

    job_id: UUID
    number: int
    customer_id: UUID
    requested_by: str
    payload: dict[str, Any]
    _stop: Event = field(default_factory=Event, repr=False)
    _lost: Event = field(default_factory=Event, repr=False)
    _finished: bool = False

    def check(self) -> None:
        """Raise LeaseLost or Cancelled if this attempt has to stop. Call it between steps."""
        if self._lost.is_set():
            raise LeaseLost
        if self._stop.is_set():
            raise Cancelled

    def progress(self, fraction: float, text: str) -> None:
        """Show progress and check whether to stop."""
        self.check()
        services.report(job_id=self.job_id, attempt=self.number, progress=fraction, text=text)

    def gained(self) -> None:
        """Say that something is done that stays: a job which goes on for days may lose its worker more often than it may fail."""
        services.gain(job_id=self.job_id, attempt=self.number)

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """A transaction for the outputs; raises LeaseLost or Cancelled instead of writing for an attempt that is to stop."""
        self.check()
        with services.fenced(job_id=self.job_id, attempt=self.number):
            yield

    def finish(self, result: dict[str, Any]) -> None:
        """End the job well inside `fenced()`: the outputs and the end are one commit, so that no repeated attempt makes them twice."""
        services.succeed(job_id=self.job_id, attempt=self.number, result=result)
        self._finished = True


def run(*, job_id: UUID, attempts: int) -> None:
    """Claim the job and do it, unless it was attempted since it was sent with this count of attempts.

    Exactly one outcome is written, or none if the attempt was fenced off.
    """
    row = services.start(job_id=job_id, attempts=attempts)
    if row is None:
        return
    attempt = Attempt(row.pk, row.attempt, row.customer_id, row.requested_by, row.payload)
    began = time.monotonic()
    named = structlog.contextvars.bound_contextvars(job_id=str(row.pk), kind=row.kind, attempt=row.attempt)
    with acting(system(row.customer_id)), ambient_request(row.request_id), named:
        longest = longest_attempt(row.kind)
        with ended_after(longest + services.LEASE.total_seconds()), _heart(row, attempt, longest):
            outcome = _do(row, attempt)
        log.info("job.ended", outcome=outcome, seconds=round(time.monotonic() - began, 3))
    if outcome != "fenced":  # whoever gave up on it has counted it
        JOB_ATTEMPTS.inc(kind=row.kind, outcome=outcome)


def _do(row: Job, attempt: Attempt) -> str:
    log.info("job.started", label=row.label)
    try:
        result = _work[row.kind](attempt)
        if not attempt._finished:  # noqa: SLF001 - the runner made the attempt
            services.succeed(job_id=row.pk, attempt=attempt.number, result=result)
    except LeaseLost:
        log.warning("job.fenced_off")
        return "fenced"
    except Cancelled:
        services.end_cancelled(job=row)
        return "cancelled"
    except JobRefused as refusal:
        return "failed" if services.fail(job=row, error=str(refusal), final=True) else "fenced"
    except Exception as failure:
        log.exception("job.attempt_failed")
        if not services.fail(job=row, error=_readable(failure), final=False):
            return "succeeded" if attempt._finished else "fenced"  # noqa: SLF001 - it broke after its end was written, or after somebody else's
        return "retried" if services.waits_again(row) else "failed"
    return "succeeded"


def _readable(failure: Exception) -> str:
    where = traceback.extract_tb(failure.__traceback__)[-1]
    return f"{type(failure).__name__}: {failure} (at {where.name}, line {where.lineno})"


def longest_attempt(kind: str) -> float:
    """Seconds that an attempt of this kind may take."""
    return float(settings.LONG_JOB_ATTEMPT_SECONDS if kind in settings.LONG_JOBS else settings.JOB_ATTEMPT_SECONDS)


@contextmanager
def _heart(row: Job, attempt: Attempt, longest: float) -> Iterator[None]:
    """Renew the lease from a thread of its own, since the work may sit in native code for minutes; but no longer than `longest` seconds."""
    done = Event()
    watched = (time.monotonic() + longest, get_ident())
    thread = Thread(target=_beat, args=(row, attempt, done, *watched), name=f"heartbeat-{attempt.job_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _beat(row: Job, attempt: Attempt, done: Event, ends_at: float, worker: int) -> None:
    while not done.wait(max(min(services.HEARTBEAT.total_seconds(), ends_at - time.monotonic()), 0)):
        try:
            if time.monotonic() >= ends_at:
                attempt._lost.set()  # noqa: SLF001 - the heart belongs to the attempt
                _give_up(row, worker)
                return
            if services.keep_alive(job_id=attempt.job_id, attempt=attempt.number):
                attempt._stop.set()  # noqa: SLF001
        except LeaseLost:
            attempt._lost.set()  # noqa: SLF001
            return
        except (OperationalError, InterfaceError) as failure:
            log.warning("job.heartbeat_missed", error=str(failure))
            if attempt._lost.is_set():  # noqa: SLF001 - nobody renews the lease any more, so the relay takes the job up
                return
        finally:
            connection.close()


def _give_up(row: Job, worker: int) -> None:
    """End an attempt that took too long as one that failed, whatever its work is still doing; it can write nothing more."""
    longest = longest_attempt(row.kind)
    frame = sys._current_frames().get(worker)  # noqa: SLF001 - the only way to another thread's stack
    stack = traceback.extract_stack(frame)
    log.error("job.overran", job_id=str(row.pk), kind=row.kind, attempt=row.attempt, seconds=longest, stack=stack.format())
    where = f" It was at {stack[-1].name}, line {stack[-1].lineno}." if frame else ""
    error = f"Attempt {row.attempt} was ended: it took longer than the {longest:g} seconds that it may.{where}"
    if services.fail(job=row, error=error, final=False):
        JOB_ATTEMPTS.inc(kind=row.kind, outcome="overran")
