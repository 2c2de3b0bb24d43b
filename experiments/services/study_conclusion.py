"""The end of a study: its best trial is fitted once more and becomes a candidate."""

from typing import Any

import structlog
from django.utils import timezone

from experiments.events import StudyCompleted
from experiments.models import Study, Trial
from experiments.services import study_rows
from experiments.services.refitting import Made, candidate_of, fit, name_file, try_out
from experiments.services.study_objectives import ForecastObjective, TabularObjective
from experiments.services.study_rows import CONCLUDES, TIME_WAS_UP, TIMED_OUT, best_trial, lock_study, open_jobs
from experiments.services.study_settings import space_of_study
from experiments.services.trainers import trainer
from experiments.states import StudyStatus, TrialState
from mlops.database.reading import reading
from mlops.jobs.runner import Attempt
from mlops.jobs.services import Cancelled, JobRefused
from mlops.outbox.services import publish
from mlops.tenancy.roles import system
from registry.services.registration import PreparedArtifact

log = structlog.get_logger(__name__)


def conclude(attempt: Attempt, study: Study, objective: TabularObjective | ForecastObjective) -> dict[str, Any]:
    """End this worker's part; the last worker to end concludes the study. Raises JobRefused where there is nothing to conclude from."""
    if not _is_last(attempt, study):
        return {"note": "Other workers are still at it; the last one draws the conclusion."}
    with reading():
        trial = best_trial(study)
    if trial is None:
        raise JobRefused(_why_nothing(study))
    params = space_of_study(study).fixed | trial.params
    attempt.progress(0.92, f"fitting trial {trial.number} again")
    made = fit(study, objective, params, lambda _step, _value: attempt.check())
    attempt.progress(0.97, "trying the artifact")
    artifact = try_out(study.model, made)
    with attempt.fenced():
        name_file(lock_study(study.pk), artifact.stored.path)
    with attempt.fenced():
        return _register(attempt, study, trial, params, made, artifact)


def _is_last(attempt: Attempt, study: Study) -> bool:
    """Whether every other worker has ended; else this one's job ends here, in the transaction that looked."""
    with attempt.fenced():
        lock_study(study.pk)
        others = [job for job in open_jobs(study) if job.pk != attempt.job_id]
        if others:
            attempt.finish({"note": f"{len(others)} other workers are still at it; the last one draws the conclusion."})
    return not others


def _why_nothing(study: Study) -> str:
    with reading():
        errors = Trial.objects.filter(study=study, state=TrialState.FAIL).exclude(error__in=("", TIME_WAS_UP)).order_by("number")
        error = errors.values_list("error", flat=True).first()
        begun = Trial.objects.filter(study=study).exists()
    if error:
        return f"No trial was completed. The first failure: {error}"
    return "No trial was completed in time." if begun else "The time was over before the first trial."


def _register(
    attempt: Attempt, study: Study, trial: Trial, params: dict[str, Any], made: Made, artifact: PreparedArtifact
) -> dict[str, Any]:
    """Version, move and end of the job in one fenced transaction. Raises Cancelled where somebody cancelled meanwhile."""
    now = timezone.now()
    locked = lock_study(study.pk)
    if locked.cancel_requested_at or locked.status != StudyStatus.RUNNING:
        raise Cancelled
    trial.study = study
    who = trainer(attempt.payload, name=study.created_by, user_id=study.created_by_id)
    version = candidate_of(attempt, trial, params, made, artifact, by=who, at=now)
    by = system(attempt.customer_id, name=attempt.requested_by)
    told = _told(locked, made, short=CONCLUDES in attempt.payload)
    study_rows.drop_open_trials(locked, at=now, error="The time was over before this trial began.")
    study_rows.advance(locked, StudyStatus.COMPLETED, by=by, at=now, version=version, finished_at=now, user_attrs=told)
    value = float(trial.value or 0.0)
    publish(
        StudyCompleted(
            str(study.pk), locked.name, study.model.name, str(version.pk), version.version, study.metric, value, study.created_by
        ),
        at=now,
    )
    result = {"version": version.version, "version_id": str(version.pk), "trial": trial.number, "best_value": trial.value}
    log.info("study.completed", study=str(study.pk), version=str(version), trial=trial.number, value=trial.value)
    attempt.finish(result)
    return result


def _told(study: Study, made: Made, *, short: bool) -> dict[str, Any]:
    """What people should know of a locked study that ends. `short`: it is known why not all trials were run."""
    told: dict[str, Any] = dict(study.user_attrs)
    told["notes"] = [*told.get("notes", []), *made.notes]
    stopped = Trial.objects.filter(study=study, state=TrialState.FAIL, error=TIME_WAS_UP).count() if study.timeout_s else 0
    ended = study.finished_trials - stopped
    if study.timeout_s and not short and ended < study.n_trials:
        those = f"; {_that_ran(stopped)} stopped" if stopped else ""
        told["notes"] += [f"Ended by its time-out after {ended:,} of {study.n_trials:,} trials{those}."]
        told[TIMED_OUT] = ended
    return told


def _that_ran(count: int) -> str:
    return "the one that ran was" if count == 1 else f"the {count} that ran were"
