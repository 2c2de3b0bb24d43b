"""Doors of training. The documented call works as printed:

`retrain_forecast_model.apply_async(args=["<customer id>"], kwargs={"trigger": "manual", "data_dir": "data/seed"})`.
"""

from datetime import datetime
from uuid import UUID

import structlog
from celery import shared_task
from django.db import transaction
from django.utils import timezone

from experiments import jobs as work  # noqa: F401 - importing makes the kinds of job and the subscribers known
from experiments.services.retraining import request_retrain
from mlops.errors import DomainError
from mlops.jobs.schedules import scheduled
from mlops.jobs.services import AlreadyRunning
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.models import RegisteredModel
from registry.states import Trigger

log = structlog.get_logger(__name__)


@scheduled(cron="0 2 * * 0")
@shared_task
def retrain_forecast_model(
    customer_id: str, trigger: str = "scheduled", data_dir: str | None = None, *, model_name: str = "", schedule: str = "", slot: str = ""
) -> list[str]:
    """Retrain the customer's scheduled forecast models, with auto-promotion for the triggers scheduled and manual.

    Returns the ids of the jobs. A model that is being retrained already, or has no data, is passed over and logged.
    """
    customer = UUID(customer_id)
    by = system(customer, name="schedule" if schedule else "task")
    started = []
    with acting(by):
        with transaction.atomic():
            chosen = RegisteredModel.objects.filter(task=RegisteredModel.Task.FORECAST)
            models = list(chosen.filter(name=model_name) if model_name else chosen.filter(scheduled=True).order_by("name"))
        for model in models:
            try:
                run = request_retrain(
                    model=model,
                    trigger=Trigger(trigger),
                    by=by,
                    at=timezone.now(),
                    data_dir=data_dir or "",
                    schedule=f"{schedule} · {model.name}" if schedule else "",
                    slot=datetime.fromisoformat(slot) if slot else None,
                )
            except (AlreadyRunning, DomainError) as refusal:
                log.warning("retraining.passed_over", model=model.name, why=str(refusal))
            else:
                started.append(str(run.job_id))
    return started
