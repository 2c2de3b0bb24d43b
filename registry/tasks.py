"""Doors of the scheduled jobs. Each writes a job row first; the work itself is in `registry.jobs`.

Documented calls work as printed: `run_daily_backtest.apply_async(args=["<customer id>"])`.
"""

from datetime import datetime

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from mlops.jobs import services as jobs
from mlops.jobs.schedules import scheduled
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry import jobs as work  # noqa: F401 - importing makes the kinds of job known
from registry import jobs_datasets, jobs_upkeep  # noqa: F401 - as above
from registry.services.lookups import customer_called


@scheduled(cron="0 6 * * *")
@shared_task
def run_daily_backtest(customer_id: str, *, schedule: str = "", slot: str = "") -> str:
    """Validate the champions on yesterday's truth."""
    return _request("run_daily_backtest", customer_id, schedule, slot)


@scheduled(cron="0 4 * * 0")
@shared_task
def run_weekly_backtest(customer_id: str, *, schedule: str = "", slot: str = "") -> str:
    """Backtest the champions over 90 days."""
    return _request("run_weekly_backtest", customer_id, schedule, slot)


@scheduled(cron="0 3 * * *")
@shared_task
def detect_model_drift(customer_id: str, *, schedule: str = "", slot: str = "") -> str:
    """Check the champions for drift."""
    return _request("detect_model_drift", customer_id, schedule, slot)


@scheduled(cron="30 3 * * *")
@shared_task
def apply_retention(customer_id: str, *, schedule: str = "", slot: str = "") -> str:
    """Remove what is older than it is kept; never evidence."""
    return _request("apply_retention", customer_id, schedule, slot)


@scheduled(cron="30 5 * * *")
@shared_task
def publish_audit_head(customer_id: str, *, schedule: str = "", slot: str = "") -> str:
    """Verify the audit trail and write its head into the log."""
    return _request("publish_audit_head", customer_id, schedule, slot)


def _request(kind: str, customer_id: str, schedule: str, slot: str) -> str:
    customer = customer_called(customer_id)
    with transaction.atomic(), acting(system(customer)):
        job = jobs.request(
            kind=kind,
            payload={},
            label=kind.replace("_", " "),
            by=system(customer, name="schedule" if schedule else "task"),
            at=timezone.now(),
            exclusive_key=kind,
            schedule=schedule,
            slot=datetime.fromisoformat(slot) if slot else None,
        )
    return str(job.pk)
