"""Scheduled jobs: which exist, when they fire by default, and the slot each firing claims."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

import structlog
from celery.schedules import BaseSchedule
from django.core.exceptions import ValidationError
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Q
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks

from mlops.audit.services import record
from mlops.errors import DomainError
from mlops.jobs.models import Job, Schedule
from mlops.jobs.services import AlreadyRunning
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal

log = structlog.get_logger(__name__)

CRON_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
GRACE = timedelta(seconds=30)
OUTAGES = (OperationalError, InterfaceError)


class InvalidCron(DomainError):
    """Times that cannot be read, or never come."""

    status = 400
    code = "invalid_cron"


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
    """Give the customer every scheduled job it does not have yet; edited schedules are left alone. At most ten queries, for any number."""
    known = set(Schedule.objects.filter(customer=customer).values_list("job", flat=True))
    wanted = {f"{job.name} · {customer.pk}": job for job in scheduled_jobs() if job.name not in known}
    if not wanted:
        return
    crontabs = _crontabs({job.cron for job in wanted.values()})
    tasks = {task.name: task for task in PeriodicTask.objects.filter(name__in=wanted)}
    made = PeriodicTask.objects.bulk_create(
        PeriodicTask(name=name, task=job.task.name, crontab=crontabs[job.cron], args=f'["{customer.pk}"]', description=job.description)
        for name, job in wanted.items()
        if name not in tasks
    )
    tasks |= {task.name: task for task in made}
    Schedule.objects.bulk_create(Schedule(customer=customer, periodic_task=tasks[name], job=job.name) for name, job in wanted.items())
    PeriodicTasks.update_changed()  # what `save` does for each: it tells the running beats


def check_cron(cron: str) -> None:
    """Raise InvalidCron unless the five fields can be read and fire at least once within a year."""
    fields = cron.split()
    if len(fields) != len(CRON_FIELDS):
        raise InvalidCron("A crontab has five fields, none of them empty.")
    candidate = CrontabSchedule(**dict(zip(CRON_FIELDS, fields, strict=True)), timezone="UTC")
    now = datetime.now(UTC)
    try:
        candidate.full_clean()
        fires = next_slot(candidate.schedule, at=now) - now <= timedelta(days=366)
    except ValidationError as invalid:
        raise InvalidCron(" ".join(invalid.messages)) from None
    except (ValueError, RuntimeError):  # what Celery raises for what it cannot read, and for days that never come
        fires = False
    if not fires:
        raise InvalidCron(f"{cron} does not fire within a year.")


def configure(*, schedule: Schedule, cron: str, enabled: bool, at: datetime, by: Principal) -> Schedule:
    """Change when a schedule fires, and whether it does. The crontab row may be shared, so another one is taken, never changed.

    Raises Forbidden or InvalidCron.
    """
    by.authorize("schedule.configure")
    check_cron(cron)
    with transaction.atomic(), acting(by):
        task = PeriodicTask.objects.select_related("crontab").select_for_update(of=("self",), no_key=True).get(pk=schedule.periodic_task_id)
        before = {"cron": _text(task.crontab), "enabled": task.enabled}
        after = {"cron": cron, "enabled": enabled}
        if before != after:
            record(action="schedule.configured", target=schedule, label=schedule.job, at=at, before=before, after=after, actor=by)
            task.crontab, task.enabled = _crontabs({cron})[cron], enabled
            task.save()  # tells the running beats that something changed
    return schedule


def install_for_everybody() -> None:
    """Give every customer the scheduled jobs it does not have yet: a release may bring new ones."""
    for customer in Customer.objects.order_by("id"):
        with transaction.atomic():
            Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)  # two starting machines migrate one after the other
            install_defaults(customer=customer)


def fire(*, name: str, task_name: str, args: list[Any], kwargs: dict[str, Any], slot: datetime) -> bool:
    """Write the job of one slot. Whoever comes second, from this beat or another, finds the slot claimed: False.

    A slot that comes while the job of an earlier one still runs is not fired: False as well. `catch_up` fires it late if that job ends
    before the beat saves what it has seen; the save moves the schedule's `date_changed`, and older slots are nobody's from then on.
    """
    job = _scheduled[task_name]
    try:
        with transaction.atomic():
            job.task.run(*args, **kwargs, schedule=name, slot=slot.isoformat())
    except IntegrityError:
        if not was_claimed(name=name, slot=slot):
            raise
        return False
    except AlreadyRunning as busy:
        if not was_claimed(name=name, slot=slot):
            log.info("schedule.skipped", schedule=name, slot=slot.isoformat(), running=str(busy.job.pk))
        return False
    log.info("schedule.fired", schedule=name, slot=slot.isoformat())
    return True


def catch_up(*, at: datetime) -> int:
    """Fire the latest slot of every enabled schedule that nobody fired: all beats were down, or the database was. Returns how many.

    Slots before the schedule was made or changed are nobody's; one that is younger than GRACE is left to the beats themselves.
    """
    fired = 0
    ours = Schedule.objects.filter(periodic_task__enabled=True, periodic_task__task__in=list(_scheduled)).exclude(
        periodic_task__crontab=None
    )
    for schedule in ours.select_related("periodic_task__crontab").order_by("id"):
        task = schedule.periodic_task
        try:
            slot = latest_slot(task.crontab.schedule, at=at)
            if slot is None or slot < task.date_changed or at - slot < GRACE or was_claimed(name=task.name, slot=slot):
                continue
            fired += fire(name=task.name, task_name=task.task, args=json.loads(task.args), kwargs=json.loads(task.kwargs), slot=slot)
        except OUTAGES:
            raise
        except Exception:
            # A boundary: one schedule that cannot be read or requested must not keep the others from being caught up.
            log.exception("schedule.failed", schedule=task.name)
    return fired


def was_claimed(*, name: str, slot: datetime) -> bool:
    """Whether some job is this slot of the schedule."""
    whose = Schedule.objects.filter(periodic_task__name=name).values("customer_id")  # the unique index begins with the customer
    return Job.objects.filter(customer_id__in=whose, schedule=name, slot=slot).exists()


def latest_slot(schedule: BaseSchedule, *, at: datetime) -> datetime | None:
    """The schedule's last due moment at or before `at`, whole seconds UTC; None if it has none within a year."""
    for span in (timedelta(minutes=3), timedelta(hours=3), timedelta(days=2), timedelta(days=9), timedelta(days=63), timedelta(days=366)):
        slot = _last_due_since(schedule, at - span, at)
        if slot is not None:
            return slot
    return None


def next_slot(schedule: BaseSchedule, *, at: datetime) -> datetime:
    """The schedule's first due moment after `at`, whole seconds UTC."""
    last_run, delta, _ = schedule.remaining_delta(at)
    due: datetime = last_run + delta
    return due.astimezone(UTC).replace(microsecond=0)


def _crontabs(crons: Collection[str]) -> dict[str, CrontabSchedule]:
    """The oldest row of each of the times, made where there is none. At most two queries."""
    wanted = {cron: {**dict(zip(CRON_FIELDS, cron.split(), strict=True)), "timezone": "UTC"} for cron in crons}
    alike = reduce(or_, (Q(**fields) for fields in wanted.values()))
    found = {_text(row): row for row in CrontabSchedule.objects.filter(alike).order_by("-id")}
    made = CrontabSchedule.objects.bulk_create(CrontabSchedule(**fields) for cron, fields in wanted.items() if cron not in found)
    return found | {_text(row): row for row in made}


def _text(crontab: CrontabSchedule | None) -> str:
    return " ".join(getattr(crontab, name) for name in CRON_FIELDS) if crontab else ""


def _last_due_since(schedule: BaseSchedule, start: datetime, at: datetime) -> datetime | None:
    found, moment = None, start
    while (moment := next_slot(schedule, at=moment)) <= at:
        found = moment
    return found
