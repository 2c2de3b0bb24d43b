"""Long work on splits and studies, and what follows when it ends badly."""

from typing import Any

from experiments.services import split_preparing
from experiments.services.splitting import PREPARE_JOB
from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.models import Job
from mlops.jobs.runner import Attempt, job
from mlops.outbox.events import subscribe


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
