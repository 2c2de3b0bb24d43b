"""A trial's parameters fitted once more: measured on data the search never saw, kept, and registered as a candidate.

Fitting again is deterministic, so that the model is the trial's; trials keep numbers and no models.
"""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from engine.tabular.columns import PARTS
from experiments.models import Study, Trial
from experiments.services.code_revision import code_revision
from experiments.services.study_objectives import ForecastObjective, TabularObjective, learning_part
from experiments.services.study_rows import KEPT
from mlops.artifacts.storage import storage
from mlops.jobs.runner import Attempt
from mlops.jobs.services import JobRefused
from mlops.storable import clean
from mlops.tenancy.roles import Principal
from registry.models import BacktestRun, DatasetVersion, ModelVersion, RegisteredModel
from registry.rules.tiers import tier_of
from registry.services.backtesting import Evaluation, evaluate, store_run
from registry.services.registration import PreparedArtifact, prepare_artifact, register_version

if TYPE_CHECKING:
    import polars as pl

    from engine.tabular.model import TabularModel

_REFERENCE_ROWS = 100_000


@dataclass(frozen=True)
class Made:
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


def fit(
    study: Study, objective: TabularObjective | ForecastObjective, params: dict[str, Any], report: Callable[[int, float], None]
) -> Made:
    """Fit the parameters, fixed ones included. Raises what `report` raises, and JobRefused for a model that cannot be kept."""
    if isinstance(objective, ForecastObjective):
        return _fit_forecast(objective, params, report)
    return _fit_tabular(study, objective, params, report)


def _fit_tabular(study: Study, objective: TabularObjective, params: dict[str, Any], report: Callable[[int, float], None]) -> Made:
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
    return Made(
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


def _fit_forecast(objective: ForecastObjective, params: dict[str, Any], report: Callable[[int, float], None]) -> Made:
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
    return Made(
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


def _reference(model: "TabularModel", train: "pl.DataFrame") -> dict[str, Any]:
    """Statistics of the training data and of what the model says about it, to tell later drift by."""
    import polars as pl

    from engine.formats.reference import describe

    rows = train if train.height <= _REFERENCE_ROWS else train.sample(_REFERENCE_ROWS, seed=0)
    answers = pl.Series("prediction", model.predict(rows).values, strict=False)
    found: dict[str, Any] = clean(describe(rows.select(model.features), target=rows[model.target], predictions=answers).to_json())
    return found


def try_out(model: RegisteredModel, made: Made) -> PreparedArtifact:
    """Try the artifact in a confined child, and store it."""
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        path = Path(folder) / "model.json"
        path.write_bytes(made.document)
        return prepare_artifact(model=model, path=path)


def name_file(row: Study | Trial, path: str) -> None:
    """Have a locked row name a file that is no version's yet, so that whoever comes after a failure finds what to remove; the files of
    earlier attempts go now."""
    kept = [path]
    for earlier in row.system_attrs.get(KEPT, []):
        if ModelVersion.objects.filter(artifact_path=earlier).exists():
            kept.append(earlier)
            continue
        with suppress(FileNotFoundError):
            storage().delete(earlier)
    row.system_attrs = row.system_attrs | {KEPT: kept}
    row.save(update_fields=["system_attrs"])


def candidate_of(
    attempt: Attempt, trial: Trial, params: dict[str, Any], made: Made, artifact: PreparedArtifact, *, by: Principal, at: datetime
) -> ModelVersion:
    """Register what was made of a trial. Call inside the attempt's fence, with the study's row locked."""
    study = trial.study
    version = register_version(
        model=study.model,
        by=by,
        at=at,
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
        store_run(version=version, evaluation=made.evaluation, purpose=BacktestRun.Purpose.JUDGE, at=at, job_id=attempt.job_id)
    return version


def _lineage(study: Study, trial: Trial) -> dict[str, Any]:
    """Where the version comes from. `study`, `experiment` and `code` are the registry's own words for it."""
    ids = {"study": str(study.pk), "study_id": str(study.pk), "trial": trial.number, "code": code_revision()}
    if study.proposal_id:
        ids |= {"experiment": str(study.proposal_id), "proposal_id": str(study.proposal_id)}
    return ids
