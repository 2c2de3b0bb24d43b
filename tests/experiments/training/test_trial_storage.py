"""Our storage against Optuna's own suite for storages, and what it promises beyond that."""

import math
from collections.abc import Container, Sequence
from typing import Any

import optuna
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import FrozenTrial, TrialState

from experiments.models import Study, Trial
from experiments.services import trial_rows as rows
from experiments.services import trial_storage
from experiments.services.trial_rows import BudgetSpent, Owner, StudyStopped, TrialTaken
from experiments.services.trial_storage import BoundToOneStudy, TrialStorage
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from tests.conftest import NOON
from tests.experiments.training.studying import make_study

SPAN = 10_000


class ManyStudies(BaseStorage):
    """Several studies as Optuna's suite wants them: each has its own `TrialStorage`, which numbers its trials from 0."""

    def __init__(self) -> None:
        self._stores: dict[int, TrialStorage] = {}
        self._names: dict[int, str] = {}
        self._made = 0

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        if study_name is not None and study_name in self._names.values():
            raise DuplicatedStudyError
        (direction,) = directions
        self._made += 1
        study = make_study(direction=direction.name.lower(), n_trials=SPAN)
        self._stores[self._made] = TrialStorage(study)
        self._names[self._made] = optuna.storages._base.DEFAULT_STUDY_NAME_PREFIX + str(study.pk) if study_name is None else study_name
        return self._made

    def delete_study(self, study_id: int) -> None:
        del self._stores[study_id], self._names[study_id]

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._stores[study_id].set_study_user_attr(0, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._stores[study_id].set_study_system_attr(0, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return {name: study_id for study_id, name in self._names.items()}[study_name]

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._names[study_id]

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._stores[study_id].get_study_directions(0)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._stores[study_id].get_study_user_attrs(0)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._stores[study_id].get_study_system_attrs(0)

    def get_all_studies(self) -> list[FrozenStudy]:
        made = []
        for study_id, store in self._stores.items():
            (one,) = store.get_all_studies()
            made.append(FrozenStudy(self._names[study_id], one.direction, one.user_attrs, one.system_attrs, study_id))
        return made

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return study_id * SPAN + self._stores[study_id].create_new_trial(0, template_trial)

    def set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float, distribution: Any) -> None:
        store, number = self._at(trial_id)
        store.set_trial_param(number, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        store, number = self._at(trial_id)
        return store.set_trial_state_values(number, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        store, number = self._at(trial_id)
        store.set_trial_intermediate_value(number, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        store, number = self._at(trial_id)
        store.set_trial_user_attr(number, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        store, number = self._at(trial_id)
        store.set_trial_system_attr(number, key, value)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        store, number = self._at(trial_id)
        return self._numbered(trial_id // SPAN, store.get_trial(number))

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return [self._numbered(study_id, one) for one in self._stores[study_id].get_all_trials(0, deepcopy, states)]

    def _at(self, trial_id: int) -> tuple[TrialStorage, int]:
        return self._stores[trial_id // SPAN], trial_id % SPAN

    def _numbered(self, study_id: int, trial: FrozenTrial) -> FrozenTrial:
        same = optuna.trial.FrozenTrial.__new__(FrozenTrial)
        same.__dict__ = {**trial.__dict__, "_trial_id": study_id * SPAN + trial.number}
        return same


class FreshlyRead(ManyStudies):
    """The same, but whatever is read comes from the rows, through a storage that has just been made."""

    def get_trial(self, trial_id: int) -> FrozenTrial:
        store, number = self._at(trial_id)
        return self._numbered(trial_id // SPAN, self._again(store).get_trial(number))

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return [self._numbered(study_id, one) for one in self._again(self._stores[study_id]).get_all_trials(0, deepcopy, states)]

    def _again(self, store: TrialStorage) -> TrialStorage:
        for number in list(store._drafts):
            store.flush(number)
        return TrialStorage(Study.objects.get(pk=store._study_id))


class _Suite(StorageTestCase):
    """Optuna's suite without what one study with one objective cannot have."""

    test_get_best_trial_for_multi_objective_optimization = None  # one objective
    test_pickle_storage = None  # nothing here is ever pickled

    def test_set_and_get_study_directions(self, storage: BaseStorage) -> None:
        for direction in (StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE):
            study_id = storage.create_new_study(directions=[direction])

            assert storage.get_study_directions(study_id) == [direction]


@pytest.mark.usefixtures("scope")
class TestOptunasSuite(_Suite):
    """Every call of the suite answered from the storage that wrote."""

    @pytest.fixture
    def storage(self) -> BaseStorage:
        return ManyStudies()


@pytest.mark.usefixtures("scope")
class TestOptunasSuiteFromTheRows(_Suite):
    """Every call of the suite answered from the rows alone."""

    @pytest.fixture
    def storage(self) -> BaseStorage:
        return FreshlyRead()


@pytest.fixture
def study(scope: Principal) -> Study:
    return make_study(n_trials=4)


def begin(storage: TrialStorage) -> int:
    return storage.create_new_trial(0)


def test_numbers_have_no_gap_and_end_with_the_budget(study: Study) -> None:
    first, second = TrialStorage(study), TrialStorage(study)

    numbers = [begin(first), begin(second), begin(first), begin(second)]

    with pytest.raises(BudgetSpent):
        begin(first)
    study.refresh_from_db()
    assert (numbers, study.last_trial_number) == ([0, 1, 2, 3], 4)


@pytest.mark.parametrize("change", [{"cancel_requested_at": NOON}, {"status": "cancelled"}])
def test_no_trial_begins_in_a_study_that_was_stopped(study: Study, change: dict[str, Any]) -> None:
    storage = TrialStorage(study)
    Study.objects.filter(pk=study.pk).update(**change)

    with pytest.raises(StudyStopped):
        begin(storage)
    study.refresh_from_db()
    assert (study.last_trial_number, Trial.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("direction", "values", "best"),
    [("minimize", [2.0, 1.0, 1.0], (1.0, 1)), ("maximize", [2.0, 3.0, 1.0], (3.0, 1)), ("minimize", [1.0, 2.0, 3.0], (1.0, 0))],
)
def test_finishing_counts_and_keeps_the_best(study: Study, direction: str, values: list[float], best: tuple[float, int]) -> None:
    study = make_study(direction=direction)
    storage = TrialStorage(study)

    for value in values:
        storage.set_trial_state_values(begin(storage), TrialState.COMPLETE, [value])
    storage.set_trial_state_values(begin(storage), TrialState.PRUNED, [-9.0 if direction == "minimize" else 9.0])
    storage.set_trial_state_values(begin(storage), TrialState.FAIL)

    study.refresh_from_db()
    assert (study.best_value, study.best_number, study.finished_trials) == (*best, 5)


def test_of_equal_values_the_lowest_number_is_the_best_whoever_finishes_first(study: Study) -> None:
    storage = TrialStorage(study)
    first, second = begin(storage), begin(storage)

    for number in (second, first):
        storage.set_trial_state_values(number, TrialState.COMPLETE, [1.0])

    study.refresh_from_db()
    assert (study.best_number, study.finished_trials) == (first, 2)


def test_a_trial_that_was_taken_from_its_worker_is_not_written(study: Study) -> None:
    late = TrialStorage(study, owner=Owner(study.pk, 1))
    number = begin(late)
    Trial.objects.filter(study=study).update(attempt=2)

    with pytest.raises(TrialTaken):
        late.set_trial_state_values(number, TrialState.COMPLETE, [1.0])
    study.refresh_from_db()
    assert (study.finished_trials, study.best_value, Trial.objects.get().state) == (0, None, "running")


def test_reports_gather_until_a_quarter_of_a_second_has_passed(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(trial_storage.time, "monotonic", lambda: clock[0])
    storage = TrialStorage(study, shared=False)
    number = begin(storage)

    storage.set_trial_param(number, "x", 0.5, FloatDistribution(0, 1))
    with CaptureQueriesContext(connection) as gathered:
        for step in range(20):
            storage.set_trial_intermediate_value(number, step, float(step))
    clock[0] += trial_storage.EVERY_S
    storage.set_trial_intermediate_value(number, 20, 20.0)

    row = Trial.objects.get()
    assert len(gathered) == 0
    assert (len(row.intermediate_values), row.params) == (21, {"x": 0.5})


def test_a_trial_costs_one_round_trip_in_a_chain(study: Study) -> None:
    storage = TrialStorage(study, shared=False, chained=True)
    begin(storage)

    with CaptureQueriesContext(connection) as queries:
        storage.set_trial_state_values(0, TrialState.COMPLETE, [1.0])
        begin(storage)

    assert len(queries) == (1 if connection.vendor == "postgresql" else 5)
    assert [trial.state for trial in Trial.objects.order_by("number")] == ["complete", "running"]


def test_the_end_of_the_last_trial_of_a_chain_is_written_when_it_settles(study: Study) -> None:
    storage = TrialStorage(study, chained=True)
    storage.set_trial_state_values(begin(storage), TrialState.COMPLETE, [1.0])

    before = Trial.objects.get().state
    storage.settle()

    assert (before, Trial.objects.get().state) == ("running", "complete")


def test_waiting_trials_of_a_chain_end_each(study: Study) -> None:
    Trial.objects.bulk_create([Trial(study=study, number=number, state="waiting") for number in range(2)])
    Study.objects.filter(pk=study.pk).update(last_trial_number=2)
    storage = TrialStorage(study, chained=True)

    for number in range(2):
        storage.set_trial_state_values(number, TrialState.RUNNING)
        storage.set_trial_state_values(number, TrialState.COMPLETE, [float(number)])
    storage.settle()

    assert [(trial.state, trial.value) for trial in Trial.objects.order_by("number")] == [("complete", 0.0), ("complete", 1.0)]


def test_a_waiting_trial_is_taken_by_one_worker(study: Study) -> None:
    Trial.objects.create(study=study, number=0, state="waiting")
    Study.objects.filter(pk=study.pk).update(last_trial_number=1)
    first, second = TrialStorage(study, owner=Owner(study.pk, 1)), TrialStorage(study, owner=Owner(study.pk, 2))

    taken = [first.set_trial_state_values(0, TrialState.RUNNING), second.set_trial_state_values(0, TrialState.RUNNING)]

    assert (taken, Trial.objects.get().attempt) == ([True, False], 1)


def test_a_worker_sees_what_others_report_and_finish(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_storage, "EVERY_S", 0.0)
    mine, theirs = TrialStorage(study, owner=Owner(study.pk, 1)), TrialStorage(study, owner=Owner(study.pk, 2))

    number = begin(theirs)
    theirs.set_trial_param(number, "x", 0.5, FloatDistribution(0, 1))
    theirs.set_trial_system_attr(number, "completed_rung_0", 0.3)
    theirs.set_trial_intermediate_value(number, 1, 0.4)
    (running,) = mine.get_all_trials(0)
    theirs.set_trial_state_values(number, TrialState.COMPLETE, [0.2])
    (finished,) = mine.get_all_trials(0)

    assert (running.state, running.params, running.intermediate_values) == (TrialState.RUNNING, {"x": 0.5}, {1: 0.4})
    assert running.system_attrs == {"completed_rung_0": 0.3}
    assert (finished.state, finished.value) == (TrialState.COMPLETE, 0.2)


def test_finished_trials_are_read_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_storage, "EVERY_S", 0.0)
    storage, other = TrialStorage(study), TrialStorage(study, owner=Owner(study.pk, 2))
    for _ in range(3):
        storage.set_trial_state_values(begin(storage), TrialState.COMPLETE, [1.0])
    begin(other)
    read: list[int] = []
    real = rows.read
    monkeypatch.setattr(rows, "read", lambda *args, **options: [read.append(one.number) or one for one in real(*args, **options)])

    storage.get_all_trials(0)
    storage.get_all_trials(0)

    assert read == [3, 3]


def test_a_storage_that_is_not_shared_reads_once(study: Study) -> None:
    storage = TrialStorage(study, shared=False)
    begin(storage)

    with CaptureQueriesContext(connection) as queries:
        storage.get_all_trials(0)

    assert len(queries) == 0


def test_a_study_of_another_customer_is_not_there(study: Study, other_customer: Customer) -> None:
    with acting(system(other_customer.pk)):
        storage = TrialStorage(study)
        with pytest.raises(KeyError):
            begin(storage)

    study.refresh_from_db()
    assert study.last_trial_number == 0


def test_the_storage_makes_and_deletes_no_studies(study: Study) -> None:
    storage = TrialStorage(study)

    with pytest.raises(BoundToOneStudy):
        storage.create_new_study([StudyDirection.MINIMIZE])
    with pytest.raises(BoundToOneStudy):
        storage.delete_study(0)


def test_what_optuna_does_not_know_is_written_with_the_trial(study: Study) -> None:
    storage = TrialStorage(study)
    number = begin(storage)

    storage.note(number, metrics={"mae": 1.0, "odd": math.inf}, error="none")
    storage.set_trial_state_values(number, TrialState.COMPLETE, [1.0])

    row = Trial.objects.get()
    assert (row.metrics, row.error, row.duration_s is not None) == ({"mae": 1.0, "odd": {"float": "inf"}}, "none", True)


def test_a_finished_trial_stays_as_it_is(study: Study) -> None:
    storage = TrialStorage(study, chained=True)
    number = begin(storage)
    storage.set_trial_state_values(number, TrialState.COMPLETE, [1.0])

    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(number, TrialState.FAIL)
