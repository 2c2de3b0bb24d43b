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
from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, F, QuerySet
from django.db.models.expressions import Expression, ExpressionWrapper, Value
from django.db.models.functions import Now
from django.utils import timezone

from mlops.audit.services import record
from mlops.database.locking import unlocked
from mlops.errors import DomainError
from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.models import OPEN, Job, JobState
from mlops.jobs.turns import next_in_turn
from mlops.moments import iso
from mlops.outbox.events import Event
from mlops.outbox.services import publish
from mlops.telemetry.context import request_id
from mlops.telemetry.metrics import JOB_ATTEMPTS
from mlops.tenancy.context import required
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
HEARTBEAT = timedelta(seconds=8)
REPUBLISH = timedelta(seconds=60)
BACKOFF = timedelta(seconds=10)
ATTEMPTS = 3
"""In a row without anything done that stays; then a job has failed."""


class AlreadyRunning(DomainError):
    """An open job already holds the exclusive key."""

    code = "already_running"

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.label} is already being worked on by job {job.pk} ({job.state}).")
        self.job = job

    def extra(self) -> dict[str, Any]:
        """The job that does it."""
        return {"job_id": str(self.job.pk)}


class AlreadyEnded(DomainError):
    """There is nothing left to stop."""

    code = "already_ended"

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.label} has ended already: it is {job.state}.")
        self.job = job

    def extra(self) -> dict[str, Any]:
        """How it ended, and when."""
        return {"current": self.job.state, "finished_at": iso(self.job.finished_at) if self.job.finished_at else None}


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


def claim_for_publishing(*, at: datetime, limit: int = 50) -> list[tuple[UUID, int]]:
    """Queued jobs to publish now, in turn, each with its attempts so far.

    Each is published again after REPUBLISH unless a worker claimed it, so a lost message loses no job.
    """
    with transaction.atomic():
        chosen = next_in_turn(at=at, limit=limit)
        due = unlocked(Job.objects.filter(pk__in=chosen, state=JobState.QUEUED, due_at__lte=at).order_by())
        claimed = sorted(due.values_list("pk", "attempt"), key=lambda one: chosen.index(one[0]))
        Job.objects.filter(pk__in=[pk for pk, _ in claimed]).update(due_at=at + REPUBLISH)
    return claimed


def release(*, job_ids: list[UUID], at: datetime) -> None:
    """The broker did not take these jobs: they are due at once."""
    Job.objects.filter(pk__in=job_ids, state=JobState.QUEUED).update(due_at=at)


def start(*, job_id: UUID, attempts: int) -> Job | None:
    """Claim the job for the next attempt; None if somebody else has it, it is no longer queued, or `attempts` is an older count."""
    claimed = Job.objects.filter(pk=job_id, state=JobState.QUEUED, attempt=attempts).update(
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


def gain(*, job_id: UUID, attempt: int) -> None:
    """The attempt has got something done that stays: from here failures are counted anew. Raises LeaseLost."""
    if not _mine(job_id, attempt).update(max_attempts=F("attempt") + ATTEMPTS - 1):
        raise LeaseLost


@contextmanager
def fenced(*, job_id: UUID, attempt: int, stopping: bool = False) -> Iterator[None]:
    """A transaction that commits only if this attempt still owns the job: what it writes appears once, whole, or not at all.

    Raises LeaseLost, and Cancelled where somebody asked for the job to stop: whoever was told so is not to see its outputs afterwards. The
    row is held to the end, so that a later wish waits, and finds what was written. `stopping` is for what an attempt leaves in order then.
    """
    with transaction.atomic():
        row = _mine(job_id, attempt).select_for_update(no_key=True).first()
        if row is None:
            raise LeaseLost
        if row.cancel_requested_at and not stopping:
            raise Cancelled
        yield


def succeed(*, job_id: UUID, attempt: int, result: dict[str, Any]) -> None:
    """End the job well. Raises LeaseLost, and Cancelled where somebody asked for it to stop before its end was written."""
    values = {"state": JobState.SUCCEEDED, "progress": 1.0, "result": result, "finished_at": Now(), "lease_expires_at": None}
    if not _mine(job_id, attempt).filter(cancel_requested_at=None).update(**values):
        raise Cancelled if _mine(job_id, attempt).exists() else LeaseLost


def fail(*, job: Job, error: str, final: bool) -> bool:
    """End this attempt badly: queued again with back-off, or failed for good when `final` or at the last attempt.

    A job that somebody wanted to stop is cancelled instead of tried again. Where the attempt is no longer the running one, nothing changes
    and the answer is False.
    """
    # An error may quote what a file held; PostgreSQL keeps neither NUL nor lone surrogates.
    error = error.replace("\x00", "␀").encode("utf-8", "backslashreplace").decode()
    with transaction.atomic():
        current = _mine(job.pk, job.attempt).select_for_update(no_key=True).first()
        if current is None:
            return False
        mine, left = _mine(job.pk, job.attempt), current.max_attempts - current.attempt
        if current.cancel_requested_at:
            end_cancelled(job=job)
        elif final or left <= 0:
            mine.update(state=JobState.FAILED, finished_at=Now(), lease_expires_at=None, last_error=error[:2000])
            _tell(job, JobFailed(job_id=str(job.pk), kind=job.kind, label=job.label, error=error[:500], attempts=job.attempt))
        else:
            pause = BACKOFF * 2 ** max(ATTEMPTS - 1 - left, 0)
            mine.update(state=JobState.QUEUED, due_at=_from_now(pause), lease_expires_at=None, last_error=error[:2000])
    return True


def waits_again(job: Job) -> bool:
    """Whether the job is queued for another attempt."""
    return Job.objects.filter(pk=job.pk, state=JobState.QUEUED).exists()


def cancel(*, job: Job, at: datetime, by: Principal) -> Job:
    """Ask for the job to stop: a queued one ends at once, a running one at its next step, and none of its outputs is kept any
    more. Asking again changes nothing.

    Raises AlreadyEnded.
    """
    by.authorize("job.cancel")
    with transaction.atomic(), acting(by):
        current = Job.objects.select_for_update(no_key=True).get(pk=job.pk, customer_id=by.customer_id)
        if current.state not in OPEN:
            raise AlreadyEnded(current)
        if current.cancel_requested_at is None:
            record(action="job.cancelled", target=current, label=str(current), at=at, before={"state": current.state}, actor=by)
            current.cancel_requested_at = at
            current.save(update_fields=["cancel_requested_at"])
        if current.state == JobState.QUEUED:
            Job.objects.filter(pk=job.pk).update(state=JobState.CANCELLED, finished_at=at)
            _tell(job, JobCancelled(job_id=str(job.pk), kind=job.kind, label=job.label))
    job.refresh_from_db()
    return job


def end_cancelled(*, job: Job) -> None:
    """The running attempt has stopped because somebody asked for it."""
    with transaction.atomic():
        if _mine(job.pk, job.attempt).update(state=JobState.CANCELLED, finished_at=Now(), lease_expires_at=None):
            _tell(job, JobCancelled(job_id=str(job.pk), kind=job.kind, label=job.label))


def take_up_abandoned() -> int:
    """Queue again, or fail, every running job whose lease ran out: its worker is dead or stuck. Returns how many."""
    expired = Job.objects.filter(state=JobState.RUNNING, lease_expires_at__lt=Now())
    taken = 0
    for job_id in list(expired.order_by("lease_expires_at", "pk").values_list("pk", flat=True)[:100]):
        with transaction.atomic():
            # A late heartbeat may have renewed it meanwhile, or its attempt be in the transaction that ends it, which nobody waits for.
            job = unlocked(expired.filter(pk=job_id)).first()
            if job is not None:
                log.warning("job.abandoned", job_id=str(job.pk), kind=job.kind, attempt=job.attempt)
                fail(job=job, error=f"The worker stopped answering during attempt {job.attempt} of {job.max_attempts}.", final=False)
                taken += 1
        if job is not None:
            JOB_ATTEMPTS.inc(kind=job.kind, outcome="abandoned")
    return taken


def _tell(job: Job, news: Event) -> None:
    with acting(system(job.customer_id)):
        publish(news, at=timezone.now())


def _mine(job_id: UUID, attempt: int) -> QuerySet[Job]:
    return Job.objects.filter(pk=job_id, state=JobState.RUNNING, attempt=attempt)


def _from_now(duration: timedelta) -> Expression:
    return ExpressionWrapper(Now() + Value(duration), output_field=DateTimeField())
