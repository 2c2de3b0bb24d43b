"""A slot of a schedule fires once, whatever number of beats run and whatever was down."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from celery import shared_task
from celery.schedules import crontab
from django.db import OperationalError, transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from mlops.celery import app
from mlops.jobs import schedules, services
from mlops.jobs.models import Job, Schedule
from mlops.jobs.scheduler import Scheduler
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Forbidden, Principal, Role, system
from tests.conftest import NOON
from tests.mlops.helpers import in_threads

pytestmark = pytest.mark.django_db


@shared_task(name="tests.mlops.count_stock")
def count_stock(customer_id: str, *, schedule: str = "", slot: str = "") -> None:
    """Count the stock."""
    who = system(UUID(customer_id))
    moment = datetime.fromisoformat(slot) if slot else None
    with transaction.atomic(), acting(who):
        services.request(
            kind="count_stock", payload={}, label="count", by=who, at=timezone.now(), exclusive_key="count", schedule=schedule, slot=moment
        )


@pytest.fixture(autouse=True)
def _own_schedule(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(schedules, "_scheduled", {})
    schedules.scheduled(cron="* * * * *")(count_stock)
    return


def schedule_of(customer: Customer) -> Schedule:
    return Schedule.objects.select_related("periodic_task__crontab").get(customer=customer)


def beat() -> Scheduler:
    scheduler = Scheduler(app=app, lazy=False)
    scheduler._finalize.cancel()  # it would write once more when the test process ends, to a database that is gone
    return scheduler


def slots() -> list[datetime]:
    return list(Job.objects.order_by("slot").values_list("slot", flat=True))


def ran(scheduler: Scheduler, *, ticks: int = 4) -> None:
    """Let the beat find its entries due, as it would a minute later."""
    for entry in scheduler.schedule.values():
        entry.last_run_at = timezone.now() - timedelta(minutes=2)
    scheduler._heap = None
    for _ in range(ticks):
        scheduler.tick()


@pytest.mark.parametrize(
    ("cron", "at", "latest", "following"),
    [
        (("*", "*", "*"), "12:34:56", "2026-03-04T12:34", "2026-03-04T12:35"),
        (("*/15", "*", "*"), "12:34:56", "2026-03-04T12:30", "2026-03-04T12:45"),
        (("0", "6", "*"), "12:34:56", "2026-03-04T06:00", "2026-03-05T06:00"),
        (("0", "6", "*"), "06:00:00", "2026-03-04T06:00", "2026-03-05T06:00"),
        (("0", "6", "*"), "05:59:59", "2026-03-03T06:00", "2026-03-04T06:00"),
        (("30", "2", "0"), "12:34:56", "2026-03-01T02:30", "2026-03-08T02:30"),
        (("30", "2", "3"), "02:29:00", "2026-02-25T02:30", "2026-03-04T02:30"),
    ],
)
def test_slots_lie_where_the_crontab_says(cron: tuple[str, str, str], at: str, latest: str, following: str) -> None:
    minute, hour, weekday = cron
    schedule, moment = crontab(minute=minute, hour=hour, day_of_week=weekday), datetime.fromisoformat(f"2026-03-04T{at}+00:00")

    assert schedules.latest_slot(schedule, at=moment) == datetime.fromisoformat(latest).replace(tzinfo=UTC)
    assert schedules.next_slot(schedule, at=moment) == datetime.fromisoformat(following).replace(tzinfo=UTC)


def test_a_monthly_slot_is_found_months_later() -> None:
    schedule = crontab(minute="0", hour="0", day_of_month="31")

    assert schedules.latest_slot(schedule, at=datetime(2026, 3, 4, tzinfo=UTC)) == datetime(2026, 1, 31, tzinfo=UTC)


def test_a_new_customer_has_every_scheduled_job(customer: Customer) -> None:
    schedule = schedule_of(customer)

    assert (schedule.job, schedule.periodic_task.task) == ("count_stock", "tests.mlops.count_stock")
    assert schedule.periodic_task.description == "Count the stock."


def test_a_job_of_a_new_release_reaches_old_customers_and_edited_ones_stay(customer: Customer, other_customer: Customer) -> None:
    Schedule.objects.filter(customer=other_customer).delete()
    PeriodicTask.objects.filter(tiltyard_schedule__customer=customer).update(enabled=False)

    schedules.install_for_everybody()
    schedules.install_for_everybody()

    assert schedule_of(other_customer).periodic_task.enabled
    assert not schedule_of(customer).periodic_task.enabled


@pytest.mark.django_db(transaction=True)
def test_beats_side_by_side_fire_a_slot_once(customer: Customer, other_customer: Customer) -> None:
    beats = [beat() for _ in range(3)]

    for scheduler in beats:
        ran(scheduler)

    fired = list(Job.objects.values_list("customer_id", "slot"))
    assert len(fired) == len(set(fired))
    assert {customer_id for customer_id, _ in fired} == {customer.pk, other_customer.pk}


@pytest.mark.django_db(transaction=True)
def test_beats_at_the_very_same_time_fire_a_slot_once(customer: Customer) -> None:
    name, minutes = schedule_of(customer).periodic_task.name, [NOON + timedelta(minutes=number) for number in range(20)]
    fired: list[bool] = []

    def run(_: int) -> None:
        for slot in minutes:
            arguments = {"name": name, "task_name": count_stock.name, "args": [str(customer.pk)], "kwargs": {}}
            fired.append(schedules.fire(**arguments, slot=slot))
            Job.objects.filter(slot=slot).update(state="succeeded")

    raised = in_threads(3, run)

    assert raised == []
    assert slots() == minutes
    assert sum(fired) == len(minutes)


def test_a_slot_that_comes_while_the_last_one_runs_is_skipped(customer: Customer) -> None:
    name = schedule_of(customer).periodic_task.name
    arguments: dict[str, Any] = {"name": name, "task_name": count_stock.name, "args": [str(customer.pk)], "kwargs": {}}

    fired = [schedules.fire(**arguments, slot=NOON + timedelta(minutes=number)) for number in range(2)]

    assert (fired, slots()) == ([True, False], [NOON])


def daily(customer: Customer, hour: int, *, since: datetime) -> Schedule:
    schedule = schedule_of(customer)
    schedules.configure(schedule=schedule, cron=f"0 {hour} * * *", enabled=True, at=NOON, by=system(customer.pk))
    PeriodicTask.objects.filter(pk=schedule.periodic_task_id).update(date_changed=since)
    return schedule_of(customer)


@pytest.mark.parametrize("down_until", [NOON, NOON + timedelta(hours=11)])
def test_a_slot_missed_by_all_beats_is_caught_up_once(customer: Customer, down_until: datetime) -> None:
    daily(customer, 3, since=NOON - timedelta(days=2))

    fired = [schedules.catch_up(at=down_until + timedelta(minutes=number)) for number in range(3)]

    assert (fired, slots()) == ([1, 0, 0], [NOON.replace(hour=3)])


def test_a_slot_before_a_schedule_was_made_is_nobodys(customer: Customer) -> None:
    daily(customer, 3, since=NOON - timedelta(hours=1))

    assert schedules.catch_up(at=NOON) == 0


def test_a_slot_of_this_moment_is_left_to_the_beats(customer: Customer) -> None:
    daily(customer, 12, since=NOON - timedelta(days=2))

    assert schedules.catch_up(at=NOON + schedules.GRACE / 2) == 0


def test_one_broken_schedule_keeps_no_other_from_being_caught_up(customer: Customer, other_customer: Customer) -> None:
    for one in (customer, other_customer):
        daily(one, 3, since=NOON - timedelta(days=2))
    PeriodicTask.objects.filter(tiltyard_schedule__customer=customer).update(args="not json")

    assert schedules.catch_up(at=NOON) == 1


@pytest.mark.django_db(transaction=True)
def test_a_switched_off_schedule_does_not_fire(customer: Customer) -> None:
    schedules.configure(schedule=schedule_of(customer), cron="* * * * *", enabled=False, at=NOON, by=system(customer.pk))

    ran(beat())

    assert (slots(), schedules.catch_up(at=timezone.now() + timedelta(days=2))) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_a_running_beat_notices_a_change(customer: Customer) -> None:
    scheduler = beat()
    assert len(scheduler.schedule) == 1

    schedules.configure(schedule=schedule_of(customer), cron="* * * * *", enabled=False, at=NOON, by=system(customer.pk))

    assert len(scheduler.schedule) == 0


@pytest.mark.django_db(transaction=True)
def test_a_running_beat_hears_of_a_new_customer(customer: Customer) -> None:
    scheduler = beat()
    assert len(scheduler.schedule) == 1

    tenancy.create_customer(name="Rival Stores", at=NOON)

    assert len(scheduler.schedule) == 2


def test_a_new_customers_jobs_cost_no_query_each_and_share_their_times(django_assert_max_num_queries: Callable[..., Any]) -> None:
    for hour in range(20):
        job = schedules.ScheduledJob(f"at_{hour}", count_stock, f"0 {hour} * * *", "Count the stock.")
        schedules._scheduled[job.name] = job
    with django_assert_max_num_queries(22):
        first = tenancy.create_customer(name="Corner Shops", at=NOON)
    second = tenancy.create_customer(name="Rival Stores", at=NOON)

    times = [
        set(Schedule.objects.filter(customer=one).values_list("job", "periodic_task__crontab__hour", "periodic_task__crontab"))
        for one in (first, second)
    ]
    assert times[0] == times[1]
    assert {(job, hour) for job, hour, _ in times[0]} == {("count_stock", "*"), *((f"at_{hour}", str(hour)) for hour in range(20))}


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_down_at_the_slot_loses_nothing(customer: Customer) -> None:
    scheduler = beat()
    with mock.patch("mlops.jobs.schedules.fire", side_effect=OperationalError("restarting")):
        ran(scheduler)
    scheduler.sync()
    PeriodicTask.objects.update(date_changed=timezone.now() - timedelta(hours=1))

    later = timezone.now().replace(second=0, microsecond=0) + schedules.GRACE

    assert (slots(), scheduler._dirty) == ([], set())
    assert schedules.catch_up(at=later) == 1


@pytest.mark.django_db(transaction=True)
def test_beat_adds_no_schedule_of_its_own(customer: Customer) -> None:
    beat()

    assert PeriodicTask.objects.count() == 1


def test_changing_a_schedule_needs_an_administrator(customer: Customer) -> None:
    by = Principal("user", "kim", Role.ML_MANAGER, customer.pk)

    with pytest.raises(Forbidden):
        schedules.configure(schedule=schedule_of(customer), cron="0 6 * * *", enabled=True, at=NOON, by=by)


@pytest.mark.parametrize("cron", ["61 * * * *", "* * * *", "* * * * * *", "a b c d e", "0 0 30 2 *", "", "*/0 * * * *", "0 0 31 4,6 *"])
def test_times_that_cannot_be_read_or_never_come_are_refused(cron: str) -> None:
    with pytest.raises(schedules.InvalidCron):
        schedules.check_cron(cron)


def test_customers_share_no_change(customer: Customer, other_customer: Customer) -> None:
    tenancy.create_customer(name="A third", at=NOON)
    schedules.configure(schedule=schedule_of(customer), cron="5 5 * * *", enabled=True, at=NOON, by=system(customer.pk))

    assert schedule_of(other_customer).periodic_task.crontab.minute == "*"
    assert schedule_of(customer).periodic_task.crontab.minute == "5"
