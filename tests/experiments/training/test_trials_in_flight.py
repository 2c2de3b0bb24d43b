"""A worker that has its study to itself goes on while PostgreSQL writes: what it learns late, and what it may do meanwhile."""

from typing import Any

import optuna
import pytest
from django.db import IntegrityError, connection, transaction
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from experiments.models import Study, Trial
from experiments.services.round_trip import Answers, Statement, run
from experiments.services.study_objectives import TabularObjective
from experiments.services.study_rows import open_jobs
from experiments.services.trial_rows import BudgetSpent, Owner, StudyStopped, TrialTaken
from experiments.services.trial_storage import TrialStorage
from mlops.database.postgresql import in_flight
from mlops.database.reading import reading
from mlops.jobs import runner
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from tests.conftest import NOON
from tests.experiments.training.studying import ask_for_study, make_study

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres_only]


@pytest.fixture
def study(scope: Principal) -> Study:
    with transaction.atomic():
        return make_study(n_trials=3)


def alone(study: Study, owner: Owner | None = None) -> TrialStorage:
    return TrialStorage(study, owner=owner, shared=False, chained=True)


def complete(storage: TrialStorage, number: int, value: float = 1.0) -> None:
    storage.set_trial_state_values(number, TrialState.COMPLETE, [value])


@transaction.atomic
def change(study: Study, **values: Any) -> None:
    Study.objects.filter(pk=study.pk).update(**values)


@transaction.atomic
def rows_of(study: Study) -> list[tuple[int, str, float | None]]:
    return list(Trial.objects.filter(study=study).order_by("number").values_list("number", "state", "value"))


def test_trials_one_after_the_other_are_written_as_told(study: Study) -> None:
    storage = alone(study)

    for value in (3.0, 1.0, 2.0):
        number = storage.create_new_trial(0)
        storage.set_trial_param(number, "x", value / 4, FloatDistribution(0, 1))
        storage.confirm()
        complete(storage, number, value)
    storage.settle()

    with reading():
        study.refresh_from_db()
        params = list(Trial.objects.order_by("number").values_list("params__x", flat=True))
    assert rows_of(study) == [(0, "complete", 3.0), (1, "complete", 1.0), (2, "complete", 2.0)]
    assert params == [0.75, 0.25, 0.5]
    assert (study.last_trial_number, study.finished_trials, study.best_number, study.best_value) == (3, 3, 1, 1.0)


def test_the_end_of_a_trial_is_there_once_the_next_is_confirmed(study: Study) -> None:
    storage = alone(study)
    complete(storage, storage.create_new_trial(0))

    storage.create_new_trial(0)
    storage.confirm()

    assert rows_of(study) == [(0, "complete", 1.0), (1, "running", None)]


def test_the_budget_is_known_without_asking(study: Study) -> None:
    storage = alone(study)
    for _ in range(3):
        complete(storage, storage.create_new_trial(0))

    with pytest.raises(BudgetSpent):
        storage.create_new_trial(0)
    assert [state for _, state, _ in rows_of(study)] == ["complete"] * 3


def test_a_stopped_study_is_noticed_before_the_trial_does_any_work(study: Study) -> None:
    storage = alone(study)
    complete(storage, storage.create_new_trial(0))
    change(study, cancel_requested_at=NOON)

    storage.create_new_trial(0)
    with pytest.raises(StudyStopped):
        storage.confirm()
    storage.settle()

    assert rows_of(study) == [(0, "complete", 1.0)]
    assert [trial.number for trial in storage.get_all_trials(0)] == [0]


def test_a_trial_that_was_taken_meanwhile_is_noticed_with_the_next(study: Study) -> None:
    storage = alone(study, Owner(study.pk, 1))
    complete(storage, storage.create_new_trial(0))
    with transaction.atomic():
        Trial.objects.filter(study=study).update(attempt=2)

    storage.create_new_trial(0)
    with pytest.raises(TrialTaken):
        storage.confirm()

    with reading():
        study.refresh_from_db()
    assert (study.finished_trials, rows_of(study)[0]) == (0, (0, "running", None))


def test_a_number_that_somebody_else_took_is_not_believed(study: Study) -> None:
    storage, given_up_on = alone(study, Owner(study.pk, 2)), alone(study, Owner(study.pk, 1))
    given_up_on.create_new_trial(0)
    given_up_on.confirm()

    assert storage.create_new_trial(0) == 0
    with pytest.raises(TrialTaken):
        storage.confirm()


def test_whatever_is_asked_of_the_storage_meanwhile_waits(study: Study) -> None:
    storage = alone(study)

    number = storage.create_new_trial(0)
    storage.set_study_user_attr(0, "seen", True)
    complete(storage, number)
    storage.create_new_trial(0)

    assert storage.get_study_user_attrs(0) == {"seen": True}
    assert rows_of(study) == [(0, "complete", 1.0), (1, "running", None)]


def test_statements_that_were_discarded_do_their_work_once(study: Study) -> None:
    storage = alone(study)
    complete(storage, storage.create_new_trial(0))
    storage.create_new_trial(0)
    storage.confirm()
    complete(storage, 1)
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")

    storage.create_new_trial(0)
    storage.confirm()

    with reading():
        study.refresh_from_db()
    assert rows_of(study) == [(0, "complete", 1.0), (1, "complete", 1.0), (2, "running", None)]
    assert (study.last_trial_number, study.finished_trials) == (3, 2)


def test_policies_hold_for_what_is_in_flight(study: Study, other_customer: Customer) -> None:
    with acting(system(other_customer.pk)):
        storage = alone(study)
        storage.create_new_trial(0)
        with pytest.raises(KeyError):
            storage.confirm()
        seen = run([Statement("SELECT count(*) FROM studies")])

    assert (seen, rows_of(study)) == ([[(0,)]], [])


def test_an_error_comes_as_django_raises_it_and_leaves_the_connection_whole(study: Study) -> None:
    storage = alone(study)
    storage.create_new_trial(0)
    storage.confirm()
    again = Statement("INSERT INTO study_trials SELECT * FROM study_trials WHERE study_id = %s", [study.pk])

    answers = Answers([Statement("UPDATE studies SET last_trial_number = 9 WHERE id = %s", [study.pk]), again])
    with pytest.raises(IntegrityError):
        answers.rows()

    with reading():
        study.refresh_from_db()
    assert study.last_trial_number == 1


def test_an_interrupted_answer_is_not_read_by_the_next_to_ask(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers([Statement("SELECT 1, pg_sleep(0.2)")])

    with monkeypatch.context() as interrupted:
        interrupted.setattr(in_flight.select, "select", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            answers.rows()

    assert run([Statement("SELECT 2")]) == [[(2,)]]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_search_that_is_cancelled_between_two_trials_begins_no_other(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction.atomic():
        study = ask_for_study(scope, n_trials=5)
    real, tried = TabularObjective.__call__, []

    def then_cancel(self: TabularObjective, params: dict[str, Any], report: Any) -> Any:
        tried.append(params)
        outcome = real(self, params, report)
        change(study, cancel_requested_at=NOON)
        return outcome

    monkeypatch.setattr(TabularObjective, "__call__", then_cancel)
    with reading():
        (job,) = open_jobs(study)
    runner.run(job_id=job.pk, attempts=0)

    with reading():
        study.refresh_from_db()
    assert (study.status, study.finished_trials, len(tried)) == ("cancelled", 1, 1)
    assert [state for _, state, _ in rows_of(study)] == ["complete"]


def test_optuna_samples_while_the_database_writes(study: Study) -> None:
    storage = alone(study)
    searched = optuna.load_study(study_name=storage.get_study_name_from_id(0), storage=storage, sampler=optuna.samplers.TPESampler(seed=1))

    searched.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    storage.settle()

    with reading():
        study.refresh_from_db()
    assert (study.finished_trials, study.best_value) == (3, searched.best_value)
