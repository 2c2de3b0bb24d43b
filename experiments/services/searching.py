"""The work of a study: each worker runs trials until none is left, and the last one to stop draws the conclusion.

A trial that fails is a row with its error, and the search goes on. A killed worker's job is taken up again: its running trial is begun
anew, everything finished stays. A study may be cancelled at any moment, or its time be up; its workers notice at their next report or
trial.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from engine.tuning import samplers, spaces
from engine.tuning.spaces import Space
from experiments.models import Study, Trial
from experiments.services import study_rows
from experiments.services.study_conclusion import conclude
from experiments.services.study_objectives import Objective, Outcome, objective_of
from experiments.services.study_rows import CONCLUDES, TIME_WAS_UP, lock_study, open_jobs, reclaim_orphans
from experiments.services.study_settings import space_of_study
from experiments.states import StudyStatus, TrialState
from mlops.database.reading import reading
from mlops.errors import NotFound
from mlops.jobs import services as jobs
from mlops.jobs.runner import Attempt
from mlops.jobs.services import Cancelled, JobRefused, LeaseLost
from mlops.storable import clean
from mlops.tenancy.roles import system
from registry.services.refusals import refusing

if TYPE_CHECKING:
    import optuna

    from experiments.services.trial_storage import TrialStorage

log = structlog.get_logger(__name__)

HOPELESS = 3
"""When the first so many trials fail alike, the data is at fault and not the parameters."""
LONGEST_ERROR = 1000
_TELL_EVERY_S = 1.0

Ended = Callable[[], bool]


class _TimeIsOver(Exception):
    """The study's time was up while a trial ran."""


@dataclass
class _Search:
    """One worker's part of a study."""

    attempt: Attempt
    study: Study
    space: Space
    objective: Objective
    storage: "TrialStorage"
    optuna_study: "optuna.Study"
    deadline: datetime | None
    told_at: float = field(default=0.0)

    def tell(self, text: str) -> None:
        """Show progress, not too often."""
        self.attempt.check()
        if time.monotonic() - self.told_at >= _TELL_EVERY_S:
            self.told_at = time.monotonic()
            done = sum(trial.state.is_finished() for trial in self.storage.get_all_trials(0, deepcopy=False))
            self.attempt.progress(0.02 + 0.88 * done / self.study.n_trials, f"{done} of {self.study.n_trials} trials; {text}")


def search(attempt: Attempt) -> dict[str, Any]:
    """One attempt of one worker. Raises JobRefused where the study has failed, and Cancelled."""
    study_id = UUID(attempt.payload["study_id"])
    try:
        return _search(attempt, study_id)
    except Cancelled:
        _stop(attempt, study_id)
        raise


def _search(attempt: Attempt, study_id: UUID) -> dict[str, Any]:
    """As `search`; a study that somebody cancels while it is about to fail is a cancelled one."""
    try:
        study = _begin(attempt, study_id)
        if study is None:
            return {"note": "The study has ended already."}
        with refusing():
            objective = objective_of(study)
            while CONCLUDES not in attempt.payload and _run_trials(attempt, study, objective):
                pass
            return conclude(attempt, study, objective)
    except JobRefused as refusal:
        _fail(attempt, study_id, str(refusal))
        raise


def _begin(attempt: Attempt, study_id: UUID) -> Study | None:
    """The study, running now; None if it has ended. What this job's earlier attempt left running waits again."""
    now = timezone.now()
    with attempt.fenced():
        try:
            study = lock_study(study_id)
        except NotFound:
            return None
        if study.cancel_requested_at and study.is_open:
            raise Cancelled
        if study.status == StudyStatus.PENDING:
            study_rows.advance(study, StudyStatus.RUNNING, by=_worker(attempt), at=now, started_at=now)
        if study.status != StudyStatus.RUNNING:
            return None
        reclaim_orphans(study, at=now)
        return Study.objects.select_related("split", "model", "dataset", "proposal").get(pk=study_id)


def _run_trials(attempt: Attempt, study: Study, objective: Objective) -> bool:
    """Run trials until all were given out or the time is over. Returns whether some were left behind by dead workers meanwhile."""
    from experiments.services.trial_rows import BudgetSpent, StudyStopped

    run, gained = _prepared(attempt, study, objective), False
    try:
        while not _time_is_over(run):
            _run_trial(run)
            if not gained:
                run.storage.settle()
                attempt.gained()
                gained = True
    except BudgetSpent:
        pass
    except StudyStopped:
        raise Cancelled from None
    finally:
        run.storage.settle()
    with attempt.fenced():
        current = lock_study(study.pk)
        reclaim_orphans(current, at=timezone.now())
        waiting = Trial.objects.filter(study=current, state=TrialState.WAITING).exists()
    return waiting and not _time_is_over(run)


def _prepared(attempt: Attempt, study: Study, objective: Objective) -> _Search:
    import optuna

    from experiments.services.trial_rows import Owner
    from experiments.services.trial_storage import STUDY_ID, TrialStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = space_of_study(study)
    storage = TrialStorage(study, owner=Owner(attempt.job_id, attempt.number), shared=study.workers > 1, chained=True)
    pruner = samplers.pruner(study.pruner, rounds=objective.most_steps(space))
    name = storage.get_study_name_from_id(STUDY_ID)
    # The sampler of a trial depends on its number, which is known once it has begun; this one only stands there until then.
    searched = optuna.Study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
    began = study.started_at or timezone.now()
    deadline = datetime.fromtimestamp(began.timestamp() + study.timeout_s, UTC) if study.timeout_s else None
    return _Search(attempt, study, space, objective, storage, searched, deadline)


def _time_is_over(run: _Search) -> bool:
    return run.deadline is not None and timezone.now() >= run.deadline


def _run_trial(run: _Search) -> None:
    """Begin a trial, run it, and say how it ended. Raises BudgetSpent, StudyStopped, Cancelled or LeaseLost."""
    import optuna
    from optuna.trial import TrialState as OptunaState

    from experiments.services.trial_rows import BudgetSpent, StudyStopped

    run.tell("searching")
    trial = run.optuna_study.ask()
    study = run.study
    run.optuna_study.sampler = samplers.sampler(
        study.sampler,
        seed=study.seed,
        number=trial.number,
        space=run.space,
        n_trials=study.n_trials,
        workers=study.workers,
        queued=int(study.system_attrs.get("queued", 0)),
        tried=study.system_attrs.get("tried", ()),
    )
    try:
        params = spaces.suggest(trial, run.space)
        run.storage.confirm()
        if study.workers > 1:
            run.storage.flush(trial.number)  # so that the others do not try the same
        outcome = run.objective(params, partial(_report, run, trial))
    except optuna.TrialPruned:
        run.optuna_study.tell(trial, state=OptunaState.PRUNED)
    except _TimeIsOver:
        _tell_failure(run, trial, TIME_WAS_UP)
    except Cancelled:
        _tell_failure(run, trial, "The study was cancelled.")
        raise
    except (BudgetSpent, StudyStopped, LeaseLost, DatabaseError, InterfaceError):
        raise  # not the trial's fault: there is none, or the next attempt begins it anew
    except Exception as failure:  # noqa: BLE001 - a boundary: whatever a library raises ends its trial, not the study
        log.info("study.trial_failed", study=str(study.pk), trial=trial.number, error=repr(failure)[:300])
        _tell_failure(run, trial, _readable(failure))
        _give_up_if_hopeless(run)
    else:
        _tell_outcome(run, trial, outcome)


def _report(run: _Search, trial: "optuna.Trial", step: int, value: float, *, last: bool = False) -> None:
    """An intermediate value; also the moment to notice that somebody wants the search to stop. A negative step is only that.

    After the `last` step a trial is neither pruned nor stopped by the clock: its value is there, and nothing would be spared."""
    import optuna

    run.attempt.check()
    if step >= 0:
        trial.report(value, step)
        run.tell(f"trial {trial.number} at {value:.6g} after {step}")
    if run.storage.stopping:
        raise Cancelled
    if step < 0 or last:
        return
    if trial.should_prune():
        raise optuna.TrialPruned
    if _time_is_over(run):
        raise _TimeIsOver


def _tell_outcome(run: _Search, trial: "optuna.Trial", outcome: Outcome) -> None:
    for name, value in outcome.attrs.items():
        trial.set_user_attr(name, value)
    run.storage.note(trial.number, metrics=outcome.metrics)
    run.optuna_study.tell(trial, outcome.value)


def _tell_failure(run: _Search, trial: "optuna.Trial", error: str) -> None:
    from optuna.trial import TrialState as OptunaState

    run.storage.note(trial.number, error=error)
    run.optuna_study.tell(trial, state=OptunaState.FAIL)


def _readable(failure: Exception) -> str:
    """The first line of what went wrong, in characters that both databases keep."""
    lines = str(failure).strip().splitlines()
    text: str = clean(f"{type(failure).__name__}: {lines[0] if lines else 'no message'}")
    return text[:LONGEST_ERROR]


def _give_up_if_hopeless(run: _Search) -> None:
    """End a study whose first trials all failed for the same reason. Raises JobRefused."""
    run.storage.settle()
    with reading():
        ended = Trial.objects.filter(study=run.study, finished_at__isnull=False).order_by("finished_at", "number")
        first = list(ended.values_list("state", "error")[:HOPELESS])
    if len(first) == HOPELESS and len(set(first)) == 1 and first[0][0] == TrialState.FAIL:
        raise JobRefused(f"The first {HOPELESS} trials failed alike. {first[0][1]}")


def _stop(attempt: Attempt, study_id: UUID) -> None:
    """A worker stops because somebody asked for it; the last one to stop ends the study."""
    with jobs.fenced(job_id=attempt.job_id, attempt=attempt.number, stopping=True):
        study = lock_study(study_id)
        others = [job for job in open_jobs(study) if job.pk != attempt.job_id]
        if not others and study.is_open:
            study_rows.end_cancelled(study, by=_worker(attempt), at=timezone.now())


def _fail(attempt: Attempt, study_id: UUID, error: str) -> None:
    """No attempt could succeed: the study has failed. Other workers notice when they begin their next trial."""
    with attempt.fenced():
        study = lock_study(study_id)
        if study.is_open:
            now = timezone.now()
            study_rows.drop_trials_of(study, attempt.job_id, at=now, error="The study failed.")
            study_rows.end_failed(study, by=_worker(attempt), at=now, error=error)


def _worker(attempt: Attempt) -> Any:
    return system(attempt.customer_id, name=attempt.requested_by)
