"""Scheduled jobs: which exist, when they fire by default, and the slot each firing claims."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from celery.schedules import BaseSchedule
from django.db import IntegrityError, transaction
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from mlops.jobs.models import Job, Schedule
from mlops.jobs.services import AlreadyRunning
from mlops.tenancy.models import Customer

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ScheduledJob:
    """A task that every customer has on a schedule. `cron` is `minute hour day-of-month month day-of-week`, in UTC."""

    name: str
    task: Any
    cron: str
    description: str


_scheduled: dict[str, ScheduledJob] = {}


def scheduled(*, cron: str) -> Callable[[Any], Any]:
    """Decorator above `shared_task`: give every customer this task, by default at these times."""

    def register(task: Any) -> Any:
        name = task.name.rsplit(".", 1)[-1]
        _scheduled[task.name] = ScheduledJob(name, task, cron, (task.__doc__ or "").strip().splitlines()[0])
        return task

    return register


def scheduled_jobs() -> list[ScheduledJob]:
    """All scheduled jobs, by name."""
    return sorted(_scheduled.values(), key=lambda job: job.name)


def install_defaults(*, customer: Customer) -> None:
    """Give the customer every scheduled job it does not have yet; edited schedules are left alone."""
    for job in scheduled_jobs():
        if Schedule.objects.filter(customer=customer, job=job.name).exists():
            continue
        minute, hour, day, month, weekday = job.cron.split()
        crontab, _ = CrontabSchedule.objects.get_or_create(
            minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday, timezone="UTC"
        )
        task = PeriodicTask.objects.create(
            name=f"{job.name} · {customer.pk}", task=job.task.name, crontab=crontab, args=f'["{customer.pk}"]', description=job.description
        )
        Schedule.objects.create(customer=customer, periodic_task=task, job=job.name)


def fire(*, name: str, task_name: str, args: list[Any], kwargs: dict[str, Any], slot: datetime) -> bool:
    """Write the job of one slot. Whoever comes second, from this beat or another, finds the slot claimed: False."""
    job = _scheduled[task_name]
    try:
        with transaction.atomic():
            job.task.run(*args, **kwargs, schedule=name, slot=slot.isoformat())
    except IntegrityError:
        return False
    except AlreadyRunning as busy:
        log.info("schedule.skipped", schedule=name, slot=slot.isoformat(), running=str(busy.job.pk))
        return False
    log.info("schedule.fired", schedule=name, slot=slot.isoformat())
    return True


def was_claimed(*, name: str, slot: datetime) -> bool:
    """Whether some job is this slot of the schedule."""
    return Job.objects.filter(schedule=name, slot=slot).exists()


def latest_slot(schedule: BaseSchedule, *, at: datetime) -> datetime | None:
    """The schedule's last due moment at or before `at`, whole seconds UTC; None if it has none within a year."""
    for span in (timedelta(minutes=3), timedelta(hours=3), timedelta(days=2), timedelta(days=9), timedelta(days=63), timedelta(days=366)):
        slot = _last_due_since(schedule, at - span, at)
        if slot is not None:
            return slot
    return None


def next_slot(schedule: BaseSchedule, *, at: datetime) -> datetime:
    """The schedule's first due moment after `at`."""
    return _next_due(schedule, at)


def _last_due_since(schedule: BaseSchedule, start: datetime, at: datetime) -> datetime | None:
    found, moment = None, start
    while (moment := _next_due(schedule, moment)) <= at:
        found = moment
    return found


def _next_due(schedule: BaseSchedule, moment: datetime) -> datetime:
    last_run, delta, _ = schedule.remaining_delta(moment)
    return (last_run + delta).astimezone(UTC).replace(microsecond=0)
