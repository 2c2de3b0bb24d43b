"""Retraining: asked for, done by a job, judged in the arena, logged whatever comes of it."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from mlops.errors import DomainError, InvalidField
from mlops.jobs import services as jobs
from mlops.jobs.models import Job
from mlops.jobs.runner import Attempt
from mlops.jobs.services import AlreadyRunning, JobRefused
from mlops.outbox.services import publish
from mlops.tenancy.roles import Principal, Role, system
from registry.events import RetrainFailed
from registry.models import BacktestRun, Dataset, DatasetVersion, ModelVersion, RegisteredModel, RetrainingRun
from registry.rules.policy import Policy, parse
from registry.rules.recipes import build
from registry.services import judging
from registry.services.backtesting import Evaluation, evaluate, evaluate_version, store_run
from registry.services.dataset_files import data_path
from registry.services.datasets import import_path
from registry.services.lookups import lock_model
from registry.services.panels import NoData, model_panel, newest_data
from registry.services.promotion import promote
from registry.services.registration import PreparedArtifact, prepare_artifact, register_version
from registry.states import RetrainingStatus, Trigger

if TYPE_CHECKING:
    from engine.forecasting.protocol import Forecaster
    from engine.frames.panel import Panel

log = structlog.get_logger(__name__)

BASELINE = {"kind": "seasonal_naive"}
OPEN = (RetrainingStatus.QUEUED, RetrainingStatus.RUNNING)


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
    schedule: str = "",
    slot: datetime | None = None,
) -> RetrainingRun:
    """Ask for a retraining; a job does it. One at a time per model.

    `recipe` is fitted instead of the model's own, `as_of` looks at the data as it was on that day: for trials and replays.

    Raises AlreadyRunning, NotRetrainable, or InvalidField when there is no data to train on.
    """
    by.authorize("model.retrain")
    if model.task != RegisteredModel.Task.FORECAST:
        raise NotRetrainable(f"{model.name} is a {model.task} model; only forecast models are retrained by this call.")
    if not (data_dir or dataset or model.data_dir or model.dataset_id):
        raise InvalidField("dataset_id", "The model has no data source: name a dataset or a data_dir, or set one on the model.")
    if data_dir:
        data_path(data_dir)
    with transaction.atomic():
        lock_model(model.pk)
        job = jobs.request(
            kind="retrain",
            payload={
                "data_dir": data_dir,
                "dataset_id": str(dataset.pk) if dataset else "",
                "recipe": dict(recipe) if recipe else {},
                "as_of": as_of.isoformat() if as_of else "",
            },
            label=f"Retrain {model.name}",
            by=by,
            at=at,
            exclusive_key=f"retrain:{model.pk}",
            schedule=schedule,
            slot=slot,
        )
        return _log_run(model, trigger, job, by=by, at=at, reason=reason)


def _log_run(model: RegisteredModel, trigger: Trigger, job: Job, *, by: Principal, at: datetime, reason: str) -> RetrainingRun:
    run = RetrainingRun(
        model=model,
        model_name=model.name,
        trigger_type=trigger,
        reason=reason,
        job_id=job.pk,
        requested_by=by.name,
        requested_by_id=by.user_id,
        started_at=at,
    )
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError:  # the job before has ended and the news of it is still on its way
        raise AlreadyRunning(job) from None
    return run


@dataclass(frozen=True)
class _Trained:
    """A candidate that exists in memory and on disk, and nowhere else yet."""

    forecaster: "Forecaster"
    recipe: dict[str, Any]
    evaluation: Evaluation
    seconds: float


def retrain(attempt: Attempt) -> dict[str, Any]:
    """One attempt: train and measure outside any transaction, then register, store, judge and move in a single one inside the fence.

    Killed at any moment it leaves no half-written version; the next attempt starts over. Raises JobRefused where no attempt could succeed.
    """
    run, model = _begin(attempt)
    if run.status == RetrainingStatus.COMPLETED:
        return dict(run.metadata)
    try:
        data = _data(attempt, model)
        panel = _as_of(model_panel(model, data), attempt)
    except (NoData, DomainError) as refusal:
        raise JobRefused(str(refusal)) from None
    policy = parse(model.policy)
    requester = _requester(run)
    with transaction.atomic():
        champion = judging.champion_of(model)
    if champion is None:
        champion = _baseline(attempt, model, data, panel, policy)
    trained = _train(attempt, model, data, panel, policy, share=(0.1, 0.7))
    champion_found = _champion_evaluation(attempt, champion, data, panel, policy)
    attempt.progress(0.95, "judging")
    artifact = _prepare(model, trained.forecaster)
    with attempt.fenced():
        now = timezone.now()
        version = _register(model, trained, data, artifact, by=requester, at=now, run=run, parent=champion)
        store_run(version=version, evaluation=trained.evaluation, purpose=BacktestRun.Purpose.JUDGE, at=now, job_id=attempt.job_id)
        if champion_found is not None:
            store_run(version=champion, evaluation=champion_found, purpose=BacktestRun.Purpose.JUDGE, at=now, job_id=attempt.job_id)
        verdict = judging.pronounce(version=version, trigger=run.trigger_type, at=now)
        by = system(attempt.customer_id, name="arena")
        version = judging.act_on(verdict=verdict, trigger=Trigger(run.trigger_type), by=by, at=now)
        return _complete(run, version, verdict.summary, verdict.passed, trained, at=now)


def _begin(attempt: Attempt) -> tuple[RetrainingRun, RegisteredModel]:
    with attempt.fenced():
        run = RetrainingRun.objects.select_related("model").filter(job_id=attempt.job_id).first()
        if run is None:
            raise JobRefused("The retraining's log entry is gone.")
        if run.status == RetrainingStatus.QUEUED:
            run.status = RetrainingStatus.RUNNING
            run.save(update_fields=["status"])
    return run, run.model


def _as_of(panel: "Panel", attempt: Attempt) -> "Panel":
    day = attempt.payload.get("as_of")
    return panel.until(date.fromisoformat(day)) if day else panel


def _requester(run: RetrainingRun) -> Principal:
    """Whoever asked counts as the trainer, so that four eyes binds them."""
    return Principal("system", run.requested_by, Role.ADMIN, run.customer_id, user_id=run.requested_by_id)


def _data(attempt: Attempt, model: RegisteredModel) -> DatasetVersion:
    """The data of this retraining: a folder read anew, a named dataset, or the model's own."""
    attempt.progress(0.02, "reading the data")
    path = attempt.payload.get("data_dir") or ("" if attempt.payload.get("dataset_id") else model.data_dir)
    by = system(attempt.customer_id)
    if path:
        import_path(name=f"{model.name}.data", path=path, by=by, at=timezone.now(), model=model)
        with transaction.atomic():
            model.refresh_from_db()
    elif attempt.payload.get("dataset_id"):
        model.dataset_id = UUID(attempt.payload["dataset_id"])
    return newest_data(model)


def _baseline(attempt: Attempt, model: RegisteredModel, data: DatasetVersion, panel: "Panel", policy: Policy) -> ModelVersion:
    """Register the seasonal naive forecast as the first champion, so that even the first trained model has to win."""
    attempt.progress(0.05, "measuring the seasonal naive baseline")
    trained = _fit(BASELINE, data, panel, policy, lambda fraction, text: attempt.check())
    by = system(attempt.customer_id, name="baseline")
    artifact = _prepare(model, trained.forecaster)
    with attempt.fenced():
        now = timezone.now()
        version = _register(model, trained, data, artifact, by=by, at=now, run=None, parent=None)
        store_run(version=version, evaluation=trained.evaluation, purpose=BacktestRun.Purpose.JUDGE, at=now, job_id=attempt.job_id)
        verdict = judging.pronounce(version=version, trigger="baseline", at=now)
        promote(version_id=version.pk, by=by, at=now, reason=verdict.summary)
        version.refresh_from_db()
    return version


def _train(
    attempt: Attempt, model: RegisteredModel, data: DatasetVersion, panel: "Panel", policy: Policy, *, share: tuple[float, float]
) -> _Trained:
    start, end = share
    recipe = {"kind": "lightgbm", **(attempt.payload.get("recipe") or model.recipe)}

    def tell(fraction: float, text: str) -> None:
        attempt.progress(start + (end - start) * fraction, text)

    return _fit(recipe, data, panel, policy, tell)


def _fit(recipe: dict[str, Any], data: DatasetVersion, panel: "Panel", policy: Policy, tell: Any) -> _Trained:
    from engine.forecasting.protocol import ForecastError

    try:
        evaluation = evaluate(recipe=recipe, panel=panel, data=data, policy=policy, progress=lambda done, text: tell(0.8 * done, text))
        tell(0.85, "training on all data")
        began = time.perf_counter()
        forecaster = build(recipe, horizon=policy.horizon).fit(panel, through=panel.last_day)
    except ForecastError as refusal:
        raise JobRefused(f"The data is not enough: {refusal}") from None
    return _Trained(forecaster, recipe, evaluation, time.perf_counter() - began)


def _champion_evaluation(
    attempt: Attempt, champion: ModelVersion, data: DatasetVersion, panel: "Panel", policy: Policy
) -> Evaluation | None:
    """The champion's backtest on the same window and data; None if it is stored already or the champion does not predict here."""
    from engine.forecasting.protocol import ForecastError

    window = {
        "dataset_version": data,
        "window_end": panel.last_day,
        "horizon": policy.horizon,
        "options__window_days": policy.backtest_days,
    }
    with transaction.atomic():
        if not champion.has_artifact or champion.backtest_runs.filter(**window).exists():
            return None

    def tell(fraction: float, text: str) -> None:
        attempt.progress(0.7 + 0.25 * fraction, f"backtesting {champion.version}: {text}")

    try:
        return evaluate_version(version=champion, panel=panel, data=data, policy=policy, progress=tell)
    except ForecastError as refusal:
        log.warning("retraining.champion_not_measured", version=champion.version, why=str(refusal))
        return None


def _prepare(model: RegisteredModel, forecaster: "Forecaster") -> PreparedArtifact:
    from engine.forecasting.artifact import dump

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forecaster.json"
        path.write_bytes(dump(forecaster))
        return prepare_artifact(model=model, path=path)


def _register(
    model: RegisteredModel,
    trained: _Trained,
    data: DatasetVersion,
    artifact: PreparedArtifact,
    *,
    by: Principal,
    at: datetime,
    run: RetrainingRun | None,
    parent: ModelVersion | None,
) -> ModelVersion:
    return register_version(
        model=model,
        by=by,
        at=at,
        algorithm=trained.forecaster.kind,
        metrics={**trained.evaluation.metrics, "tier": _tier(trained.evaluation)},
        hyperparameters={name: value for name, value in trained.recipe.items() if name != "kind"},
        lineage={"recipe": trained.recipe, "retraining": str(run.pk) if run else None, "dataset": str(data.dataset_id)},
        dataset_version=data,
        parent=parent,
        trained_through=trained.forecaster.trained_through,
        training_seconds=trained.seconds,
        artifact=artifact,
    )


def _tier(evaluation: Evaluation) -> str:
    """The class of a forecast by its MASE: below 1 it beats the seasonal naive forecast on the training days."""
    mase = evaluation.metrics.get("mase")
    if mase is None:
        return "unrated"
    return "gold" if mase < 0.8 else "silver" if mase < 1.0 else "bronze"


def _complete(run: RetrainingRun, version: ModelVersion, summary: str, passed: bool, trained: _Trained, *, at: datetime) -> dict[str, Any]:
    run.status = RetrainingStatus.COMPLETED
    run.produced = version
    run.version_produced = version.version
    run.completed_at = at
    run.metadata = {
        "version": version.version,
        "status": version.status,
        "passed": passed,
        "verdict": summary,
        "metrics": trained.evaluation.metrics,
        "backtest_seconds": round(trained.evaluation.seconds, 2),
        "training_seconds": round(trained.seconds, 2),
    }
    run.save(update_fields=["status", "produced", "version_produced", "completed_at", "metadata"])
    return dict(run.metadata)


def end_without_version(*, job_id: UUID, status: RetrainingStatus, error: str, at: datetime) -> None:
    """The retraining's job failed or was cancelled: say so in the log, and tell those who care about a failure. Repeats change nothing."""
    run = RetrainingRun.objects.filter(job_id=job_id, status__in=OPEN).first()
    if run is None:
        return
    run.status, run.completed_at = status, at
    run.metadata = {**run.metadata, "error": error}
    run.save(update_fields=["status", "completed_at", "metadata"])
    if status == RetrainingStatus.FAILED:
        publish(RetrainFailed(run.model_name, str(run.pk), error), at=at)
