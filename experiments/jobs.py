"""Long work of training, and what follows when it ends badly."""

from typing import Any
from uuid import UUID

from django.utils import timezone

from experiments.services import retraining, running, training
from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.runner import Attempt, job
from mlops.outbox.events import subscribe
from mlops.tenancy.context import required
from mlops.tenancy.roles import system
from registry.events import VersionMoved, VersionRegistered
from registry.services.refusals import refusing
from registry.states import RetrainingStatus, VersionStatus


@job("retrain")
def retrain(attempt: Attempt) -> dict[str, Any]:
    """Retrain one model."""
    return training.retrain(attempt)


@job("retrain_models")
def retrain_models(attempt: Attempt) -> dict[str, Any]:
    """Request the retraining of each model: all requests and the end of this job are one commit."""
    with refusing(), attempt.fenced():
        result = retraining.start_retrainings(
            trigger=attempt.payload["trigger"],
            by=system(attempt.customer_id, name=attempt.requested_by),
            at=timezone.now(),
            data_dir=attempt.payload["data_dir"],
            model_name=attempt.payload["model_name"],
        )
        attempt.finish(result)
    return result


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


@subscribe(VersionRegistered, "experiments.registered")
def begin_experiment(news: VersionRegistered) -> None:
    """A version registered under an approved experiment sets it in progress."""
    running.follow_registration(version_id=UUID(news.version_id), by=system(required(), name=news.actor), at=timezone.now())


@subscribe(VersionMoved, "experiments.shadowed")
def shadow_experiment(news: VersionMoved) -> None:
    """An experiment whose version sees shadow traffic is shadow testing."""
    if news.target == VersionStatus.SHADOW:
        running.follow_shadow(version_id=UUID(news.version_id), by=system(required(), name=news.actor), at=timezone.now())
