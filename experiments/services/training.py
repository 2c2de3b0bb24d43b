"""The work of a retraining: the baseline where there is no champion, a candidate, its evidence, the verdict and what follows from it."""

import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.utils import timezone

from experiments.services.code_revision import code_revision
from experiments.services.retraining import KEPT_ARTIFACTS, discard_artifacts
from experiments.services.trainers import trainer
from mlops.database.reading import reading
from mlops.jobs.runner import Attempt
from mlops.jobs.services import JobRefused
from mlops.tenancy.context import required
from mlops.tenancy.roles import Principal, system
from registry.models import BacktestRun, DatasetVersion, ModelVersion, RegisteredModel, RetrainingRun
from registry.rules.policy import Policy, parse
from registry.rules.recipes import build
from registry.rules.tiers import tier_of
from registry.services import judging
from registry.services.artifacts import NoArtifact
from registry.services.backtesting import Evaluation, Progress, evaluate, evaluate_version, run_on, store_run
from registry.services.lookups import champion_of
from registry.services.panels import folder_data, model_panel, newest_data, refresh_data, take_as_source
from registry.services.promotion import promote
from registry.services.refusals import refusing
from registry.services.registration import PreparedArtifact, prepare_artifact, register_version
from registry.states import RetrainingStatus, Trigger

if TYPE_CHECKING:
    from engine.forecasting.protocol import Forecaster
    from engine.frames.panel import Panel

log = structlog.get_logger(__name__)

BASELINE = {"kind": "seasonal_naive"}


@dataclass(frozen=True)
class _Ground:
    """What both sides are trained and measured on."""

    model: RegisteredModel
    data: DatasetVersion
    panel: "Panel"
    policy: Policy


@dataclass(frozen=True)
class _Trained:
    """A candidate that exists in memory and on disk, and nowhere else yet."""

    forecaster: "Forecaster"
    recipe: dict[str, Any]
    evaluation: Evaluation
    reference: dict[str, Any]
    """Statistics of the training data, to tell later drift by."""
    seconds: float


def retrain(attempt: Attempt) -> dict[str, Any]:
    """One attempt: train and measure outside any transaction, then register, store, judge, move and end the job in a single one.

    Killed at any moment it leaves no half-written version; the next attempt starts over, from the baseline if that was finished. Raises
    JobRefused where no attempt could succeed.
    """
    with refusing():
        run = _begin(attempt)
        ground = _ground(attempt, run)
        with reading():
            champion = champion_of(run.model)
        if champion is None:
            champion = _crown_baseline(attempt, run, ground)
        recipe = {"kind": "lightgbm", **(attempt.payload.get("recipe") or run.model.recipe)}
        trained = _fit(recipe, ground, _share(attempt, 0.1, 0.7))
        measured = _measure_champion(champion, ground, _share(attempt, 0.7, 0.95, f"backtesting {champion.version}: "))
        attempt.progress(0.95, "judging")
        artifact = _prepare(attempt, run, trained.forecaster)
        with attempt.fenced():
            version = _register(trained, ground, artifact, by=_asked_by(attempt, run), run=run, parent=champion)
            if measured is not None:
                store_run(
                    version=champion, evaluation=measured, purpose=BacktestRun.Purpose.JUDGE, at=timezone.now(), job_id=attempt.job_id
                )
            result = _conclude(run, version, trained)
            attempt.finish(result)
    return result


def _begin(attempt: Attempt) -> RetrainingRun:
    with attempt.fenced():
        run = RetrainingRun.objects.select_related("model").filter(job_id=attempt.job_id).first()
        if run is None:
            raise JobRefused("The retraining's log entry is gone.")
        discard_artifacts(run)
        run.status, run.metadata = RetrainingStatus.RUNNING, {"attempt": attempt.number}
        run.save(update_fields=["status", "metadata"])
    return run


def _ground(attempt: Attempt, run: RetrainingRun) -> _Ground:
    """The data of this retraining: a named data set or folder, or the model's own, read anew where that is a folder."""
    attempt.progress(0.02, "reading the data")
    model, dataset_id, folder = run.model, attempt.payload.get("dataset_id"), attempt.payload.get("data_dir", "")
    if dataset_id:
        model.dataset_id = UUID(dataset_id)  # for this retraining alone: the row is not saved
    elif folder:
        _read(folder, model, by=_asked_by(attempt, run), may_become_source=bool(attempt.payload.get("may_become_source")))
    else:
        refresh_data(model, by=system(attempt.customer_id), at=timezone.now())
    data = newest_data(model)
    as_of = attempt.payload.get("as_of")
    panel = model_panel(model, data, through=date.fromisoformat(as_of) if as_of else None)
    return _Ground(model, data, panel, parse(model.policy))


def _read(folder: str, model: RegisteredModel, *, by: Principal, may_become_source: bool) -> None:
    now = timezone.now()
    if not (may_become_source and take_as_source(model, path=folder, by=by, at=now)):
        model.dataset = folder_data(model, path=folder, by=by, at=now)  # as above: the row is not saved


def _asked_by(attempt: Attempt, run: RetrainingRun) -> Principal:
    return trainer(attempt.payload, name=run.requested_by, user_id=run.requested_by_id)


def _crown_baseline(attempt: Attempt, run: RetrainingRun, ground: _Ground) -> ModelVersion:
    """Register the seasonal naive forecast as the first champion, so that even the first trained model has to win."""
    attempt.progress(0.05, "measuring the seasonal naive baseline")
    trained = _fit(BASELINE, ground, lambda _fraction, _text: attempt.check())
    by = system(attempt.customer_id, name="baseline")
    artifact = _prepare(attempt, run, trained.forecaster)
    with attempt.fenced():
        version = _register(trained, ground, artifact, by=by, run=run, parent=None)
        verdict = judging.pronounce(version=version, trigger="baseline", at=timezone.now())
        promote(version_id=version.pk, by=by, at=timezone.now(), reason=verdict.summary)
        version.refresh_from_db()
    return version


def _share(attempt: Attempt, start: float, end: float, prefix: str = "") -> Progress:
    """A progress callback for a stretch of the whole."""

    def tell(fraction: float, text: str) -> None:
        attempt.progress(start + (end - start) * fraction, f"{prefix}{text}")

    return tell


def _fit(recipe: dict[str, Any], ground: _Ground, tell: Progress) -> _Trained:
    evaluation = evaluate(
        recipe=recipe, panel=ground.panel, data=ground.data, policy=ground.policy, progress=lambda done, text: tell(0.8 * done, text)
    )
    tell(0.85, "training on all data")
    began = time.perf_counter()
    forecaster = build(recipe, horizon=ground.policy.horizon).fit(ground.panel, through=ground.panel.last_day)
    seconds = time.perf_counter() - began
    return _Trained(forecaster, recipe, evaluation, _reference_of(ground.panel), seconds)


def _reference_of(panel: "Panel") -> dict[str, Any]:
    from engine.formats.reference import describe

    return describe(panel.frame.drop("series", "date", "target"), target=panel.frame["target"]).to_json()


def _measure_champion(champion: ModelVersion, ground: _Ground, tell: Progress) -> Evaluation | None:
    """The champion's backtest on the same ground; None if it is stored already or the champion cannot predict this here."""
    from engine.forecasting.protocol import ForecastError

    with reading():
        stored = run_on(champion, panel=ground.panel, data=ground.data, policy=ground.policy)
    if stored is not None or not champion.has_artifact:
        return None
    try:
        return evaluate_version(version=champion, panel=ground.panel, data=ground.data, policy=ground.policy, progress=tell)
    except (ForecastError, NoArtifact) as refusal:
        log.warning("retraining.champion_not_measured", version=champion.version, why=str(refusal))
        return None


def _prepare(attempt: Attempt, run: RetrainingRun, forecaster: "Forecaster") -> PreparedArtifact:
    """Try and store the artifact. The log names it, so that whoever comes after a failure finds what to remove."""
    from engine.forecasting.artifact import dump

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forecaster.json"
        path.write_bytes(dump(forecaster))
        prepared = prepare_artifact(model=run.model, path=path)
    with attempt.fenced():
        run.metadata = {**run.metadata, KEPT_ARTIFACTS: [*run.metadata.get(KEPT_ARTIFACTS, []), prepared.stored.path]}
        run.save(update_fields=["metadata"])
    return prepared


def _register(
    trained: _Trained, ground: _Ground, artifact: PreparedArtifact, *, by: Principal, run: RetrainingRun, parent: ModelVersion | None
) -> ModelVersion:
    """Register the candidate with its backtest, inside the fence."""
    now = timezone.now()
    version = register_version(
        model=ground.model,
        by=by,
        at=now,
        algorithm=trained.forecaster.kind,
        metrics={**trained.evaluation.metrics, "tier": tier_of("forecast", trained.evaluation.metrics)},
        hyperparameters={name: value for name, value in trained.recipe.items() if name != "kind"},
        lineage={"recipe": trained.recipe, "retraining": str(run.pk), "dataset": str(ground.data.dataset_id), "code": code_revision()},
        dataset_version=ground.data,
        parent=parent,
        reference_statistics=trained.reference,
        trained_through=trained.forecaster.trained_through,
        training_seconds=trained.seconds,
        artifact=artifact,
    )
    store_run(version=version, evaluation=trained.evaluation, purpose=BacktestRun.Purpose.JUDGE, at=now, job_id=run.job_id)
    return version


def _conclude(run: RetrainingRun, version: ModelVersion, trained: _Trained) -> dict[str, Any]:
    """Judge the candidate, do what the policy says, and close the log entry, inside the fence."""
    now = timezone.now()
    trigger = Trigger(run.trigger_type)
    verdict = judging.pronounce(version=version, trigger=trigger, at=now)
    version = judging.act_on(verdict=verdict, trigger=trigger, by=system(required(), name="arena"), at=now)
    result: dict[str, Any] = {
        "version": version.version,
        "status": version.status,
        "passed": verdict.passed,
        "verdict": verdict.summary,
        "metrics": trained.evaluation.metrics,
        "backtest_seconds": round(trained.evaluation.seconds, 2),
        "training_seconds": round(trained.seconds, 2),
    }
    run.status = RetrainingStatus.COMPLETED
    run.produced = version
    run.version_produced = version.version
    run.completed_at = now
    run.metadata = result
    run.save(update_fields=["status", "produced", "version_produced", "completed_at", "metadata"])
    return result
