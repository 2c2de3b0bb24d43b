"""The door through which the broker brings a job's id to a worker."""

from uuid import UUID

from celery import shared_task

from mlops.jobs import runner


@shared_task
def run_job(job_id: str) -> None:
    """Do one attempt of the job, if it is still to be done."""
    runner.run(job_id=UUID(job_id))
