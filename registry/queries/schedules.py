"""When the customer's schedules fire next."""

from datetime import datetime

from django_celery_beat.models import PeriodicTask

from mlops.jobs.models import Schedule
from mlops.jobs.schedules import next_slot
from mlops.tenancy.context import required

RETRAIN_SCHEDULE = "retrain_forecast_model"


def next_retraining(*, at: datetime) -> datetime | None:
    """When the scheduled models are retrained next; None where the schedule is switched off. One query."""
    mine = Schedule.objects.filter(customer_id=required(), job=RETRAIN_SCHEDULE).values("periodic_task_id")
    task = PeriodicTask.objects.filter(pk__in=mine, enabled=True).select_related("crontab").first()
    return next_slot(task.crontab.schedule, at=at) if task and task.crontab else None
