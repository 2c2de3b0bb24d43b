"""Long work of training, and what follows when it ends badly."""

from typing import Any
from uuid import UUID

from django.utils import timezone

from experiments.services import retraining
from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.runner import Attempt, job
from mlops.outbox.events import subscribe
from registry.states import RetrainingStatus


@job("retrain")
def retrain(attempt: Attempt) -> dict[str, Any]:
    """Retrain one model."""
    return retraining.retrain(attempt)


@subscribe(JobFailed, "retraining.failed")
def log_failed_retraining(news: JobFailed) -> None:
    """A retraining's job gave up."""
    if news.kind == "retrain":
        retraining.end_without_version(job_id=UUID(news.job_id), status=RetrainingStatus.FAILED, error=news.error, at=timezone.now())


@subscribe(JobCancelled, "retraining.cancelled")
def log_cancelled_retraining(news: JobCancelled) -> None:
    """Somebody stopped a retraining."""
    if news.kind == "retrain":
        retraining.end_without_version(job_id=UUID(news.job_id), status=RetrainingStatus.CANCELLED, error="Cancelled.", at=timezone.now())
