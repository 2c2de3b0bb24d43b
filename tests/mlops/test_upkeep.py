"""Upkeep removes what is done with, in bounded batches, and nothing that the trail or a decision points at."""

import os
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone

from mlops import upkeep
from mlops.api.models import IdempotencyRecord
from mlops.audit.services import record
from mlops.jobs import runner
from mlops.jobs.models import Job
from mlops.outbox.models import Message
from mlops.tenancy.context import customer as acting_for
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from registry.models import RetrainingRun
from registry.services.model_settings import register_model
from registry.tasks import apply_retention as task
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
OLD = NOON - timedelta(days=400)


@pytest.fixture(autouse=True)
def temporary(settings: Any, tmp_path: Path) -> Path:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    return tmp_path


def make_job(customer: Customer, *, state: str = "succeeded", finished_at: datetime | None = OLD, **values: Any) -> Job:
    common = {"kind": "x", "label": "x", "requested_by": "x", "created_at": OLD, "due_at": OLD}
    return Job.objects.create(customer=customer, state=state, finished_at=finished_at, **common | values)


def make_message(customer: Customer, **values: Any) -> Message:
    return Message.objects.create(customer=customer, topic="x", payload={}, created_at=OLD, due_at=OLD, **values)


def make_record(key: str, *, age: timedelta) -> None:
    kept = IdempotencyRecord.objects.create(principal="x", key=key, fingerprint="x", expires_at=NOON - age)
    IdempotencyRecord.objects.filter(pk=kept.pk).update(created_at=NOON - age)


def test_everything_that_is_done_with_goes_and_the_rest_stays(scope: Principal, customer: Customer, temporary: Path) -> None:
    gone_job, kept_job = make_job(customer), make_job(customer, finished_at=NOON)
    open_job = make_job(customer, state="queued", finished_at=None)
    make_message(customer, handled_at=OLD)
    kept_messages = {make_message(customer, handled_at=NOON).pk, make_message(customer).pk, make_message(customer, dead_at=OLD).pk}
    make_record("old", age=timedelta(days=8))
    make_record("new", age=timedelta(days=1))
    Session.objects.create(session_key="old", session_data="", expire_date=NOON - timedelta(seconds=1))
    Session.objects.create(session_key="new", session_data="", expire_date=NOON + timedelta(days=1))
    for name in ("stray", "fresh"):
        (temporary / name).write_text("x")
    (temporary / "dataset-stray").mkdir()
    (temporary / "dataset-stray" / "source").write_text("x")
    for name, moment in (("stray", OLD), ("dataset-stray", OLD), ("fresh", NOON)):
        os.utime(temporary / name, (moment.timestamp(), moment.timestamp()))

    counted = upkeep.apply_retention(at=NOON, dry_run=True)
    removed = upkeep.apply_retention(at=NOON)
    again = upkeep.apply_retention(at=NOON)

    expected = {"idempotency records": 1, "jobs": 1, "outbox messages": 1, "sessions": 1, "temporary files": 2}
    assert {name: count for name, count in removed.items() if count} == expected == {name: n for name, n in counted.items() if n}
    assert set(again.values()) == {0}
    assert set(Job.objects.values_list("pk", flat=True)) == {kept_job.pk, open_job.pk}
    assert gone_job.pk not in {kept_job.pk, open_job.pk}
    assert set(Message.objects.values_list("pk", flat=True)) == kept_messages
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == ["new"]
    assert [entry.name for entry in temporary.iterdir()] == ["fresh"]


def test_what_the_trail_or_a_row_points_at_stays(scope: Principal, customer: Customer) -> None:
    cancelled, made, message = make_job(customer, state="cancelled"), make_job(customer), make_message(customer, handled_at=OLD)
    with transaction.atomic():
        record(action="job.cancelled", target=cancelled, label="x", at=OLD)
        record(action="message.resent", target=message, label="x", at=OLD)
    model = register_model(name="shop", by=scope, at=NOON)
    RetrainingRun.objects.create(model=model, model_name="shop", trigger_type="manual", job_id=made.pk, started_at=OLD)

    removed = upkeep.apply_retention(at=NOON)

    assert (removed["jobs"], removed["outbox messages"]) == (0, 0)


def test_the_newest_job_of_a_schedule_stays_so_that_its_slot_does_not_fire_again(scope: Principal, customer: Customer) -> None:
    slots = [make_job(customer, schedule="yearly", slot=OLD + timedelta(days=number)) for number in range(3)]

    assert upkeep.apply_retention(at=NOON)["jobs"] == 2
    assert list(Job.objects.values_list("pk", flat=True)) == [slots[-1].pk]


def test_a_run_works_in_batches_up_to_a_bound_and_the_next_goes_on(
    scope: Principal, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 3)
    monkeypatch.setattr(upkeep, "MOST", 6)
    for _ in range(8):
        make_job(customer)
    asked: list[int] = []

    first = upkeep.apply_retention(at=NOON, between=lambda: asked.append(Job.objects.count()))
    second = upkeep.apply_retention(at=NOON)

    assert (first["jobs"], second["jobs"]) == (6, 2)
    assert {8, 5} <= set(asked)


def test_another_customers_rows_are_left_to_its_own_job(scope: Principal, other_customer: Customer) -> None:
    theirs = make_job(other_customer)
    make_message(other_customer, handled_at=OLD)
    with acting_for(other_customer.pk):
        make_record("old", age=timedelta(days=30))

    removed = upkeep.apply_retention(at=NOON)

    assert set(removed.values()) == {0}
    with acting_for(other_customer.pk):
        assert upkeep.apply_retention(at=NOON)["idempotency records"] == 1
    assert not Job.objects.filter(pk=theirs.pk).exists()


def test_the_scheduled_task_asks_for_a_job_that_says_what_it_removed(customer: Customer, key: Callable[..., str]) -> None:
    make_job(customer, finished_at=timezone.now() - timedelta(days=91))
    job_id = uuid.UUID(task(str(customer.pk)))

    runner.run(job_id=job_id, attempts=0)

    job = Job.objects.get(pk=job_id)
    assert (job.state, job.result["jobs"], job.last_error) == ("succeeded", 1, "")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL gathers its statistics by itself")
def test_a_run_tells_sqlite_how_its_tables_are_filled(scope: Principal, customer: Customer) -> None:
    for _ in range(30):
        make_job(customer, state="queued", finished_at=None)

    upkeep.apply_retention(at=NOON)

    with connection.cursor() as cursor:
        cursor.execute("SELECT stat FROM sqlite_stat1 WHERE tbl = %s", [Job._meta.db_table])
        assert any(row[0].startswith("30 ") for row in cursor.fetchall())
