"""Studies: asked for, renamed, cancelled, taken away. `searching` does the work."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from engine.tuning import samplers
from experiments.models import Experiment, Split, Study, Trial
from experiments.services.finding import lock_experiment
from experiments.services.running import begin
from experiments.services.splitting import lock_ready_split
from experiments.services.study_memory import check_memory
from experiments.services.study_rows import (
    KEPT,
    SEARCH_JOB,
    StudyRunning,
    best_trials,
    end_cancelled,
    job_key,
    lock_study,
    open_jobs,
    registering,
)
from experiments.services.study_settings import FORECAST, MOST_TRIALS, Settings, check_classes, model_name_from, settings_of
from experiments.services.trainers import ASKED_BY
from experiments.states import RUNNABLE, STUDY_LIFECYCLE, ExperimentStatus, StudyStatus, TrialState
from mlops.artifacts.storage import storage
from mlops.audit.services import record
from mlops.errors import InvalidField, NotFound
from mlops.jobs import services as jobs
from mlops.moments import iso
from mlops.tenancy.persons import party_of, trace
from mlops.tenancy.roles import Principal
from registry.models import Dataset, ModelVersion, RegisteredModel
from registry.services.lookups import IfMatch, hold_dataset
from registry.services.model_settings import register_model

MOST_WARM = 5
EDITABLE = frozenset({"name", "description"})


def create_study(
    *,
    name: str,
    by: Principal,
    at: datetime,
    description: str = "",
    split_id: UUID | None = None,
    dataset: Dataset | None = None,
    model_name: str = "",
    proposal_id: UUID | None = None,
    warm_start_from: UUID | None = None,
    task: str = "",
    **asked: Any,
) -> Study:
    """Write a study, its jobs and its queued trials in one transaction; workers start it after the commit.

    The model is registered when it is new; an approved proposal is in progress from now on. Raises InvalidField naming the field,
    SplitNotReady, or Forbidden.
    """
    by.authorize("study.run")
    _check_name(name)
    with transaction.atomic():
        proposal = _proposal(proposal_id)
        split = _split(split_id, task, dataset)
        task = split.task if split else FORECAST
        _hold_data(dataset, model_name or model_name_from(name), task)
        settings = settings_of(asked, task=task)
        if split is not None:
            _check_split(split, settings)
        earlier = _earlier(warm_start_from)
        warm = _warm(earlier, settings)
        settings = _with_budget(settings, warm)
        model = _model(model_name or model_name_from(name), settings, dataset, by=by, at=at)
        if proposal is not None:
            _begin_proposal(proposal, model, name, by=by, at=at)
        source: dict[str, Any] = {"split": split, "dataset": None if split else dataset or model.dataset}
        study = _insert(settings, name=name, description=description, source=source, model=model, proposal=proposal, by=by, at=at)
        _queue(study, earlier, warm)
        _request_jobs(study, by=by, at=at)
    return study


def change_study(*, study_id: UUID, changes: Mapping[str, Any], by: Principal, at: datetime, if_match: IfMatch | None = None) -> Study:
    """Rename or describe. Raises NotFound, InvalidField, Stale."""
    by.authorize("study.run")
    unknown = set(changes) - EDITABLE
    if unknown:
        raise InvalidField(min(unknown), f"Cannot be changed. Changeable: {', '.join(sorted(EDITABLE))}.")
    if "name" in changes:
        _check_name(changes["name"])
    with transaction.atomic():
        study = lock_study(study_id, if_match)
        new = {name: value for name, value in changes.items() if getattr(study, name) != value}
        if new:
            before = {name: getattr(study, name) for name in new}
            _write(study, **new, revision=study.revision + 1, updated_at=at)
            record(action="study.changed", target=study, label=str(study), at=at, before=before, after=new, actor=by)
    return study


def cancel_study(*, study_id: UUID, by: Principal, at: datetime, if_match: IfMatch | None = None) -> Study:
    """Stop a study: one that no worker has begun ends at once, a running one within a trial. Asking again changes nothing.

    Raises IllegalMove where it has completed or failed, NotFound, Stale.
    """
    by.authorize("study.run")
    with transaction.atomic():
        waiting = Study.objects.filter(pk=study_id, deleted_at=None).first()
        working = open_jobs(waiting, lock=True) if waiting else []
        study = lock_study(study_id, if_match)
        if study.status == StudyStatus.CANCELLED:
            return study
        STUDY_LIFECYCLE.check(label=str(study), current=study.status, target=StudyStatus.CANCELLED, actor=by)
        if study.cancel_requested_at is None:
            _write(study, cancel_requested_at=at, updated_at=at, revision=study.revision + 1)
            record(action="study.cancel_requested", target=study, label=str(study), at=at, actor=by)
        for job in working:
            jobs.cancel(job=job, at=at, by=by)
        if not open_jobs(study):
            end_cancelled(study, by=by, at=at)
    return study


def delete_study(*, study_id: UUID, by: Principal, at: datetime, delete_artifacts: bool = False, if_match: IfMatch | None = None) -> None:
    """Hide an ended study. With `delete_artifacts` its trials go too, but not those a version came from, and files of its own that no
    version refers to. Raises StudyRunning, NotFound, Stale."""
    by.authorize("study.delete")
    with transaction.atomic():
        study = lock_study(study_id, if_match)
        if study.is_open:
            raise StudyRunning(f"{study} is {study.status}. Cancel it first.")
        if numbers := sorted(registering(study)):
            raise StudyRunning(f"A version is being made of trial {numbers[0]} of {study}. Wait for it, or cancel its job.")
        _write(study, deleted_at=at, updated_at=at, revision=study.revision + 1)
        after = {"deleted_at": iso(at), "artifacts": "deleted" if delete_artifacts else "kept"}
        record(action="study.deleted", target=study, label=str(study), at=at, after=after, actor=by)
        if delete_artifacts:
            paths = unused_files(study)
            trials = Trial.objects.filter(study=study, version=None)
            (trials.exclude(number=study.best_number or 0) if study.version_id else trials).delete()
            transaction.on_commit(lambda: _discard(paths), robust=True)


def unused_files(study: Study) -> list[str]:
    """Files that were stored for the study or one of its trials and no version refers to."""
    of_trials = Trial.objects.filter(study=study, system_attrs__has_key=KEPT).values_list("system_attrs", flat=True)
    kept = [str(path) for attrs in (study.system_attrs, *of_trials) for path in attrs.get(KEPT, [])]
    used = set(ModelVersion.objects.filter(artifact_path__in=kept).values_list("artifact_path", flat=True))
    return [path for path in kept if path not in used]


def _discard(paths: list[str]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            storage().delete(path)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 200:
        raise InvalidField("name", "Must be 1 to 200 characters.")


def _write(study: Study, **values: Any) -> None:
    Study.objects.filter(pk=study.pk).update(**values)
    for name, value in values.items():
        setattr(study, name, value)


def _split(split_id: UUID | None, task: str, dataset: Dataset | None) -> Split | None:
    """The split to learn from, locked against deletion; None for a forecast. Raises InvalidField or SplitNotReady."""
    if task == FORECAST:
        if split_id is not None:
            raise InvalidField("split_id", "A forecast is not learnt from a split: name a dataset_id, or a model with a data set.")
        return None
    if dataset is not None:
        raise InvalidField("dataset_id", "Only a forecast is learnt from a data set; name a split_id.")
    if split_id is None:
        raise InvalidField("split_id", "Required, unless the task is forecast.")
    try:
        split = lock_ready_split(split_id)
    except NotFound as missing:
        raise InvalidField("split_id", str(missing)) from None
    if task and task != split.task:
        raise InvalidField("task", f"{split} is a split for {split.task}; leave the task out or name that one.")
    return split


def _check_split(split: Split, settings: Settings) -> None:
    """Raise InvalidField for a split whose parts do not fit into a worker's memory, or whose classes do not go with the options."""
    check_memory(split, settings)
    target: dict[str, Any] = next((column for column in split.profile if column["name"] == split.target), {})
    check_classes(settings, target.get("distinct") if split.task == "classification" else None)


def _hold_data(dataset: Dataset | None, model_name: str, task: str) -> None:
    """Keep the data set of a forecast from deletion: the one that is named, or the model's. Raises NotFound."""
    named = RegisteredModel.objects.filter(name=model_name).values_list("dataset_id", flat=True)
    held = dataset.pk if dataset else named.first() if task == FORECAST else None
    if held is not None:
        hold_dataset(held)


def _proposal(proposal_id: UUID | None) -> Experiment | None:
    if proposal_id is None:
        return None
    try:
        proposal = lock_experiment(proposal_id)
    except NotFound as missing:
        raise InvalidField("proposal_id", str(missing)) from None
    if proposal.status not in RUNNABLE:
        raise InvalidField("proposal_id", f"{proposal} is {proposal.status}; it has to be approved before work begins under it.")
    return proposal


def _begin_proposal(proposal: Experiment, model: RegisteredModel, study_name: str, *, by: Principal, at: datetime) -> None:
    if proposal.model_id not in (None, model.pk):
        raise InvalidField("proposal_id", f"{proposal} is about another model than {model.name}.")
    if proposal.status == ExperimentStatus.APPROVED:
        begin(proposal, by=by, at=at, reason=f"The study {study_name} began under it.")


def _earlier(study_id: UUID | None) -> Study | None:
    earlier = Study.objects.filter(pk=study_id, deleted_at=None).first() if study_id else None
    if study_id and earlier is None:
        raise InvalidField("warm_start_from", "There is no such study.")
    return earlier


def _model(name: str, settings: Settings, dataset: Dataset | None, *, by: Principal, at: datetime) -> RegisteredModel:
    """The model the candidate will be a version of. Raises InvalidField where one of another task has the name."""
    model = RegisteredModel.objects.filter(name=name).first()
    if model is None:
        if settings.task == FORECAST and dataset is None:
            raise InvalidField("dataset_id", "A forecast needs a data set: name one, or a model that has one.")
        linear = settings.space.fixed.get("kind") == "linear"
        try:
            return register_model(
                name=name, by=by, at=at, task=settings.task, model_type="traditional_ml" if linear else "ensemble", dataset=dataset
            )
        except InvalidField as refusal:
            raise InvalidField("model_name", str(refusal)) from None
    if model.task != settings.task:
        raise InvalidField("model_name", f"{name} is a {model.task} model; a {settings.task} study needs one of its own task.")
    if settings.task == FORECAST and dataset is None and model.dataset_id is None:
        raise InvalidField("dataset_id", f"{name} has no data set: name one.")
    return model


def _insert(
    settings: Settings,
    *,
    name: str,
    description: str,
    source: dict[str, Any],
    model: RegisteredModel,
    proposal: Experiment | None,
    by: Principal,
    at: datetime,
) -> Study:
    study = Study(
        name=name,
        description=description,
        **source,
        model=model,
        proposal=proposal,
        algorithm=settings.algorithm,
        task=settings.task,
        metric=settings.metric,
        direction=settings.direction,
        n_trials=settings.n_trials,
        timeout_s=settings.timeout_s,
        sampler=settings.sampler,
        pruner=settings.pruner,
        seed=settings.seed,
        workers=settings.workers,
        search_space=settings.space.to_json(),
        preprocessing=settings.preprocessing,
        postprocessing=settings.postprocessing,
        created_by=by.on_behalf_of or by.name,
        created_by_id=by.user_id,
        created_at=at,
        updated_at=at,
    )
    study.save(force_insert=True)
    asked = {"algorithm": study.algorithm, "metric": study.metric, "n_trials": study.n_trials, "model": model.name, "seed": study.seed}
    asked |= {name: given for name in ("preprocessing", "postprocessing") if (given := getattr(study, name))}
    asked |= {name: str(one.pk) for name, one in source.items() if one is not None}
    record(action="study.created", target=study, label=str(study), at=at, after=asked | trace(by), actor=by)
    return study


@dataclass(frozen=True)
class _Warm:
    """The trials that an earlier study gives, each with where it comes from; and why others were not taken over."""

    queued: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def points(self) -> list[dict[str, Any]]:
        """Their parameters."""
        return [params for params, _ in self.queued]


def _warm(earlier: Study | None, settings: Settings) -> _Warm:
    """The best trials of an earlier study that this space could have had, none of them twice."""
    if earlier is None:
        return _Warm()
    if (earlier.algorithm, earlier.task) != (settings.algorithm, settings.task):
        return _Warm(notes=(f"Nothing was taken over from {earlier}: it searched {earlier.algorithm} for {earlier.task}.",))
    notes: list[str] = []
    queued: dict[Any, tuple[dict[str, Any], dict[str, Any]]] = {}
    best = best_trials(earlier)
    space, grid = settings.space, settings.sampler == "grid"
    for trial in best[: MOST_WARM if grid else min(MOST_WARM, settings.n_trials)]:
        why = space.misfit({name: value for name, value in trial.params.items() if name not in space.fixed})
        if why:
            notes.append(f"Trial {trial.number} of {earlier} was not taken over: {why}.")
            continue
        params = space.point(trial.params) if grid else {name: trial.params[name] for name in space.searched}
        queued.setdefault(samplers.key_of(params), (params, {"warm_start": str(earlier.pk), "trial": trial.number}))
    if not best.exists():
        notes.append(f"Nothing was taken over from {earlier}: none of its trials is complete.")
    return _Warm(tuple(queued.values()), tuple(notes))


def _with_budget(settings: Settings, warm: _Warm) -> Settings:
    """Trials that are queued take none of a grid's budget; as they are points of it, there are never more trials than points."""
    if settings.sampler != "grid" or not warm.queued:
        return settings
    wanted = min(settings.n_trials + len(warm.queued), settings.space.grid_size(), MOST_TRIALS)
    return replace(settings, n_trials=wanted)


def _queue(study: Study, earlier: Study | None, warm: _Warm) -> None:
    """The best trials of an earlier study wait as the first ones of this."""
    if earlier is None:
        return
    Trial.objects.bulk_create(
        [
            Trial(study=study, number=number, state=TrialState.WAITING, system_attrs={"fixed_params": params}, user_attrs=origin)
            for number, (params, origin) in enumerate(warm.queued)
        ]
    )
    attrs = {"queued": len(warm.queued)} | ({"tried": warm.points} if study.sampler == "grid" else {})
    _write(study, warm_start=earlier, last_trial_number=len(warm.queued), system_attrs=attrs, user_attrs={"notes": list(warm.notes)})


def _request_jobs(study: Study, *, by: Principal, at: datetime) -> None:
    for worker in range(study.workers):
        label = f"Study {study.name}" if study.workers == 1 else f"Study {study.name}, worker {worker + 1} of {study.workers}"
        payload = {"study_id": str(study.pk), "worker": worker, ASKED_BY: party_of(by).to_json()}
        job = jobs.request(kind=SEARCH_JOB, payload=payload, label=label[:200], by=by, at=at, exclusive_key=job_key(study.pk, worker))
        if worker == 0:
            _write(study, job_id=job.pk)
