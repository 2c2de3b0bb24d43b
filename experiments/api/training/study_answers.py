"""What the calls about studies answer. Values are made by plain functions; fields are declared for OpenAPI."""

import math
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from experiments.models import Split, Study, Trial
from experiments.queries.studies import best_trial, progress_of
from experiments.services.trial_registration import Registration
from experiments.states import STUDY_LIFECYCLE, StudyStatus, TrialState
from registry.api.answers import Answer


def study_row(study: Study) -> dict[str, Any]:
    """One line of the list."""
    return {
        "id": study.pk,
        "name": study.name,
        "description": study.description,
        "status": study.status,
        "job_id": study.job_id,
        "split_id": study.split_id,
        "dataset_id": study.dataset_id,
        "algorithm": study.algorithm,
        "task": study.task,
        "metric": study.metric,
        "direction": study.direction,
        "n_trials": study.n_trials,
        "timeout_s": study.timeout_s,
        "sampler": study.sampler,
        "pruner": study.pruner,
        "seed": study.seed,
        "workers": study.workers,
        "progress": progress_of(study, at=timezone.now()),
        "best_number": study.best_number,
        "model_name": study.model.name,
        "version": study.version.version if study.version else None,
        "version_id": study.version_id,
        "proposal_id": study.proposal_id,
        "warm_start_from": study.warm_start_id,
        "error": study.error,
        "cancel_requested_at": study.cancel_requested_at,
        "revision": study.revision,
        "created_by": study.created_by,
        "created_at": study.created_at,
        "updated_at": study.updated_at,
        "started_at": study.started_at,
        "finished_at": study.finished_at,
    }


def study_detail(study: Study) -> dict[str, Any]:
    """A study with its search space and its best trial. One query more than a row."""
    best = best_trial(study)
    return {
        **study_row(study),
        "search_space": study.search_space,
        "preprocessing": study.preprocessing,
        "postprocessing": study.postprocessing,
        "best_trial": trial_row(best) if best else None,
        "notes": study.user_attrs.get("notes", []),
        "allowed_moves": [to for to in STUDY_LIFECYCLE.allowed(study.status) if to == StudyStatus.CANCELLED],
    }


def trial_row(trial: Trial) -> dict[str, Any]:
    """One trial. Numbers that are not finite never leave the server."""
    return {
        "number": trial.number,
        "state": trial.state,
        "value": _finite(trial.value),
        "params": trial.params,
        "metrics": trial.metrics,
        "intermediate_values": {step: _finite(value) for step, value in trial.intermediate_values.items()},
        "best_iteration": trial.user_attrs.get("best_iteration"),
        "error": trial.error,
        "version": made.version if (made := trial.registered) else None,
        "version_id": made.pk if made else None,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
        "duration_s": trial.duration_s,
    }


def registration_row(made: Registration) -> dict[str, Any]:
    """A trial and the version made of it, or the job that makes one."""
    return {
        "study_id": made.trial.study_id,
        "trial": made.trial.number,
        "model_name": made.trial.study.model.name,
        "version": made.version.version if made.version else None,
        "version_id": made.version.pk if made.version else None,
        "job_id": made.job_id,
    }


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


class ProgressAnswer(serializers.Serializer[Any]):
    """How far a study is."""

    finished = serializers.IntegerField(help_text="Trials that have ended, in any way.")
    total = serializers.IntegerField()
    best_value = serializers.FloatField(allow_null=True)
    eta_s = serializers.FloatField(allow_null=True, help_text="Seconds to go at the pace so far; null before there is one.")


class TrialAnswer(Answer):
    """A trial."""

    make = staticmethod(trial_row)

    number = serializers.IntegerField(help_text="From 0, without gaps.")
    state = serializers.ChoiceField(choices=TrialState.choices)
    value = serializers.FloatField(allow_null=True, help_text="The metric on validation; of a pruned trial the last one reported.")
    params = serializers.DictField(help_text="What was searched; fixed parameters stand in the search space.")
    metrics = serializers.DictField(child=serializers.FloatField(), help_text="Every metric on validation.")
    intermediate_values = serializers.DictField(
        child=serializers.FloatField(allow_null=True), help_text="The metric after so many iterations, of a forecast after so many origins."
    )
    best_iteration = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(help_text="Why it failed.")
    version = serializers.CharField(allow_null=True, help_text="The candidate that was made of it.")
    version_id = serializers.UUIDField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    duration_s = serializers.FloatField(allow_null=True)


class RegistrationAnswer(serializers.Serializer[Any]):
    """What became of a trial."""

    study_id = serializers.UUIDField()
    trial = serializers.IntegerField()
    model_name = serializers.CharField()
    version = serializers.CharField(allow_null=True, help_text="The candidate; null while a job makes it.")
    version_id = serializers.UUIDField(allow_null=True)
    job_id = serializers.UUIDField(allow_null=True, help_text="The job that makes the version; null where there is one.")


class StudyAnswer(Answer):
    """A study without its search space."""

    make = staticmethod(study_row)

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    status = serializers.ChoiceField(choices=StudyStatus.choices)
    job_id = serializers.UUIDField(allow_null=True, help_text="The first of its jobs.")
    split_id = serializers.UUIDField(allow_null=True)
    dataset_id = serializers.UUIDField(allow_null=True, help_text="Of a forecast.")
    algorithm = serializers.ChoiceField(choices=Study.Algorithm.choices)
    task = serializers.ChoiceField(choices=Split.Task.choices)
    metric = serializers.CharField()
    direction = serializers.ChoiceField(choices=Study.Direction.choices)
    n_trials = serializers.IntegerField()
    timeout_s = serializers.IntegerField(allow_null=True)
    sampler = serializers.CharField()
    pruner = serializers.CharField()
    seed = serializers.IntegerField()
    workers = serializers.IntegerField()
    progress = ProgressAnswer()
    best_number = serializers.IntegerField(allow_null=True, help_text="The best trial's number.")
    model_name = serializers.CharField()
    version = serializers.CharField(allow_null=True, help_text="The candidate it led to.")
    version_id = serializers.UUIDField(allow_null=True)
    proposal_id = serializers.UUIDField(allow_null=True)
    warm_start_from = serializers.UUIDField(allow_null=True)
    error = serializers.CharField(help_text="Why it failed.")
    cancel_requested_at = serializers.DateTimeField(allow_null=True)
    revision = serializers.IntegerField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class StudyDetailAnswer(StudyAnswer):
    """A study."""

    make = staticmethod(study_detail)

    search_space = serializers.DictField()
    preprocessing = serializers.DictField(help_text="As asked for; empty: the defaults.")
    postprocessing = serializers.DictField(help_text="As asked for; empty: the defaults.")
    best_trial = TrialAnswer(allow_null=True)
    notes = serializers.ListField(child=serializers.CharField(), help_text="What was not taken over from another study, and how it ended.")
    allowed_moves = serializers.ListField(child=serializers.CharField())
