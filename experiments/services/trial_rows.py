"""Trials as rows and as Optuna's frozen trials: reading, claiming, writing, finishing. Each is one short transaction.

Locks are taken in one order: the study's row, then a trial's. Times are the worker's own.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import Q
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from experiments.models import Study, Trial
from experiments.services.round_trip import Statement, run, stored
from experiments.states import StudyStatus, TrialState
from mlops.database.reading import reading
from mlops.jobs.services import LeaseLost
from mlops.tenancy.context import required

_STATES = {OptunaState[state.name]: state for state in TrialState}
_OPTUNA_STATES = {state.value: OptunaState[state.name] for state in TrialState}
_EMPTY: dict[type, str] = {type(None): "NULL", dict: "'{}'", list: "'[]'", str: "''"}
"""What most columns of a new trial hold, as SQL: it is not sent as values."""
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


def start_waiting(study_id: UUID, number: int, owner: Owner, *, at: datetime) -> bool:
    """Take a waiting trial; False if somebody else has it."""
    with transaction.atomic():
        waiting = Trial.objects.filter(study_id=study_id, number=number, state=TrialState.WAITING)
        return bool(waiting.update(state=TrialState.RUNNING, started_at=at, job_id=owner.job_id, attempt=owner.attempt))


def insertion(study_id: UUID, trial: FrozenTrial, owner: Owner) -> list[Statement]:
    """Statements that write a new trial under the next number, under the lock of the study's row. The first answers the number, or nothing
    where every trial was given out or, for one that is to run, the study was stopped. A trial that is finished already is not counted."""
    running = trial.state == OptunaState.RUNNING
    values = values_of(trial) | {"id": uuid4(), "metrics": {}, "error": ""}
    values |= {"job_id": owner.job_id if running else None, "attempt": owner.attempt if running else None}
    given = {name: value for name, value in values.items() if not _is_empty(value)}
    taken = {"number": "last_trial_number", "study_id": "id", "customer_id": "customer_id"}
    taken |= {name: "%s" if name in given else _EMPTY[type(value)] for name, value in values.items()}
    allowed = "last_trial_number < n_trials" + (" AND status = 'running' AND cancel_requested_at IS NULL" if running else "")
    insert = (
        f"INSERT INTO study_trials ({', '.join(taken)}) SELECT {', '.join(taken.values())} "  # noqa: S608 - own names
        f"FROM studies WHERE id = %s AND customer_id = %s AND {allowed} {_for_update()} RETURNING number"
    )
    count = (
        "UPDATE studies SET last_trial_number = last_trial_number + 1 WHERE id = %s AND customer_id = %s AND EXISTS "
        "(SELECT 1 FROM study_trials WHERE study_id = studies.id AND number = last_trial_number)"
    )
    return [Statement(insert, [*_stored(given), *_key(study_id)]), Statement(count, _key(study_id))]


def refusal(study_id: UUID) -> Exception:
    """Why a trial that was to begin did not."""
    with reading():
        study = Study.objects.filter(pk=study_id).only("status", "cancel_requested_at").first()
    if study is None:
        return KeyError(f"There is no study {study_id}.")
    return StudyStopped() if study.cancel_requested_at or study.status != StudyStatus.RUNNING else BudgetSpent()


def update(study_id: UUID, number: int, values: Mapping[str, Any], owner: Owner) -> Statement:
    """The statement that writes columns of a trial that waits or runs here. It answers nothing where the trial was taken."""
    columns = ", ".join(f"{name} = %s" for name in values)
    mine = f"state = 'running' AND job_id {_is(owner.job_id)} AND attempt {_is(owner.attempt)}"
    sql = (
        f"UPDATE study_trials SET {columns} WHERE study_id = %s AND customer_id = %s AND number = %s "  # noqa: S608 - own names
        f"AND (state = 'waiting' OR ({mine})) RETURNING number"
    )
    owned = [value for value in _stored({"job_id": owner.job_id, "attempt": owner.attempt}) if value is not None]
    return Statement(sql, [*_stored(values), *_key(study_id), number, *owned])


def write(study_id: UUID, number: int, values: Mapping[str, Any], owner: Owner) -> bool:
    """Keep what a trial has so far. Returns whether somebody wants the study to stop. Raises TrialTaken."""
    seen = Statement("SELECT status, cancel_requested_at FROM studies WHERE id = %s AND customer_id = %s", _key(study_id))
    written, ((status, cancelled),) = run([update(study_id, number, values, owner), seen])
    if not written:
        raise TrialTaken
    return status != StudyStatus.RUNNING or cancelled is not None


def ending(study_id: UUID, trial: FrozenTrial, values: Mapping[str, Any], owner: Owner, *, maximize: bool) -> list[Statement]:
    """Statements that end a trial: its row, and the study's counters if the row was still this worker's. The second one answers nothing
    where it was not. Of equal values the lowest number is the best."""
    lock = Statement(f"SELECT 1 FROM studies WHERE id = %s AND customer_id = %s {_for_update()}", _key(study_id))  # noqa: S608
    state, ended_at, job_id = _stored({"state": values["state"], "finished_at": values["finished_at"], "job_id": owner.job_id})
    done = f"trial.number = %s AND trial.state = %s AND trial.finished_at = %s AND trial.job_id {_is(owner.job_id)}"
    passed = [trial.number, state, ended_at, *([] if job_id is None else [job_id])]
    count = Statement(_counting(trial, done, maximize=maximize), [*_key(study_id), *passed])
    return [lock, update(study_id, trial.number, values, owner), count]


def _counting(trial: FrozenTrial, done: str, *, maximize: bool) -> str:
    """SQL that counts a finished trial, where there is one like `done`."""
    best = ""
    if trial.state == OptunaState.COMPLETE and trial.value is not None and not math.isnan(trial.value):
        worse = f"best_value {'<' if maximize else '>'} trial.value"
        better = f"best_value IS NULL OR {worse} OR (best_value = trial.value AND best_number > trial.number)"
        best = f", best_value = CASE WHEN {better} THEN trial.value ELSE best_value END"
        best += f", best_number = CASE WHEN {better} THEN trial.number ELSE best_number END"
    return (
        f"UPDATE studies SET finished_trials = finished_trials + 1{best} FROM study_trials trial "  # noqa: S608 - own names
        f"WHERE studies.id = %s AND studies.customer_id = %s AND trial.study_id = studies.id AND {done}"
    )


def _key(study_id: UUID) -> tuple[Any, Any]:
    return _key_within(study_id, required())


@lru_cache(maxsize=256)
def _key_within(study_id: UUID, customer_id: UUID) -> tuple[Any, Any]:
    return stored(Study, "id", study_id), stored(Study, "customer", customer_id)


def _is_empty(value: object) -> bool:
    return value is None or (type(value) in _EMPTY and not value)


def _stored(values: Mapping[str, Any]) -> list[Any]:
    return [stored(Trial, name, value) for name, value in values.items()]


def _is(value: object) -> str:
    return "IS NULL" if value is None else "= %s"


def _for_update() -> str:
    return "FOR NO KEY UPDATE" if connection.features.has_select_for_update else ""


def values_of(trial: FrozenTrial, names: Collection[str] | None = None) -> dict[str, Any]:
    """The columns of a trial, all of them or those named."""
    made: dict[str, Callable[[], Any]] = {
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
    kind: BaseDistribution = json_to_distribution(text)
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
