"""Asking for retrainings: one at a time per model, and a log that follows the job."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connections, transaction

from experiments.services.retraining import NotRetrainable, end_without_version, request_retrain, start_retrainings
from mlops.errors import InvalidField
from mlops.jobs import services as jobs
from mlops.jobs.models import Job, JobState
from mlops.jobs.services import AlreadyRunning
from mlops.outbox.models import Message
from mlops.outbox.services import handle
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Forbidden, Principal
from registry.models import Dataset, DatasetVersion, RegisteredModel, RetrainingRun
from registry.services.model_settings import register_model
from registry.states import OPEN_RETRAININGS, RetrainingStatus, Trigger
from tests.experiments.chain import NOON, job_of, news


def make_model(by: Principal, name: str = "demand", **values: object) -> RegisteredModel:
    """A model with a data set that is empty."""
    dataset = Dataset.objects.create(name=f"{name}.sales", created_by=by.name, created_at=NOON)
    return register_model(name=name, dataset=dataset, by=by, at=NOON, **values)


def ask(model: RegisteredModel, by: Principal, **options: object) -> RetrainingRun:
    return request_retrain(**({"model": model, "trigger": Trigger.MANUAL, "by": by, "at": NOON} | options))


def start(run: RetrainingRun) -> Job:
    """A worker has begun, and the log says so."""
    job = jobs.start(job_id=run.job_id, attempts=0)
    assert job is not None
    RetrainingRun.objects.filter(pk=run.pk).update(status=RetrainingStatus.RUNNING)
    return job


@pytest.mark.django_db
def test_asking_writes_the_job_and_the_log(scope: Principal) -> None:
    run = ask(make_model(scope), scope, trigger=Trigger.NEW_DATA, reason="A new week.")

    job = job_of(run)
    assert (job.kind, job.state, job.requested_by) == ("retrain", JobState.QUEUED, scope.name)
    assert (run.status, run.trigger_type, run.reason, run.requested_by) == ("queued", "new_data", "A new week.", scope.name)


@pytest.mark.django_db
def test_a_viewer_may_not_ask(scope: Principal, principal: Callable[..., Principal]) -> None:
    with pytest.raises(Forbidden):
        ask(make_model(scope), principal("viewer"))


@pytest.mark.django_db
def test_only_forecast_models_are_retrained(scope: Principal) -> None:
    with pytest.raises(NotRetrainable):
        ask(register_model(name="churn", task="classification", by=scope, at=NOON), scope)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"data_dir": "/etc"}, "data_dir"),
        ({"data_dir": "../../etc"}, "data_dir"),
        ({"data_dir": "no/such/folder"}, "data_dir"),
        ({"recipe": {"rounds": 0}}, "recipe.rounds"),
        ({"recipe": {"kind": "prophet"}}, "recipe.kind"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(scope: Principal, options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        ask(make_model(scope), scope, **options)

    assert refused.value.field == field
    assert not Job.objects.exists()
    assert not RetrainingRun.objects.exists()


@pytest.mark.django_db
def test_a_model_without_data_is_refused(scope: Principal) -> None:
    with pytest.raises(InvalidField, match="no data source"):
        ask(register_model(name="bare", by=scope, at=NOON), scope)


@pytest.mark.django_db
def test_a_second_request_names_the_first_ones_job(scope: Principal) -> None:
    model = make_model(scope)
    first = ask(model, scope)

    with pytest.raises(AlreadyRunning) as refused:
        ask(model, scope)

    assert refused.value.job.pk == first.job_id


@pytest.mark.django_db
def test_a_failed_retraining_does_not_bar_the_next_one(scope: Principal) -> None:
    model = make_model(scope)
    first = ask(model, scope)
    jobs.fail(job=start(first), error="The data is gone.", final=True)

    second = ask(model, scope)

    first.refresh_from_db()
    assert (first.status, first.metadata) == ("failed", {"error": "The data is gone."})
    assert second.status == "queued"
    assert [message["error"] for message in news("registry.retrain_failed")] == ["The data is gone."]


@pytest.mark.django_db
def test_the_late_news_of_a_failure_changes_nothing_more(scope: Principal) -> None:
    model = make_model(scope)
    first = ask(model, scope)
    jobs.fail(job=start(first), error="The data is gone.", final=True)
    second = ask(model, scope)

    handle(message_id=Message.objects.get(topic="jobs.failed").pk, attempts=0, at=NOON)

    second.refresh_from_db()
    assert second.status == "queued"
    assert len(news("registry.retrain_failed")) == 1


@pytest.mark.django_db
def test_a_cancelled_retraining_does_not_bar_the_next_one(scope: Principal) -> None:
    model = make_model(scope)
    first = ask(model, scope)
    jobs.cancel(job=job_of(first), at=NOON, by=scope)

    ask(model, scope)

    first.refresh_from_db()
    assert (first.status, news("registry.retrain_failed")) == ("cancelled", [])


@pytest.mark.django_db
def test_the_log_hears_that_a_waiting_job_was_cancelled(scope: Principal) -> None:
    run = ask(make_model(scope), scope)
    jobs.cancel(job=job_of(run), at=NOON, by=scope)

    handle(message_id=Message.objects.get(topic="jobs.cancelled").pk, attempts=0, at=NOON)

    run.refresh_from_db()
    assert (run.status, run.metadata) == ("cancelled", {"error": "Cancelled."})


@pytest.mark.django_db
def test_an_abandoned_attempt_leaves_the_retraining_running(scope: Principal) -> None:
    model = make_model(scope)
    run = ask(model, scope)
    jobs.fail(job=start(run), error="The worker stopped answering.", final=False)

    with pytest.raises(AlreadyRunning):
        ask(model, scope)

    run.refresh_from_db()
    assert (run.status, job_of(run).state) == ("running", JobState.QUEUED)


@pytest.mark.django_db
def test_ending_is_told_once(scope: Principal) -> None:
    run = ask(make_model(scope), scope)

    for _ in range(2):
        end_without_version(job_id=run.job_id, status=RetrainingStatus.FAILED, error="No.", at=NOON)

    assert len(news("registry.retrain_failed")) == 1


@pytest.mark.django_db
def test_starting_all_passes_over_who_cannot(scope: Principal) -> None:
    busy, free = make_model(scope, "busy"), make_model(scope, "free")
    make_model(scope, "by_hand", scheduled=False)
    register_model(name="bare", by=scope, at=NOON)
    ask(busy, scope)

    done = start_retrainings(trigger=Trigger.SCHEDULED, by=scope, at=NOON, data_dir="", model_name="")

    assert list(done["started"]) == ["free"]
    assert sorted(done["passed_over"]) == ["bare", "busy"]
    assert RetrainingRun.objects.get(model=free).trigger_type == "scheduled"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("models", [1, 2])
def test_eight_requests_at_once_start_one_retraining_per_model(scope: Principal, models: int) -> None:
    with transaction.atomic():
        chosen = [make_model(scope, f"demand_{number}") for number in range(models)]

    def request(number: int) -> str:
        try:
            with acting(scope):
                return str(ask(chosen[number % models], scope).job_id)
        except AlreadyRunning as busy:
            return f"busy {busy.job.pk}"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(request, range(8)))

    with transaction.atomic():
        started = {str(run.job_id) for run in RetrainingRun.objects.all()}
    assert len(started) == models
    assert sorted(answers) == sorted([*started, *(f"busy {job}" for job in started for _ in range(8 // models - 1))])


def test_the_open_states_are_those_of_the_databases_constraint() -> None:
    constraint = next(one for one in RetrainingRun._meta.constraints if one.name == "one_retraining_per_model")

    assert constraint.condition.children == [("status__in", list(OPEN_RETRAININGS))]


def test_data_that_a_backtest_uses_up_is_refused_with_the_setting_that_matters(scope: Principal, model: RegisteredModel) -> None:
    data = DatasetVersion.objects.get(dataset=model.dataset)
    assert data.last_day is not None
    data.pk, data.number, data.first_day = uuid4(), data.number + 1, data.last_day - timedelta(days=27)
    data.save(force_insert=True)

    with pytest.raises(InvalidField, match=r"28 days, all of which a backtest over 28 needs.*backtest_days") as refusal:
        request_retrain(model=model, trigger=Trigger.MANUAL, by=scope, at=NOON)

    assert refusal.value.field == "dataset_id"
    assert not RetrainingRun.objects.exists()
