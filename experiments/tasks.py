"""Doors of training. The documented call works as printed:

`retrain_forecast_model.apply_async(args=["<customer id>"], kwargs={"trigger": "manual", "data_dir": "data/seed"})`.
"""

from datetime import datetime

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from experiments import jobs as work  # noqa: F401 - importing makes the kinds of job and the subscribers known
from experiments import jobs_training  # noqa: F401 - as above
from experiments.services.retraining import request_retrainings
from mlops.jobs.schedules import scheduled
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.services.lookups import customer_called


@scheduled(cron="0 2 * * 0")
@shared_task
def retrain_forecast_model(
    customer_id: str, trigger: str = "scheduled", data_dir: str | None = None, *, model_name: str = "", schedule: str = "", slot: str = ""
) -> str:
    """Retrain the customer's scheduled forecast models, with auto-promotion for the triggers scheduled and manual.

    Returns the id of the job that asks for one retraining per model; it fails, says why and alerts where that cannot be done. Raises
    NotFound for a customer that does not exist.
    """
    by = system(customer_called(customer_id), name="schedule" if schedule else "task")
    with transaction.atomic(), acting(by):
        job = request_retrainings(
            trigger=trigger,
            by=by,
            at=timezone.now(),
            data_dir=data_dir or "",
            model_name=model_name,
            schedule=schedule,
            slot=datetime.fromisoformat(slot) if slot else None,
        )
    return str(job.pk)
