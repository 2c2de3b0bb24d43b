"""Long work on splits and studies, and what follows when it ends badly."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from experiments.services import searching, split_preparing, study_rows, trial_registration
from experiments.services.splitting import PREPARE_JOB
from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.models import Job
from mlops.jobs.runner import Attempt, job
from mlops.outbox.events import subscribe
from mlops.tenancy.context import required
from mlops.tenancy.roles import system


@job(PREPARE_JOB)
def prepare_split(attempt: Attempt) -> dict[str, Any]:
    """Fetch a split's source and cut it into parts."""
    return split_preparing.prepare(attempt)


@subscribe(JobFailed, "splits.failed")
def fail_split(news: JobFailed) -> None:
    """The job gave up, perhaps without a word about its split."""
    if news.kind == PREPARE_JOB:
        message = f"The split could not be prepared: {news.error}"
        split_preparing.give_up_after_job(Job.objects.get(pk=news.job_id), code="job_failed", message=message)


@subscribe(JobCancelled, "splits.cancelled")
def cancel_split(news: JobCancelled) -> None:
    """Somebody stopped the job, perhaps before it began."""
    if news.kind == PREPARE_JOB:
        message = "Preparing the split was cancelled."
        split_preparing.give_up_after_job(Job.objects.get(pk=news.job_id), code="cancelled", message=message)


@job(study_rows.SEARCH_JOB)
def search(attempt: Attempt) -> dict[str, Any]:
    """Be one worker of a study."""
    return searching.search(attempt)


@job(trial_registration.REGISTER_JOB)
def register_trial(attempt: Attempt) -> dict[str, Any]:
    """Make a version of a trial."""
    return trial_registration.work(attempt)


@subscribe(JobFailed, "studies.failed")
def fail_study(news: JobFailed) -> None:
    """A worker's job gave up."""
    if news.kind == study_rows.SEARCH_JOB:
        _follow(news.job_id, cancelled=False, error=news.error)


@subscribe(JobCancelled, "studies.cancelled")
def cancel_study(news: JobCancelled) -> None:
    """Somebody stopped a worker's job, perhaps before it began or after it died."""
    if news.kind == study_rows.SEARCH_JOB:
        _follow(news.job_id, cancelled=True, error="Cancelled.")


def _follow(job_id: str, *, cancelled: bool, error: str) -> None:
    job = Job.objects.get(pk=job_id)
    with transaction.atomic():
        study_rows.follow_job(job, cancelled=cancelled, by=system(required()), at=timezone.now(), error=error)
