"""Our storage against Optuna's own suite for storages, and what it promises beyond that."""

from collections.abc import Container, Sequence
from typing import Any

import optuna
import pytest
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import FrozenTrial, TrialState

from experiments.models import Study
from experiments.services.trial_storage import TrialStorage
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
