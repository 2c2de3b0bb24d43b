"""The end of a study: its best parameters are fitted once more, measured on data the search never saw, and registered as a candidate.

Fitting again is deterministic, so that the model is the best trial's; trials keep numbers and no models.
"""

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.utils import timezone

from engine.tabular.columns import PARTS
from experiments.events import StudyCompleted
from experiments.models import Study, Trial
from experiments.services import study_rows
from experiments.services.study_objectives import ForecastObjective, TabularObjective, learning_part
from experiments.services.study_rows import CONCLUDES, KEPT, TIMED_OUT, best_trial, lock_study, open_jobs
from experiments.services.study_settings import space_of_study
from experiments.services.trainers import trainer
from experiments.states import StudyStatus, TrialState
from mlops.artifacts.storage import storage
from mlops.database.reading import reading
from mlops.jobs.runner import Attempt
from mlops.jobs.services import Cancelled, JobRefused
from mlops.outbox.services import publish
from mlops.storable import clean
from mlops.tenancy.roles import system
from registry.models import BacktestRun, DatasetVersion, ModelVersion
from registry.services.backtesting import Evaluation, evaluate, store_run
from registry.services.registration import PreparedArtifact, prepare_artifact, register_version

if TYPE_CHECKING:
    import polars as pl

    from engine.tabular.model import TabularModel

log = structlog.get_logger(__name__)

_REFERENCE_ROWS = 100_000
_TIERS = {"regression": ("test_r2", 0.8, 0.5), "classification": ("test_roc_auc", 0.9, 0.75)}
"""The metric a model's class is told by, and the least values of gold and silver."""


@dataclass(frozen=True)
class _Made:
    """A candidate that is nowhere yet but in memory."""

    document: bytes
    algorithm: str
    metrics: dict[str, Any]
    seconds: float
    reference: dict[str, Any]
    signature: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    data: DatasetVersion | None = None
    trained_through: date | None = None
    evaluation: Evaluation | None = None
    notes: tuple[str, ...] = ()


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
    made = _fit(study, objective, params, lambda _step, _value: attempt.check())
    attempt.progress(0.97, "trying the artifact")
    artifact = _prepare(attempt, study, made)
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
        errors = Trial.objects.filter(study=study, state=TrialState.FAIL).exclude(error="").order_by("number")
        error = errors.values_list("error", flat=True).first()
        begun = Trial.objects.filter(study=study).exists()
    if error:
        return f"No trial was completed. The first failure: {error}"
    return "No trial was completed in time." if begun else "The time was over before the first trial."


def _fit(
    study: Study, objective: TabularObjective | ForecastObjective, params: dict[str, Any], report: Callable[[int, float], None]
) -> _Made:
    if isinstance(objective, ForecastObjective):
        return _fit_forecast(objective, params, report)
    return _fit_tabular(study, objective, params, report)


def _fit_tabular(study: Study, objective: TabularObjective, params: dict[str, Any], report: Callable[[int, float], None]) -> _Made:
    from engine.tabular.explaining import with_importance

    trained = objective.fit(params, report)
    test, notes = _measure_on_test(trained.model, objective)
    metrics: dict[str, Any] = {**trained.metrics, **{f"test_{name}": value for name, value in test.items()}}
    lineage = {
        "split": str(objective.split.pk),
        "split_id": str(objective.split.pk),
        "parts": {name: objective.split.parts[name]["sha256"] for name in PARTS},
        **_processing(study, trained.model),
    }
    return _Made(
        document=_document(with_importance(trained.model, objective.parts["train"])),
        algorithm=study.algorithm,
        metrics={**metrics, "tier": tier_of(study.task, metrics)},
        seconds=trained.seconds,
        reference=_reference(trained.model, objective.parts["train"]),
        signature=trained.model.signature,
        lineage=lineage,
        notes=notes,
    )


def _processing(study: Study, model: "TabularModel") -> dict[str, Any]:
    """What was asked for beside the parameters, and what became of it: a threshold that was found, bounds that were learnt."""
    told: dict[str, Any] = {"preprocessing": study.preprocessing} if study.preprocessing else {}
    if study.postprocessing:
        learnt = {name: value for name, value in model.postprocessor.to_json().items() if name != "labels"}
        told |= {"postprocessing": study.postprocessing, "postprocessor": learnt}
    return told


def _measure_on_test(model: "TabularModel", objective: TabularObjective) -> tuple[dict[str, float], tuple[str, ...]]:
    """Metrics on the part the search never saw; none, and a note, where that part cannot be measured on, as with a class of its own."""
    from engine.tabular.problems import PredictError, TrainingError
    from engine.tabular.training import measure

    try:
        return measure(model, learning_part(objective.split, "test")), ()
    except (PredictError, TrainingError) as problem:
        return {}, (clean(f"The test part could not be measured: {problem}"[:500]),)


def _document(model: "TabularModel") -> bytes:
    from engine.tabular.artifact import ArtifactError, dump

    try:
        return dump(model)
    except ArtifactError as refusal:
        raise JobRefused(f"The best model cannot be kept: {refusal}.") from refusal


def _fit_forecast(objective: ForecastObjective, params: dict[str, Any], report: Callable[[int, float], None]) -> _Made:
    """As a retraining: the whole backtest on the final window, then a fit on all data."""
    from time import perf_counter

    from engine.forecasting.artifact import dump
    from engine.formats.reference import describe
    from registry.rules.recipes import build
    from registry.services.panels import model_panel

    recipe = objective.recipe(params)
    panel = model_panel(objective.model, objective.data)
    evaluation = evaluate(
        recipe=recipe, panel=panel, data=objective.data, policy=objective.policy, progress=lambda _fraction, _text: report(-1, 0.0)
    )
    began = perf_counter()
    forecaster = build(recipe, horizon=objective.policy.horizon).fit(panel, through=panel.last_day)
    seconds = perf_counter() - began
    return _Made(
        document=dump(forecaster),
        algorithm=forecaster.kind,
        metrics={**evaluation.metrics, "tier": tier_of("forecast", evaluation.metrics)},
        seconds=seconds,
        reference=describe(panel.frame.drop("series", "date", "target"), target=panel.frame["target"]).to_json(),
        lineage={"recipe": recipe, "dataset": str(objective.data.dataset_id)},
        data=objective.data,
        trained_through=forecaster.trained_through,
        evaluation=evaluation,
    )


def tier_of(task: str, metrics: dict[str, Any]) -> str:
    """The class of a model on data it never saw: by MASE for forecasts (below 1 beats the seasonal naive), R² for regression, ROC AUC
    for classification. `unrated` where that has no value."""
    if task == "forecast":
        mase = metrics.get("mase")
        return "unrated" if mase is None else "gold" if mase < 0.8 else "silver" if mase < 1.0 else "bronze"
    name, gold, silver = _TIERS[task]
    value = metrics.get(name)
    return "unrated" if value is None else "gold" if value >= gold else "silver" if value >= silver else "bronze"


def _reference(model: "TabularModel", train: "pl.DataFrame") -> dict[str, Any]:
    """Statistics of the training data and of what the model says about it, to tell later drift by."""
    import polars as pl

    from engine.formats.reference import describe

    rows = train if train.height <= _REFERENCE_ROWS else train.sample(_REFERENCE_ROWS, seed=0)
    answers = pl.Series("prediction", model.predict(rows).values, strict=False)
    found: dict[str, Any] = clean(describe(rows.select(model.features), target=rows[model.target], predictions=answers).to_json())
    return found


def _prepare(attempt: Attempt, study: Study, made: _Made) -> PreparedArtifact:
    """Try and store the artifact. The study names it, so that whoever comes after a failure finds what to remove."""
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        path = Path(folder) / "model.json"
        path.write_bytes(made.document)
        prepared = prepare_artifact(model=study.model, path=path)
    with attempt.fenced():
        locked = lock_study(study.pk)
        kept = [prepared.stored.path]
        for earlier in locked.system_attrs.get(KEPT, []):
            if ModelVersion.objects.filter(artifact_path=earlier).exists():
                kept.append(earlier)
                continue
            with suppress(FileNotFoundError):
                storage().delete(earlier)
        Study.objects.filter(pk=study.pk).update(system_attrs=locked.system_attrs | {KEPT: kept})
    return prepared


def _register(
    attempt: Attempt, study: Study, trial: Trial, params: dict[str, Any], made: _Made, artifact: PreparedArtifact
) -> dict[str, Any]:
    """Version, move and end of the job in one fenced transaction. Raises Cancelled where somebody cancelled meanwhile."""
    now = timezone.now()
    locked = lock_study(study.pk)
    if locked.cancel_requested_at or locked.status != StudyStatus.RUNNING:
        raise Cancelled
    version = register_version(
        model=study.model,
        by=trainer(attempt.payload, name=study.created_by, user_id=study.created_by_id),
        at=now,
        algorithm=made.algorithm,
        metrics=made.metrics,
        hyperparameters=params,
        signature=made.signature,
        reference_statistics=made.reference,
        lineage=made.lineage | _lineage(study, trial),
        dataset_version=made.data,
        trained_through=made.trained_through,
        training_seconds=made.seconds,
        artifact=artifact,
    )
    if made.evaluation is not None:
        store_run(version=version, evaluation=made.evaluation, purpose=BacktestRun.Purpose.JUDGE, at=now, job_id=attempt.job_id)
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


def _told(study: Study, made: _Made, *, short: bool) -> dict[str, Any]:
    """What people should know of a locked study that ends. `short`: it is known why not all trials were run."""
    told: dict[str, Any] = dict(study.user_attrs)
    told["notes"] = [*told.get("notes", []), *made.notes]
    if study.timeout_s and not short and study.finished_trials < study.n_trials:
        told["notes"] += [f"Ended by its time-out after {study.finished_trials:,} of {study.n_trials:,} trials."]
        told[TIMED_OUT] = study.finished_trials
    return told


def _lineage(study: Study, trial: Trial) -> dict[str, Any]:
    """Where the version comes from. `study`, `experiment` and `code` are the registry's own words for it."""
    ids = {"study": str(study.pk), "study_id": str(study.pk), "trial": trial.number, "code": code_revision()}
    if study.proposal_id:
        ids |= {"experiment": str(study.proposal_id), "proposal_id": str(study.proposal_id)}
    return ids


@lru_cache(maxsize=1)
def code_revision() -> str:
    """The digest of the code that trains: equal code, data, parameters and seed give equal models."""
    folder = Path(settings.BASE_DIR) / "engine"
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return f"engine-{digest.hexdigest()[:16]}"
