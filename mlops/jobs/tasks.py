"""The door through which the broker brings a job's id to a worker."""

from uuid import UUID

from celery import shared_task

from mlops.jobs import runner


@shared_task
def run_job(job_id: str, attempts: int) -> None:
    """Do the next attempt of the job, unless there was one since it was sent."""
    runner.run(job_id=UUID(job_id), attempts=attempts)
