"""Finding and locking studies, their jobs, and the moves of their life cycle. Nothing else changes a study's status.

Locks are taken in one order: jobs, then the study, then its trials, then a model, then the audit trail.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, QuerySet

from experiments.events import StudyFailed
from experiments.models import Study, Trial
from experiments.states import STUDY_LIFECYCLE, StudyStatus, TrialState
from mlops.database.locking import lock_row
from mlops.errors import DomainError, NotFound
from mlops.jobs import services as jobs
from mlops.jobs.models import OPEN, Job, JobState
from mlops.lifecycle.mechanism import move
from mlops.outbox.services import publish
from mlops.tenancy.context import required
from mlops.tenancy.roles import Principal, system
from registry.services.lookups import IfMatch

SEARCH_JOB = "study.search"
RESTARTS = 1
"""A trial whose worker died is begun again once; one whose worker died again has failed."""
CONCLUDES = "concludes"
"""In a job's payload: it runs no trials."""
KEPT = "artifacts"
"""Where a study's system attributes name the files its conclusion has stored, until one becomes a version."""
TIMED_OUT = "ended_by_timeout_after"
"""Where a study's user attributes say how many trials had ended by themselves when its time-out ended the search."""
TIME_WAS_UP = "The study's time was up."
"""The error of a trial that the clock stopped."""
_KEPT_PREFIX = "cma:"


class StudyRunning(DomainError):
    """The study is at work."""

    code = "study_running"


def find_study(study_id: UUID) -> Study:
    """The study with what its page shows. One query. Raises NotFound, for a deleted one too."""
    related = Study.objects.select_related("model", "version", "split", "proposal")
    found = related.filter(pk=study_id, deleted_at=None).first()
    if found is None:
        raise NotFound("There is no such study.")
    return found


def lock_study(study_id: UUID, if_match: IfMatch | None = None) -> Study:
    """Lock the study's row; see `lock_row`. Raises NotFound, for a deleted one too."""
    return lock_row(Study.objects.filter(pk=study_id, deleted_at=None), missing="There is no such study.", if_match=if_match)


def job_key(study_id: UUID, worker: int) -> str:
    """The exclusive key of one worker's job."""
    return f"study:{study_id}:{worker}"


def open_jobs(study: Study, *, lock: bool = False) -> list[Job]:
    """Jobs of the study that wait or run, in the order of their locks."""
    keys = [job_key(study.pk, worker) for worker in range(study.workers)]
    found = Job.objects.filter(customer_id=required(), exclusive_key__in=keys, state__in=OPEN).order_by("pk")
    return list(found.select_for_update(no_key=True) if lock and connection.features.has_select_for_update else found)


def registration_key(study_id: UUID, number: int) -> str:
    """The exclusive key of the job that makes a version of a trial."""
    return f"{_registrations(study_id)}{number}"


def registering(study: Study) -> dict[int, Job]:
    """The open jobs that make versions of trials, by the trial's number. One query."""
    prefix = _registrations(study.pk)
    found = Job.objects.filter(customer_id=required(), exclusive_key__startswith=prefix, state__in=OPEN)
    return {int(job.exclusive_key.removeprefix(prefix)): job for job in found}


def _registrations(study_id: UUID) -> str:
    return f"study:{study_id}:trial:"


def advance(study: Study, to: StudyStatus, *, by: Principal, at: datetime, reason: str = "", **changes: Any) -> None:
    """Move a locked study along its life cycle."""
    details = {"version": str(changes["version"])} if changes.get("version") else {}
    move(STUDY_LIFECYCLE, study, to, label=str(study), actor=by, at=at, reason=reason[:2000], details=details, updated_at=at, **changes)


def end_failed(study: Study, *, by: Principal, at: datetime, error: str) -> None:
    """A locked study ends without a model; says so to whoever listens."""
    advance(study, StudyStatus.FAILED, by=by, at=at, reason=error, error=error[:2000], finished_at=at)
    publish(StudyFailed(str(study.pk), study.name, study.model.name, error[:500], study.created_by), at=at)


def end_cancelled(study: Study, *, by: Principal, at: datetime) -> None:
    """A locked study whose workers have all stopped ends as somebody wished."""
    drop_open_trials(study, at=at, error="The study was cancelled.")
    advance(study, StudyStatus.CANCELLED, by=by, at=at, finished_at=at)


def reclaim_orphans(study: Study, *, at: datetime) -> int:
    """Trials whose worker died wait again, with the parameters they had; one that was begun again before has failed. Returns how many
    there were. Call with the study's row locked: a trial's number and its parameters stay, whoever runs it."""
    running = list(Trial.objects.filter(study=study, state=TrialState.RUNNING).order_by("number"))
    alive = dict(
        Job.objects.filter(pk__in={trial.job_id for trial in running if trial.job_id}, state=JobState.RUNNING).values_list("pk", "attempt")
    )
    orphans = [trial for trial in running if trial.job_id is None or alive.get(trial.job_id) != trial.attempt]
    for trial in orphans:
        restarts = int(trial.system_attrs.get("restarts", 0)) + 1
        if restarts > RESTARTS:
            _fail(trial, at=at, error="The worker died while this trial ran, and again when it was begun anew.")
        else:
            _wait_again(trial, restarts)
    return len(orphans)


def drop_open_trials(study: Study, *, at: datetime, error: str) -> None:
    """End trials that nobody runs any more. Call with the study's row locked."""
    for trial in Trial.objects.filter(study=study, state=TrialState.RUNNING).order_by("number"):
        _fail(trial, at=at, error=error)
    dropped = Trial.objects.filter(study=study, state=TrialState.WAITING).update(state=TrialState.FAIL, error=error, finished_at=at)
    Study.objects.filter(pk=study.pk).update(finished_trials=F("finished_trials") + dropped)


def drop_trials_of(study: Study, job_id: UUID, *, at: datetime, error: str) -> None:
    """End the trials that one job had running. Call with the study's row locked."""
    for trial in Trial.objects.filter(study=study, state=TrialState.RUNNING, job_id=job_id).order_by("number"):
        _fail(trial, at=at, error=error)


def follow_job(job: Job, *, cancelled: bool, by: Principal, at: datetime, error: str) -> None:
    """A worker's job has ended badly, perhaps without a word. When it was the last one, the study ends too: with what its trials found, if
    they found anything. Repeats change nothing."""
    study = Study.objects.select_for_update(no_key=True).filter(pk=job.payload["study_id"]).first()
    if study is None or not study.is_open:
        return
    if open_jobs(study):
        reclaim_orphans(study, at=at)
    elif cancelled or study.cancel_requested_at:
        end_cancelled(study, by=by, at=at)
    else:
        drop_open_trials(study, at=at, error="The worker died while this trial ran.")
        if best_trial(study) is None or CONCLUDES in job.payload:
            end_failed(study, by=by, at=at, error=error)
        else:
            _ask_for_conclusion(study, job, at=at, error=error)


def best_trial(study: Study) -> Trial | None:
    """The complete trial with the best value; None without any."""
    return best_trials(study).first()


def best_trials(study: Study) -> QuerySet[Trial]:
    """The complete trials that have a value, the best first, of equal ones the earlier."""
    complete = Trial.objects.filter(study=study, state=TrialState.COMPLETE).exclude(value=None)
    return complete.order_by("value" if study.direction == Study.Direction.MINIMIZE else "-value", "number")


def _ask_for_conclusion(study: Study, dead: Job, *, at: datetime, error: str) -> None:
    """Let one more job, in the place of the last that died, conclude from the trials there are."""
    by = system(dead.customer_id, name=dead.requested_by)
    payload, key = {**dead.payload, CONCLUDES: True}, dead.exclusive_key
    job = jobs.request(kind=SEARCH_JOB, payload=payload, label=f"Conclude study {study.name}"[:200], by=by, at=at, exclusive_key=key)
    notes = [*study.user_attrs.get("notes", []), f"Its workers died before all trials were run: {error}"[:500]]
    Study.objects.filter(pk=study.pk).update(job_id=job.pk, user_attrs=study.user_attrs | {"notes": notes})


def _fail(trial: Trial, *, at: datetime, error: str) -> None:
    running = Trial.objects.filter(pk=trial.pk, state=TrialState.RUNNING, attempt=trial.attempt, job_id=trial.job_id)
    duration = (at - trial.started_at).total_seconds() if trial.started_at else None
    if running.update(state=TrialState.FAIL, error=error, finished_at=at, duration_s=duration):
        Study.objects.filter(pk=trial.study_id).update(finished_trials=F("finished_trials") + 1)


def _wait_again(trial: Trial, restarts: int) -> None:
    """The same parameters are tried; without any written the sampler draws the same ones again, as its seed is the trial's number."""
    attrs = {name: value for name, value in trial.system_attrs.items() if name.startswith(_KEPT_PREFIX) or name == "fixed_params"}
    if trial.params:
        attrs["fixed_params"] = trial.params
    Trial.objects.filter(pk=trial.pk, state=TrialState.RUNNING, attempt=trial.attempt, job_id=trial.job_id).update(
        state=TrialState.WAITING,
        system_attrs=attrs | {"restarts": restarts},
        params={},
        distributions=[],
        intermediate_values={},
        started_at=None,
        job_id=None,
        attempt=None,
    )
