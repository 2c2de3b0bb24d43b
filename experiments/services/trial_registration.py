"""A chosen trial becomes a candidate, beside the best one, whose study sees to that itself: asked for by a person, done by a job."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from experiments.models import Study, Trial
from experiments.services.refitting import Made, candidate_of, fit, name_file, try_out
from experiments.services.study_objectives import objective_of
from experiments.services.study_rows import StudyRunning, find_study, lock_study, registration_key
from experiments.services.study_settings import space_of_study
from experiments.services.trainers import ASKED_BY, trainer
from experiments.states import TrialState
from mlops.audit.services import record
from mlops.database.reading import reading
from mlops.errors import DomainError, NotFound
from mlops.jobs import services as jobs
from mlops.jobs.runner import Attempt
from mlops.tenancy.persons import party_of
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.services.refusals import refusing
from registry.services.registration import PreparedArtifact

REGISTER_JOB = "study.register_trial"
log = structlog.get_logger(__name__)


class TrialNotComplete(DomainError):
    """Only of a complete trial is it known what it is worth."""

    code = "trial_not_complete"


@dataclass(frozen=True)
class Registration:
    """What became of a trial: the version that was made of it, or the job that makes one."""

    trial: Trial
    version: ModelVersion | None = None
    job_id: UUID | None = None


def register_trial(*, study_id: UUID, number: int, by: Principal, at: datetime) -> Registration:
    """Ask for a candidate made of a complete trial of a study that has ended. Asking again gives the job that is at it, or the version.

    Raises NotFound, StudyRunning, TrialNotComplete, Forbidden.
    """
    by.authorize("study.run")
    with transaction.atomic():
        study = lock_study(study_id)
        trial = find_trial(study, number)
        if made := trial.registered:
            return Registration(trial, version=made)
        if study.is_open:
            raise StudyRunning(f"{study} is {study.status}. Its trials can be registered when it has ended.")
        if trial.state != TrialState.COMPLETE or trial.value is None:
            how = trial.get_state_display().lower()
            raise TrialNotComplete(f"Trial {number} of {study} is {how}; only a complete one can be registered.")
        return Registration(trial, job_id=_request(study, trial, by=by, at=at))


def find_trial(study: Study, number: int) -> Trial:
    """The trial with what was made of it. Raises NotFound."""
    trial = study.trials.select_related("version").filter(number=number).first()
    if trial is None:
        raise NotFound(f"{study} has no trial {number}.")
    return trial


def work(attempt: Attempt) -> dict[str, Any]:
    """One attempt to make the version. Raises JobRefused where the study is gone or its data do not allow it."""
    with refusing():
        with reading():
            study = find_study(UUID(attempt.payload["study_id"]))
            trial = find_trial(study, attempt.payload["trial"])
        params = space_of_study(study).fixed | trial.params
        objective = objective_of(study)
        attempt.progress(0.1, f"fitting trial {trial.number} again")
        made = fit(study, objective, params, lambda _step, _value: attempt.check())
        attempt.progress(0.9, "trying the artifact")
        artifact = try_out(study.model, made)
        with attempt.fenced():
            lock_study(study.pk)
            name_file(Trial.objects.get(pk=trial.pk), artifact.stored.path)
        with attempt.fenced():
            return _register(attempt, trial, params, made, artifact)


def _request(study: Study, trial: Trial, *, by: Principal, at: datetime) -> UUID:
    """The job that makes the version: one at a time for each trial."""
    payload = {"study_id": str(study.pk), "trial": trial.number, "user_id": str(by.user_id or ""), ASKED_BY: party_of(by).to_json()}
    label = f"Register trial {trial.number} of study {study.name}"[:200]
    key = registration_key(study.pk, trial.number)
    try:
        job = jobs.request(kind=REGISTER_JOB, payload=payload, label=label, by=by, at=at, exclusive_key=key)
    except jobs.AlreadyRunning as running:
        return running.job.pk
    after = {"trial": trial.number, "value": trial.value, "job": str(job.pk)}
    record(action="study.registration_requested", target=study, label=str(study), at=at, after=after, actor=by)
    return job.pk


def _register(attempt: Attempt, trial: Trial, params: dict[str, Any], made: Made, artifact: PreparedArtifact) -> dict[str, Any]:
    """Version, the trial that names it, and the end of the job in one fenced transaction."""
    now, asked_by = timezone.now(), attempt.payload["user_id"]
    lock_study(trial.study_id)
    who = trainer(attempt.payload, name=attempt.requested_by, user_id=UUID(asked_by) if asked_by else None)
    version = candidate_of(attempt, trial, params, made, artifact, by=who, at=now)
    Trial.objects.filter(pk=trial.pk).update(version=version)
    result = {"version": version.version, "version_id": str(version.pk), "trial": trial.number, "value": trial.value}
    log.info("study.trial_registered", study=str(trial.study_id), version=str(version), trial=trial.number)
    attempt.finish(result | {"notes": list(made.notes)})
    return result
