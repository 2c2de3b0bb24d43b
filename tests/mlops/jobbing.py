"""Jobs of kinds that a test makes itself."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from mlops.jobs import runner, services
from mlops.jobs.models import Job
from mlops.jobs.runner import Attempt
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from tests.conftest import NOON

Work = Callable[[Attempt], dict[str, Any]]


def make_job(customer: Customer, kind: str = "test", **values: Any) -> Job:
    with acting(system(customer.pk)), transaction.atomic():
        return services.request(kind=kind, payload={"n": 1}, label="Train demand", by=system(customer.pk), at=NOON, **values)


def do(work: Work, job: Job) -> Job:
    runner.job(job.kind)(work)
    job.refresh_from_db()
    runner.run(job_id=job.pk, attempts=job.attempt)
    job.refresh_from_db()
    return job


def expire(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
