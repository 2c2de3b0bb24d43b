"""Trials as rows and as Optuna's frozen trials: reading, claiming, writing, finishing. Each function is one short transaction.

Locks are taken in one order: the study's row, then a trial's. Times are the worker's own.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from experiments.models import Study, Trial
from experiments.states import StudyStatus, TrialState
from mlops.database.reading import reading
from mlops.jobs.services import LeaseLost

_STATES = {OptunaState[state.name]: state for state in TrialState}
_OPTUNA_STATES = {state.value: OptunaState[state.name] for state in TrialState}
_COLUMNS = (
    "number",
    "state",
    "value",
    "params",
    "distributions",
    "intermediate_values",
    "user_attrs",
    "system_attrs",
    "started_at",
    "finished_at",
)


class BudgetSpent(Exception):
    """Every trial of the study has been given out."""


class StudyStopped(Exception):
    """The study was cancelled or has ended; no trial may begin."""


class TrialTaken(LeaseLost):
    """The trial was taken from this worker, whose lease had run out; it may be running elsewhere."""


@dataclass(frozen=True)
class Owner:
    """The job and the attempt on whose account trials run."""

    job_id: UUID | None = None
    attempt: int | None = None


def read(study_id: UUID, *, at_least: int = 0, numbers: Collection[int] = ()) -> list[FrozenTrial]:
    """Trials from number `at_least` on, and those named, in order."""
    wanted = Q(number__gte=at_least) | Q(number__in=list(numbers)) if numbers else Q(number__gte=at_least)
    with reading():
        return [_frozen(row) for row in Trial.objects.filter(wanted, study_id=study_id).order_by("number").values_list(*_COLUMNS)]


def claim_number(study_id: UUID, *, start: bool) -> int:
    """The next number, under the lock of the study's row until the caller's transaction ends.

    Raises BudgetSpent, StudyStopped when a trial is to start in a study that was stopped, KeyError.
    """
    open_study = Study.objects.filter(pk=study_id, last_trial_number__lt=F("n_trials"))
    running = open_study.filter(status=StudyStatus.RUNNING, cancel_requested_at=None) if start else open_study
    if running.update(last_trial_number=F("last_trial_number") + 1):
        return int(Study.objects.values_list("last_trial_number", flat=True).get(pk=study_id)) - 1
    study = Study.objects.filter(pk=study_id).only("status", "cancel_requested_at").first()
    if study is None:
        raise KeyError(f"There is no study {study_id}.")
    if start and (study.cancel_requested_at or study.status != StudyStatus.RUNNING):
        raise StudyStopped
    raise BudgetSpent


def insert(study_id: UUID, trial: FrozenTrial, owner: Owner) -> int:
    """Write a new trial under the next number, and count it if it is finished already. Raises what `claim_number` raises."""
    with transaction.atomic(savepoint=False):
        number = claim_number(study_id, start=trial.state == OptunaState.RUNNING)
        mine = trial.state == OptunaState.RUNNING
        row = Trial(study_id=study_id, number=number, job_id=owner.job_id if mine else None, attempt=owner.attempt if mine else None)
        for name, value in values_of(trial).items():
            setattr(row, name, value)
        row.save(force_insert=True)
        if trial.state.is_finished():
            _count(study_id, number, trial)
    return number


def start_waiting(study_id: UUID, number: int, owner: Owner, *, at: datetime) -> bool:
    """Take a waiting trial; False if somebody else has it."""
    with transaction.atomic():
        waiting = Trial.objects.filter(study_id=study_id, number=number, state=TrialState.WAITING)
        return bool(waiting.update(state=TrialState.RUNNING, started_at=at, job_id=owner.job_id, attempt=owner.attempt))


def write(study_id: UUID, number: int, values: Mapping[str, Any], owner: Owner) -> bool:
    """Keep what a trial has so far. Returns whether somebody wants the study to stop. Raises TrialTaken."""
    with transaction.atomic():
        if not _own(study_id, number, owner).update(**values):
            raise TrialTaken
        return not Study.objects.filter(pk=study_id, status=StudyStatus.RUNNING, cancel_requested_at=None).exists()


def finish(study_id: UUID, trial: FrozenTrial, values: Mapping[str, Any], owner: Owner) -> None:
    """End a trial: its row and the study's counters in one transaction. Raises TrialTaken, and changes nothing then."""
    with transaction.atomic():
        _count(study_id, trial.number, trial)
        if not _own(study_id, trial.number, owner).update(**values):
            raise TrialTaken


def _own(study_id: UUID, number: int, owner: Owner) -> Any:
    mine = Q(state=TrialState.RUNNING, job_id=owner.job_id, attempt=owner.attempt)
    return Trial.objects.filter(Q(state=TrialState.WAITING) | mine, study_id=study_id, number=number)


def _count(study_id: UUID, number: int, trial: FrozenTrial) -> None:
    """The study's counters, under its row's lock. Of equal values the lowest number is the best."""
    Study.objects.filter(pk=study_id).update(finished_trials=F("finished_trials") + 1)
    value = trial.value
    if trial.state != OptunaState.COMPLETE or value is None or math.isnan(value):
        return
    better = Q(direction=Study.Direction.MINIMIZE, best_value__gt=value) | Q(direction=Study.Direction.MAXIMIZE, best_value__lt=value)
    first = Q(best_value=None) | Q(best_value=value, best_number__gt=number)
    Study.objects.filter(better | first, pk=study_id).update(best_value=value, best_number=number)


def values_of(trial: FrozenTrial, names: Collection[str] | None = None) -> dict[str, Any]:
    """The columns of a trial, all of them or those named."""
    made = {
        "state": lambda: _STATES[trial.state],
        "value": lambda: trial.value,
        "params": lambda: encode(trial.params),
        "distributions": lambda: [[name, _text_of(kind)] for name, kind in trial.distributions.items()],
        "intermediate_values": lambda: {str(step): encode(value) for step, value in trial.intermediate_values.items()},
        "user_attrs": lambda: encode(trial.user_attrs),
        "system_attrs": lambda: encode(trial.system_attrs),
        "started_at": lambda: _aware(trial.datetime_start),
        "finished_at": lambda: _aware(trial.datetime_complete),
    }
    return {name: make() for name, make in made.items() if names is None or name in names}


def _frozen(row: tuple[Any, ...]) -> FrozenTrial:
    number, state, value, params, distributions, reported, user_attrs, system_attrs, started_at, finished_at = row
    kinds = {name: _distribution(text) for name, text in distributions or ()}
    values = decode(params)
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=_OPTUNA_STATES[state],
        value=value,
        datetime_start=_naive(started_at),
        datetime_complete=_naive(finished_at),
        params={name: values[name] for name in kinds},  # in the order of their suggestion, which jsonb forgets
        distributions=kinds,
        intermediate_values={step: decode(reported[str(step)]) for step in sorted(map(int, reported))},
        user_attrs=decode(user_attrs),
        system_attrs=decode(system_attrs),
    )


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    kind: BaseDistribution = json_to_distribution(text)  # type: ignore[no-untyped-call]  # Optuna left it without
    return kind


def _text_of(kind: BaseDistribution) -> str:
    return distribution_to_json(kind)


def encode(value: Any) -> Any:
    """JSON that both databases keep: NaN and the infinities become `{"float": "nan"}`."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Mapping):
        return {str(name): encode(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [encode(one) for one in value]
    return value


def decode(value: Any) -> Any:
    """What `encode` was given."""
    if isinstance(value, dict):
        if value.keys() == {"float"} and value["float"] in ("nan", "inf", "-inf"):
            return float(value["float"])
        return {name: decode(one) for name, one in value.items()}
    if isinstance(value, list):
        return [decode(one) for one in value]
    return value


def local_now() -> datetime:
    """Now, as Optuna keeps it."""
    return datetime.now(UTC).astimezone().replace(tzinfo=None)


def _aware(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment else None


def _naive(moment: datetime | None) -> datetime | None:
    """Local time without a zone, as Optuna keeps it."""
    return moment.astimezone().replace(tzinfo=None) if moment else None
