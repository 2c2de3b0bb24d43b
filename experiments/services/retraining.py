"""Retrainings: asked for, one at a time per model, and logged whatever comes of them. `training` does the work."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from experiments.services.trainers import ASKED_BY
from mlops.artifacts.storage import storage
from mlops.database.reading import reading
from mlops.errors import DomainError, InvalidField, NotFound
from mlops.jobs import services as jobs
from mlops.jobs.models import Job, JobState
from mlops.jobs.queries import jobs as all_jobs
from mlops.outbox.services import publish
from mlops.tenancy.persons import party_of
from mlops.tenancy.roles import Principal
from registry.events import RetrainFailed
from registry.models import Dataset, DatasetVersion, ModelVersion, RegisteredModel, RetrainingRun
from registry.rules.policy import parse
from registry.services.dataset_files import data_path
from registry.services.lookups import lock_model
from registry.services.model_settings import checked_recipe
from registry.states import OPEN_RETRAININGS, DatasetVersionStatus, RetrainingStatus, Trigger

log = structlog.get_logger(__name__)

KEPT_ARTIFACTS = "artifacts"
"""Where a run's metadata names the files its attempts have stored, until one of them becomes a version."""


class NotRetrainable(DomainError):
    """Only forecast models are retrained here; others are trained by studies."""

    code = "not_retrainable"


def request_retrain(
    *,
    model: RegisteredModel,
    trigger: Trigger,
    by: Principal,
    at: datetime,
    reason: str = "",
    data_dir: str = "",
    dataset: Dataset | None = None,
    recipe: Mapping[str, Any] | None = None,
    as_of: date | None = None,
) -> RetrainingRun:
    """Ask for a retraining; a job does it. One at a time per model.

    `recipe` is fitted instead of the model's own, `as_of` looks at the data as it was on that day: for trials and replays. `dataset` and
    `data_dir` are for this retraining alone, except that a model without a source gets the folder as its own from whoever may configure it.

    Raises AlreadyRunning, NotRetrainable, or InvalidField for a source outside the allowed roots, an impossible recipe, no or little data.
    """
    by.authorize("model.retrain")
    if model.task != RegisteredModel.Task.FORECAST:
        raise NotRetrainable(f"{model.name} is a {model.task} model; only forecast models are retrained by this call.")
    if not (data_dir or dataset or model.data_dir or model.dataset_id):
        raise InvalidField("dataset_id", "The model has no data source: name a dataset or a data_dir, or set one on the model.")
    if data_dir:
        data_path(data_dir)
    else:
        _check_history(model, dataset)
    fitted = checked_recipe(recipe or {})
    with transaction.atomic():
        lock_model(model.pk)
        job = jobs.request(
            kind="retrain",
            payload={
                "data_dir": data_dir,
                "may_become_source": bool(data_dir) and not (model.data_dir or model.dataset_id) and by.may("model.configure"),
                "dataset_id": str(dataset.pk) if dataset else "",
                "recipe": fitted,
                "as_of": as_of.isoformat() if as_of else "",
                ASKED_BY: party_of(by).to_json(),
            },
            label=f"Retrain {model.name}",
            by=by,
            at=at,
            exclusive_key=f"retrain:{model.pk}",
        )
        _close_ended(model, at=at)
        return RetrainingRun.objects.create(
            model=model,
            model_name=model.name,
            trigger_type=trigger,
            reason=reason,
            job_id=job.pk,
            requested_by=by.name,
            requested_by_id=by.user_id,
            started_at=at,
        )


def request_retrainings(
    *, trigger: str, by: Principal, at: datetime, data_dir: str = "", model_name: str = "", schedule: str = "", slot: datetime | None = None
) -> Job:
    """Ask for a retraining of every scheduled forecast model, or of the one named, in one job: the slot of a schedule is one row.

    Nobody reads what a task raises, so what cannot be done fails the job, which says why and alerts.
    """
    by.authorize("model.retrain")
    return jobs.request(
        kind="retrain_models",
        payload={"trigger": trigger, "data_dir": data_dir, "model_name": model_name},
        label=f"Retrain {model_name or 'all scheduled models'}",
        by=by,
        at=at,
        schedule=schedule,
        slot=slot,
    )


def start_retrainings(*, trigger: str, by: Principal, at: datetime, data_dir: str, model_name: str) -> dict[str, Any]:
    """Request the retrainings in the caller's transaction: `started` has each model's job, `passed_over` why another got none.

    Raises InvalidField for an unknown trigger or a `data_dir` outside the allowed roots, NotFound for a model that does not exist.
    """
    if trigger not in Trigger.values:
        raise InvalidField("trigger", f"The trigger must be one of: {', '.join(Trigger.values)}.")
    if data_dir:
        data_path(data_dir)
    chosen = RegisteredModel.objects.filter(task=RegisteredModel.Task.FORECAST).order_by("name")
    if model_name and not RegisteredModel.objects.filter(name=model_name).exists():
        raise NotFound(f"There is no model named {model_name}.")
    started, passed_over = {}, {}
    for model in chosen.filter(name=model_name) if model_name else chosen.filter(scheduled=True):
        try:
            with transaction.atomic():
                run = request_retrain(model=model, trigger=Trigger(trigger), by=by, at=at, data_dir=data_dir)
        except DomainError as refusal:
            log.warning("retraining.passed_over", model=model.name, why=str(refusal))
            passed_over[model.name] = str(refusal)
        else:
            started[model.name] = str(run.job_id)
    return {"started": started, "passed_over": passed_over}


def _check_history(model: RegisteredModel, dataset: Dataset | None) -> None:
    """Raise InvalidField where the newest data that is ready is all backtest and nothing to learn from."""
    with reading():
        ready = DatasetVersion.objects.filter(dataset=dataset or model.dataset_id, status=DatasetVersionStatus.READY)
        newest = ready.select_related("dataset").order_by("-number").first()
    if newest is None or newest.first_day is None or newest.last_day is None:
        return
    days, window = (newest.last_day - newest.first_day).days + 1, parse(model.policy).backtest_days
    if days <= window:
        why = f"{newest} has {days} days, all of which a backtest over {window} needs. Send more, or lower the policy's backtest_days."
        raise InvalidField("dataset_id", why)


def end_without_version(*, job_id: UUID, status: RetrainingStatus, error: str, at: datetime) -> None:
    """The retraining's job failed or was cancelled: say so in the log, and tell those who care about a failure. Repeats change nothing."""
    with transaction.atomic():
        run = RetrainingRun.objects.select_for_update(no_key=True).filter(job_id=job_id, status__in=OPEN_RETRAININGS).first()
        if run is not None:
            _end(run, status, error, at=at)


def discard_artifacts(run: RetrainingRun) -> None:
    """Remove the files that attempts stored and no version refers to. Only what this run itself has put there is looked at."""
    for path in run.metadata.get(KEPT_ARTIFACTS, []):
        if not ModelVersion.objects.filter(artifact_path=path).exists():
            with suppress(FileNotFoundError):
                storage().delete(path)


def _close_ended(model: RegisteredModel, *, at: datetime) -> None:
    """End what the log still calls open although its job has ended: the news of that may be on its way for a while, and must not bar
    the next retraining. The caller holds the model's lock and its exclusive key, so no open job is among them."""
    for run in RetrainingRun.objects.select_for_update(no_key=True).filter(model=model, status__in=OPEN_RETRAININGS):
        job = all_jobs().filter(pk=run.job_id).first() if run.job_id else None
        if job is not None and job.state == JobState.CANCELLED:
            _end(run, RetrainingStatus.CANCELLED, "Cancelled.", at=at)
        else:
            _end(run, RetrainingStatus.FAILED, (job.last_error if job else "") or "The job ended without a version.", at=at)


def _end(run: RetrainingRun, status: RetrainingStatus, error: str, *, at: datetime) -> None:
    discard_artifacts(run)
    run.status, run.completed_at = status, at
    run.metadata = {"error": error}
    run.save(update_fields=["status", "completed_at", "metadata"])
    if status == RetrainingStatus.FAILED:
        publish(RetrainFailed(run.model_name, str(run.pk), error), at=at)
