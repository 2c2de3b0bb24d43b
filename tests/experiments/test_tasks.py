"""The documented tasks: their signatures, the jobs they write, the slots they claim."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections, transaction

from experiments.tasks import retrain_forecast_model
from mlops.errors import NotFound
from mlops.jobs import runner, schedules, services
from mlops.jobs.events import JobFailed
from mlops.jobs.models import Job, JobState
from mlops.outbox.models import Message
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from registry.models import RetrainingRun
from registry.services.dataset_files import data_path
from registry.tasks import detect_model_drift, run_daily_backtest, run_weekly_backtest
from tests.experiments.test_retraining import make_model

TASKS = [retrain_forecast_model, run_daily_backtest, run_weekly_backtest, detect_model_drift]
SLOT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


@pytest.mark.django_db
def test_the_documented_call_writes_a_job_that_starts_every_retraining(customer: Customer, scope: Principal) -> None:
    make_model(scope, "demand"), make_model(scope, "returns")

    answer = retrain_forecast_model.apply(args=[str(customer.pk)], kwargs={"trigger": "new_data"}).get()

    job = Job.objects.get(pk=answer)
    runner.run(job_id=job.pk, attempts=0)
    job.refresh_from_db()
    assert (job.kind, job.requested_by, job.state) == ("retrain_models", "task", JobState.SUCCEEDED)
    assert list(job.result["started"]) == ["demand", "returns"]
    assert [run.trigger_type for run in RetrainingRun.objects.all()] == ["new_data", "new_data"]


@pytest.mark.django_db
def test_one_model_may_be_named(customer: Customer, scope: Principal) -> None:
    make_model(scope, "demand", scheduled=False), make_model(scope, "returns")

    job_id = retrain_forecast_model(str(customer.pk), model_name="demand")

    runner.run(job_id=Job.objects.get(pk=job_id).pk, attempts=0)
    assert [run.model_name for run in RetrainingRun.objects.all()] == ["demand"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"trigger": "whim"}, "The trigger must be one of: scheduled"),
        ({"data_dir": "/etc"}, "allowed roots"),
        ({"data_dir": "nowhere"}, "There is no such file or folder"),
        ({"model_name": "nobody"}, "There is no model named nobody"),
    ],
)
def test_a_call_that_cannot_be_meant_is_a_job_that_failed_and_says_why(
    customer: Customer, scope: Principal, options: dict[str, str], why: str
) -> None:
    make_model(scope)

    job_id = retrain_forecast_model(str(customer.pk), **options)
    runner.run(job_id=UUID(job_id), attempts=0)

    job = Job.objects.get()
    assert (job.state, why in job.last_error) == (JobState.FAILED, True), job.last_error
    assert not RetrainingRun.objects.exists()
    assert Message.objects.filter(topic=JobFailed.TOPIC).exists()


@pytest.mark.django_db
def test_the_documented_folder_is_found_below_the_root_of_its_name(
    customer: Customer, scope: Principal, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_ROOTS = [tmp_path / "data"]
    (tmp_path / "data" / "seed").mkdir(parents=True)
    make_model(scope)

    runner.run(job_id=UUID(retrain_forecast_model(str(customer.pk), trigger="manual", data_dir="data/seed")), attempts=0)

    assert Job.objects.get(kind="retrain").payload["data_dir"] == "data/seed"
    assert data_path("data/seed") == tmp_path / "data" / "seed"


@pytest.mark.django_db
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("customer_id", [str(uuid4()), "nobody"], ids=["unknown", "no_id"])
def test_an_unknown_customer_is_not_found(task: object, customer_id: str) -> None:
    with pytest.raises(NotFound, match="There is no customer"):
        task(customer_id)


@pytest.mark.django_db
@pytest.mark.parametrize("task", TASKS[1:], ids=lambda task: task.name)
def test_a_scheduled_job_without_models_succeeds(task: object, customer: Customer, scope: Principal) -> None:
    job = Job.objects.get(pk=task(str(customer.pk)))

    runner.run(job_id=job.pk, attempts=0)

    job.refresh_from_db()
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"models": {}})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_three_schedulers_at_once_claim_a_slot_once(task: object, customer: Customer, scope: Principal) -> None:
    with acting(scope), transaction.atomic():
        make_model(scope)
    name = schedules.Schedule.objects.get(customer=customer, job=task.name.rsplit(".", 1)[-1]).periodic_task.name

    def fire(_: int) -> bool:
        try:
            return schedules.fire(name=name, task_name=task.name, args=[str(customer.pk)], kwargs={}, slot=SLOT)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(fire, range(3)))
    job = Job.objects.get()
    started = services.start(job_id=job.pk, attempts=0)
    services.succeed(job_id=job.pk, attempt=started.attempt, result={})

    assert sorted(answers) == [False, False, True]
    assert (job.schedule, job.slot, job.requested_by) == (name, SLOT, "schedule")
    assert schedules.was_claimed(name=name, slot=SLOT)
    assert fire(0) is False
    assert Job.objects.count() == 1
