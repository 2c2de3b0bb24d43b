"""Optuna's storage over the rows of one study.

Optuna's own storages write one transaction per parameter and per report. Here a trial costs two transactions - one that gives it a number,
one that finishes it - and one per quarter of a second in between: parameters and reports gather in memory until then. A killed worker
loses no more than what its running trial had not written yet. Finished trials never change, so reading fetches only new and open ones, and
a worker that has the study to itself reads once. Such a worker foresees the next number, so that the sampler draws while the database
writes the end of one trial and the beginning of the next.

A trial's id is its number: the storage is bound to one study, whose id is 0.
"""

import copy
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from experiments.models import Study
from experiments.services import trial_rows as rows
from experiments.services.trial_chain import TrialChain
from experiments.services.trial_rows import Owner
from mlops.database.reading import reading

STUDY_ID = 0
EVERY_S = 0.25
"""How long reports gather before they are written, and how old the view of other workers' trials may be."""


class BoundToOneStudy(RuntimeError):
    """The storage neither makes nor deletes studies; `experiments.services.studies` does."""


@dataclass
class _Draft:
    """What of a running trial is not written yet."""

    written_at: float
    dirty: set[str] = field(default_factory=set)
    extra: dict[str, Any] = field(default_factory=dict)
    """Columns that Optuna does not know: metrics, error."""


class TrialStorage(BaseStorage):
    """The trials of one study. `shared`: other workers run trials of it too.

    `chained`: the end of a trial is written together with the beginning of the next one, in one transaction. Call `confirm` before that
    does any work, and `settle` after the last one.
    """

    def __init__(self, study: Study, *, owner: Owner | None = None, shared: bool = True, chained: bool = False) -> None:
        self._study_id: UUID = study.pk
        self._name = f"study-{study.seed}"  # Hyperband draws brackets from it: equal for equal seeds
        self._direction = StudyDirection.MAXIMIZE if study.direction == Study.Direction.MAXIMIZE else StudyDirection.MINIMIZE
        self._owner = owner or Owner()
        self._shared, self._chained = shared, chained
        self._budget = study.n_trials
        self._chain = TrialChain(study, self._owner, chained=chained, forget=self._forget)
        self._lock = RLock()
        self._trials: list[FrozenTrial] = []
        self._kinds: dict[str, BaseDistribution] = {}
        self._open: set[int] = set()
        self._drafts: dict[int, _Draft] = {}
        self._read_at = 0.0
        self.stopping = False
        """Whether the last write saw that the study is to stop."""
        self._read()

    # --- what the search adds

    def note(self, trial_id: int, **columns: Any) -> None:
        """Columns of the row that Optuna does not know, written with the trial's next write."""
        with self._lock:
            self._drafts[trial_id].extra.update({name: rows.encode(value) for name, value in columns.items()})

    def flush(self, trial_id: int) -> None:
        """Write what a trial has gathered. Raises TrialTaken."""
        with self._lock:
            self.confirm()
            draft = self._drafts[trial_id]
            values = self._values(trial_id, draft)
            if values:
                self.stopping = rows.write(self._study_id, trial_id, values, self._owner)
            draft.dirty.clear()
            draft.extra.clear()
            draft.written_at = time.monotonic()

    def settle(self) -> None:
        """Write the end of a trial that was to be written with the beginning of the next one. Raises TrialTaken."""
        with self._lock:
            self._chain.settle()

    def confirm(self) -> None:
        """Wait until the trial begun last is written. Raises BudgetSpent, StudyStopped or TrialTaken; then there is no such trial."""
        with self._lock:
            self._chain.confirm()

    # --- the study

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        raise BoundToOneStudy

    def delete_study(self, study_id: int) -> None:
        raise BoundToOneStudy

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(study_id, "user_attrs", key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(study_id, "system_attrs", key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name != self._name:
            raise KeyError(study_name)
        return STUDY_ID

    def get_study_name_from_id(self, study_id: int) -> str:
        self._expect(study_id)
        return self._name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        self._expect(study_id)
        return [self._direction]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(study_id, "user_attrs")

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(study_id, "system_attrs")

    def get_all_studies(self) -> list[FrozenStudy]:
        user, system = self.get_study_user_attrs(STUDY_ID), self.get_study_system_attrs(STUDY_ID)
        return [FrozenStudy(self._name, self._direction, user, system, STUDY_ID)]

    # --- trials: writing

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A trial under the next number. Raises BudgetSpent or StudyStopped, where `confirm` does not."""
        self._expect(study_id)
        trial = _fresh() if template_trial is None else copy.deepcopy(template_trial)
        with self._lock:
            number = self._chain.begin(trial, foreseen=self._foreseen(trial))
            if number > len(self._trials) or (self._shared and template_trial is None):
                self._read(until=number)
            trial.number = number
            trial._trial_id = number  # noqa: SLF001 - Optuna's storages set it
            self._keep(trial)
            if trial.state == TrialState.RUNNING:
                self._drafts[number] = _Draft(time.monotonic())
        return number

    def set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution) -> None:
        with self._lock:
            trial = self._editable(trial_id)
            if param_name in self._kinds:
                check_distribution_compatibility(self._kinds[param_name], distribution)
            trial.params = trial.params | {param_name: distribution.to_external_repr(param_value_internal)}
            trial.distributions = trial.distributions | {param_name: distribution}
            self._edited(trial, "params", "distributions", wait=True)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Start a waiting trial (False if it is not waiting any more) or finish one. Raises TrialTaken."""
        with self._lock:
            self.confirm()
            trial = self._editable(trial_id)
            if state == TrialState.RUNNING:
                return self._start(trial)
            trial.state, now = state, rows.local_now()
            if values is not None:
                trial.values = list(values)
            names = {"state", "value"}
            if state.is_finished():
                trial.datetime_complete = now
                names.add("finished_at")
            draft = self._drafts.get(trial_id) or _Draft(0.0)
            columns = self._values(trial_id, draft, of=trial) | rows.values_of(trial, names)
            if not state.is_finished():
                rows.write(self._study_id, trial_id, columns, self._owner)
            else:
                if trial.datetime_start:
                    columns["duration_s"] = (now - trial.datetime_start).total_seconds()
                self._chain.end(trial, columns)
            self._drafts.pop(trial_id, None)
            self._keep(trial)
            return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        with self._lock:
            trial = self._editable(trial_id)
            trial.intermediate_values = trial.intermediate_values | {step: intermediate_value}
            self._edited(trial, "intermediate_values")

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._lock:
            trial = self._editable(trial_id)
            trial.user_attrs = trial.user_attrs | {key: value}
            self._edited(trial, "user_attrs")

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._lock:
            trial = self._editable(trial_id)
            trial.system_attrs = trial.system_attrs | {key: value}
            self._edited(trial, "system_attrs")

    # --- trials: reading

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self._lock:
            return self._known(trial_id)

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        self._expect(study_id)
        with self._lock:
            if self._shared and time.monotonic() - self._read_at >= EVERY_S:
                self._read()
            found = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    # --- below

    def _expect(self, study_id: int) -> None:
        if study_id != STUDY_ID:
            raise KeyError(f"There is no study {study_id} here.")

    def _known(self, trial_id: int) -> FrozenTrial:
        if not 0 <= trial_id < len(self._trials):
            self._read()
        if not 0 <= trial_id < len(self._trials):
            raise KeyError(f"There is no trial {trial_id} here.")
        return self._trials[trial_id]

    def _editable(self, trial_id: int) -> FrozenTrial:
        """A copy, as what was handed out must not change. Its dictionaries are replaced, never changed."""
        trial = self._known(trial_id)
        if trial.state.is_finished():
            raise UpdateFinishedTrialError(f"Trial {trial_id} has already finished and cannot be updated.")
        return copy.copy(trial)

    def _keep(self, trial: FrozenTrial) -> None:
        number = trial.number
        if number == len(self._trials):
            self._trials.append(trial)
        else:
            self._trials[number] = trial
        for name, kind in trial.distributions.items():
            self._kinds.setdefault(name, kind)
        if trial.state.is_finished():
            self._open.discard(number)
        else:
            self._open.add(number)

    def _edited(self, trial: FrozenTrial, *columns: str, wait: bool = False) -> None:
        """Keep an edited trial; write it when its last write is long enough ago, or at once where it is not this worker's."""
        self._keep(trial)
        draft = self._drafts.get(trial.number)
        if draft is None:
            self.confirm()
            rows.write(self._study_id, trial.number, rows.values_of(trial, columns), self._owner)
            return
        draft.dirty.update(columns)
        if not wait and time.monotonic() - draft.written_at >= EVERY_S:
            self.flush(trial.number)

    def _values(self, trial_id: int, draft: _Draft, of: FrozenTrial | None = None) -> dict[str, Any]:
        return rows.values_of(of or self._trials[trial_id], draft.dirty) | draft.extra

    def _start(self, trial: FrozenTrial) -> bool:
        if trial.state != TrialState.WAITING:
            return False
        self.settle()
        now = rows.local_now()
        if not rows.start_waiting(self._study_id, trial.number, self._owner, at=timezone.now()):
            self._read()
            return False
        trial.state, trial.datetime_start = TrialState.RUNNING, now
        self._keep(trial)
        self._drafts[trial.number] = _Draft(time.monotonic())
        return True

    def _foreseen(self, trial: FrozenTrial) -> int | None:
        """The number that a new trial will have, where nobody else gives out any."""
        number = len(self._trials)
        alone = self._chained and not self._shared and trial.state == TrialState.RUNNING
        return number if alone and number < self._budget else None

    def _forget(self, number: int) -> None:
        """Drop the newest trial, which came to nothing."""
        self._open.discard(number)
        del self._trials[number:], self._drafts[number]

    def _read(self, until: int | None = None) -> None:
        """Fetch new trials and those others have open."""
        self.confirm()
        theirs = self._open - self._drafts.keys()
        for trial in rows.read(self._study_id, at_least=len(self._trials), numbers=theirs):
            if until is None or trial.number < until:
                self._keep(trial)
        self._read_at = time.monotonic()

    def _set_study_attr(self, study_id: int, column: str, key: str, value: Any) -> None:
        self._expect(study_id)
        self.confirm()
        with transaction.atomic():
            study = Study.objects.select_for_update(no_key=True).only("pk", column).get(pk=self._study_id)
            setattr(study, column, getattr(study, column) | {key: rows.encode(value)})
            study.save(update_fields=[column])

    def _study_attrs(self, study_id: int, column: str) -> dict[str, Any]:
        self._expect(study_id)
        self.confirm()
        with reading():
            attrs: dict[str, Any] = rows.decode(Study.objects.values_list(column, flat=True).get(pk=self._study_id))
        return attrs


def _fresh() -> FrozenTrial:
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=rows.local_now(),
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )
