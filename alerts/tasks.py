"""Doors of the scheduled jobs. Each writes a job row first; the work itself is in `alerts.jobs`."""

from datetime import datetime

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from alerts import jobs as work  # noqa: F401 - importing makes the kinds of job known
from mlops.jobs import services as jobs
from mlops.jobs.schedules import scheduled
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.services.lookups import customer_called


@scheduled(cron="0 7 * * *")
@shared_task
def send_alert_digest(customer_id: str, *, schedule: str = "", slot: str = "") -> str:
    """Tell subscribers once a day which alerts are open."""
    by = system(customer_called(customer_id), name="schedule" if schedule else "task")
    with transaction.atomic(), acting(by):
        job = jobs.request(
            kind="send_alert_digest",
            payload={},
            label="send alert digest",
            by=by,
            at=timezone.now(),
            exclusive_key="send_alert_digest",
            schedule=schedule,
            slot=datetime.fromisoformat(slot) if slot else None,
        )
    return str(job.pk)
