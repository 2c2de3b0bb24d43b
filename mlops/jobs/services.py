"""The life of a job: requested, published, claimed, kept alive, finished once.

Times are the database's own (`Now()`): workers' clocks differ. The fence is the attempt number: a worker that lost its lease finds
its attempt taken and can write nothing more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, connection, transaction
from django.db.models import DateTimeField, F, QuerySet
from django.db.models.expressions import Expression, ExpressionWrapper, Value
from django.db.models.functions import Now
from django.utils import timezone

from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.models import OPEN, Job, JobState
from mlops.outbox.services import publish
from mlops.telemetry.context import request_id
from mlops.tenancy.context import required
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
HEARTBEAT = timedelta(seconds=8)
REPUBLISH = timedelta(seconds=60)
BACKOFF = timedelta(seconds=10)


class AlreadyRunning(Exception):
    """An open job already holds the exclusive key."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.label} is already being worked on by job {job.pk} ({job.state}).")
        self.job = job


class LeaseLost(Exception):
    """This attempt was given up on; another one may be running. Stop without writing."""


class Cancelled(Exception):
    """Somebody asked for this job to stop."""


class JobRefused(Exception):
    """The work cannot be done, now or at the next attempt; the message says why, for people."""


def request(
    *,
    kind: str,
    payload: dict[str, Any],
    label: str,
    by: Principal,
    at: datetime,
    exclusive_key: str = "",
    schedule: str = "",
    slot: datetime | None = None,
) -> Job:
    """Write the job's row in the caller's transaction; the relay publishes it after the commit.

    Raises AlreadyRunning when an open job has the key, and IntegrityError when the schedule's slot was already claimed.
    """
    job = Job(
        customer_id=required(),
        kind=kind,
        payload=payload,
        label=label,
        requested_by=by.name,
        request_id=request_id(),
        created_at=at,
        due_at=at,
        exclusive_key=exclusive_key,
        schedule=schedule,
        slot=slot,
    )
    try:
        with transaction.atomic():
            job.save(force_insert=True)
    except IntegrityError:
        holder = (
            Job.objects.filter(customer_id=job.customer_id, exclusive_key=exclusive_key, state__in=OPEN).first() if exclusive_key else None
        )
        if holder is None:
            raise
        raise AlreadyRunning(holder) from None
    return job


def claim_for_publishing(*, at: datetime, limit: int = 50) -> list[UUID]:
    """Ids of queued jobs to publish now; each is published again after REPUBLISH unless a worker claimed it, so a lost message loses no job."""
    with transaction.atomic():
        due = _lock(Job.objects.filter(state=JobState.QUEUED, due_at__lte=at).order_by("due_at", "id"))
        ids = list(due.values_list("pk", flat=True)[:limit])
        Job.objects.filter(pk__in=ids).update(due_at=at + REPUBLISH)
    return ids


def start(*, job_id: UUID) -> Job | None:
    """Claim the job for the next attempt; None if somebody else has it or it is no longer queued."""
    claimed = Job.objects.filter(pk=job_id, state=JobState.QUEUED).update(
        state=JobState.RUNNING, attempt=F("attempt") + 1, lease_expires_at=_from_now(LEASE), started_at=Now(), last_error=""
    )
    return Job.objects.get(pk=job_id) if claimed else None


def keep_alive(*, job_id: UUID, attempt: int) -> bool:
    """Renew the lease. Returns whether a stop was asked for. Raises LeaseLost if the attempt is no longer the running one."""
    if not _mine(job_id, attempt).update(lease_expires_at=_from_now(LEASE)):
        raise LeaseLost
    return Job.objects.filter(pk=job_id).exclude(cancel_requested_at=None).exists()


def report(*, job_id: UUID, attempt: int, progress: float, text: str) -> None:
    """Show progress, a fraction of 1. Raises LeaseLost."""
    if not _mine(job_id, attempt).update(progress=min(max(progress, 0.0), 1.0), progress_text=text[:200]):
        raise LeaseLost


@contextmanager
def fenced(*, job_id: UUID, attempt: int) -> Iterator[None]:
    """A transaction that commits only if this attempt still owns the job: what it writes appears once, whole, or not at all."""
    with transaction.atomic():
        if not Job.objects.select_for_update().filter(pk=job_id, state=JobState.RUNNING, attempt=attempt).first():
            raise LeaseLost
        yield


def succeed(*, job_id: UUID, attempt: int, result: dict[str, Any]) -> None:
    """End the job well. Raises LeaseLost."""
    values = {"state": JobState.SUCCEEDED, "progress": 1.0, "result": result, "finished_at": Now(), "lease_expires_at": None}
    if not _mine(job_id, attempt).update(**values):
        raise LeaseLost


def fail(*, job: Job, error: str, final: bool) -> None:
    """End this attempt badly: queued again with back-off, or failed for good when `final` or at the last attempt."""
    last = final or job.attempt >= job.max_attempts
    with transaction.atomic():
        mine = _mine(job.pk, job.attempt)
        if not last:
            pause = BACKOFF * 2 ** (job.attempt - 1)
            mine.update(state=JobState.QUEUED, due_at=_from_now(pause), lease_expires_at=None, last_error=error[:2000])
            return
        if mine.update(state=JobState.FAILED, finished_at=Now(), lease_expires_at=None, last_error=error[:2000]):
            _tell_failure(job, error)


def cancel(*, job: Job, at: datetime, by: Principal) -> Job:
    """Ask for the job to stop: a queued one ends at once, a running one at its next step. An ended one is left as it is."""
    by.authorize("job.cancel")
    with transaction.atomic():
        queued = Job.objects.filter(pk=job.pk, state=JobState.QUEUED)
        if queued.update(state=JobState.CANCELLED, finished_at=at, cancel_requested_at=at):
            _tell_cancelled(job)
        else:
            Job.objects.filter(pk=job.pk, state=JobState.RUNNING, cancel_requested_at=None).update(cancel_requested_at=at)
    job.refresh_from_db()
    return job


def end_cancelled(*, job: Job) -> None:
    """The running attempt has stopped because somebody asked for it."""
    with transaction.atomic():
        if _mine(job.pk, job.attempt).update(state=JobState.CANCELLED, finished_at=Now(), lease_expires_at=None):
            _tell_cancelled(job)


def take_up_abandoned(*, at: datetime) -> int:
    """Queue again, or fail, every running job whose lease ran out: its worker is dead or stuck. Returns how many."""
    abandoned = list(Job.objects.filter(state=JobState.RUNNING, lease_expires_at__lt=Now()).order_by("pk")[:100])
    for job in abandoned:
        log.warning("job.abandoned", job_id=str(job.pk), kind=job.kind, attempt=job.attempt)
        if job.cancel_requested_at:
            end_cancelled(job=job)
        else:
            fail(job=job, error=f"The worker stopped answering during attempt {job.attempt} of {job.max_attempts}.", final=False)
    return len(abandoned)


def _tell_failure(job: Job, error: str) -> None:
    with acting(system(job.customer_id)):
        publish(JobFailed(job_id=str(job.pk), kind=job.kind, label=job.label, error=error[:500], attempts=job.attempt), at=timezone.now())


def _tell_cancelled(job: Job) -> None:
    with acting(system(job.customer_id)):
        publish(JobCancelled(job_id=str(job.pk), kind=job.kind, label=job.label), at=timezone.now())


def _mine(job_id: UUID, attempt: int) -> QuerySet[Job]:
    return Job.objects.filter(pk=job_id, state=JobState.RUNNING, attempt=attempt)


def _from_now(duration: timedelta) -> Expression:
    return ExpressionWrapper(Now() + Value(duration), output_field=DateTimeField())


def _lock(queryset: QuerySet[Job]) -> QuerySet[Job]:
    if connection.features.has_select_for_update_skip_locked:
        return queryset.select_for_update(skip_locked=True)
    return queryset  # SQLite: the IMMEDIATE transaction is the lock
