"""Predictions and explanations by a version, however it is named.

A booster that a study here trained answers in this process, from memory. Every other model answers in a disposable child: one that came
from outside, because its library may not be safe against it; one of scikit-learn, because a web process should not import all that.
Children take places, and so do explanations and whatever else takes more than a moment: most threads stay free.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from engine.formats.asking import ask_safely, importance_of_forecaster
from engine.tabular.asking import MAX_EXPLAINED, MAX_ROWS, Question, ask, is_long
from engine.tabular.documents import ArtifactError
from engine.tabular.problems import PredictError, TooMuchToExplain
from experiments.queries.origins import makers_of
from experiments.services.model_store import MODELS
from experiments.services.study_rows import find_study
from mlops.artifacts.storage import storage
from mlops.database.reading import reading
from mlops.errors import DomainError, InvalidField, InvalidFields, NotFound
from mlops.places import place
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.services.artifacts import NoArtifact, load_tabular
from registry.services.lookups import model_named, version_of
from registry.states import STAGES

BOOSTERS = frozenset({"catboost", "xgboost", "lightgbm"})
_FOREIGN = (
    "is a model file of another tool: nothing in it says how to read an object. Models of tables that studies made answer rows and explain "
    "themselves; train one with POST /v1/experiments."
)
_FORECASTS = "forecasts whole series from their own history, so it answers no single rows."
_WHERE = (
    "How it does day by day: GET /api/v1/models/backtest/{version}?model_name={model}. Which features it goes by: POST /v1/importance "
    "without instances."
)
STAGE_NAMES = ("production", "staging", "archived")


class AmbiguousVersion(DomainError):
    """Several versions fit what was asked for."""

    code = "ambiguous_version"


class NotPredictable(DomainError):
    """The version's artifact answers no single rows here."""

    code = "not_predictable"


class ModelUnusable(DomainError):
    """The artifact is what was registered, and yet it does not load or breaks the process that loads it."""

    code = "model_unusable"


@dataclass(frozen=True)
class Selector:
    """One of: a version's id, a study's id, or a model's name with a stage or a version."""

    model_id: UUID | None = None
    experiment_id: UUID | None = None
    model_name: str = ""
    stage: str = ""
    version: str = ""

    def check(self) -> None:
        """Raise InvalidField unless exactly one way is taken."""
        ways = [self.model_id is not None, self.experiment_id is not None, bool(self.model_name)]
        if sum(ways) != 1:
            raise InvalidField("model_id", "Name the model by one of: model_id, experiment_id, or model_name with stage or version.")
        if not self.model_name and (self.stage or self.version):
            raise InvalidField("stage" if self.stage else "version", "Goes with model_name alone.")
        if self.stage and self.version:
            raise InvalidField("stage", "Give a stage or a version, not both.")
        if self.stage and self.stage not in STAGE_NAMES:
            raise InvalidField("stage", f"Must be one of: {', '.join(STAGE_NAMES)}.")


@dataclass(frozen=True)
class Answered:
    """The version that answered, and what (see `engine.tabular.asking.ask`)."""

    version: ModelVersion
    answer: dict[str, Any]


def predict(*, selector: Selector, instances: Sequence[Mapping[str, Any]], by: Principal) -> Answered:
    """Predictions for 1 to MAX_ROWS objects.

    Raises InvalidField or InvalidFields, NotFound, AmbiguousVersion, NoArtifact, NotPredictable, ModelUnusable, Busy.
    """
    if not instances:
        raise InvalidField("instances", "Send at least one object.")
    return _answered(selector, Question(instances), by)


def explain(*, selector: Selector, instances: Sequence[Mapping[str, Any]], by: Principal) -> Answered:
    """Which features the model goes by, and for each of the objects, if any, why. Raises as `predict`."""
    widest = max((len(one) for one in instances), default=0)
    if widest * len(instances) > MAX_EXPLAINED:
        most = MAX_EXPLAINED // widest
        raise InvalidField("instances", f"Explanations are given for at most {most} objects of {widest} features at a time.")
    return _answered(selector, Question(instances, explain=True), by)


def select(selector: Selector) -> tuple[ModelVersion, bool]:
    """The version, and whether a study here trained it. Raises InvalidField, NotFound, AmbiguousVersion."""
    selector.check()
    with reading():
        if selector.model_id is not None:
            version = ModelVersion.objects.filter(pk=selector.model_id, deleted_at=None).first()
            if version is None:
                raise NotFound("There is no such model version.")
        elif selector.experiment_id is not None:
            found = find_study(selector.experiment_id).version
            if found is None or found.deleted_at is not None:
                raise NotFound("The study has produced no model, or it was deleted.")
            version = found
        else:
            version = _of_model(selector)
        return version, makers_of(version).exists()


def _of_model(selector: Selector) -> ModelVersion:
    model = model_named(selector.model_name)
    if selector.version:
        named = version_of(model, selector.version)
        if named.deleted_at is not None:
            raise NotFound(f"{named} was deleted.")
        return named
    stage = selector.stage or "production"
    statuses = [status for status, name in STAGES.items() if name == stage]
    found = list(model.versions.filter(status__in=statuses, deleted_at=None).order_by("-number")[:6])
    if not found:
        raise NotFound(f"The model {model.name} has no version in {stage}.")
    if len(found) > 1:
        labels = ", ".join(one.version for one in found[:5]) + (", …" if len(found) > 5 else "")
        raise AmbiguousVersion(f"Several versions of {model.name} are in {stage}: {labels}. Name one as `version`.")
    return found[0]


def _answered(selector: Selector, question: Question, by: Principal) -> Answered:
    by.authorize("model.predict")
    if len(question.records) > MAX_ROWS:
        raise InvalidField("instances", f"Holds {len(question.records)} objects; at most {MAX_ROWS} are allowed.")
    version, trained_here = select(selector)
    if not version.has_artifact:
        raise NoArtifact(f"{version} was registered by its metadata alone; it has nothing that could answer.")
    if version.artifact_format == "forecaster":
        return _answered_by_forecaster(version, question)
    if version.artifact_format != "tabular":
        raise NotPredictable(f"{version} {_FOREIGN}")
    try:
        if trained_here and version.algorithm in BOOSTERS:
            model = MODELS.get(version.artifact_sha256, lambda: load_tabular(version))
            with place() if is_long(model, question) else nullcontext():
                return Answered(version, ask(model, question))
        with place():
            return Answered(version, ask_safely(storage().read(version.artifact_path, sha256=version.artifact_sha256), question))
    except PredictError as error:
        raise _as_refusal(error) from None
    except TooMuchToExplain as error:
        raise InvalidField("instances", _how_many(version, error.most)) from None
    except ArtifactError as error:
        raise ModelUnusable(f"The artifact of {version} cannot be used: {str(error)[:300]}") from error


def _answered_by_forecaster(version: ModelVersion, question: Question) -> Answered:
    """What the forecaster goes by; of rows it knows nothing. In a child, whoever trained it: asked seldom, and not kept."""
    if not question.explain:
        where = _WHERE.format(version=version.version, model=version.model_name)
        raise NotPredictable(f"{version} {_FORECASTS} {where}")
    if question.records:
        raise NotPredictable(f"{version} {_FORECASTS} Ask without instances which features it goes by.")
    try:
        with place():
            return Answered(version, importance_of_forecaster(storage().read(version.artifact_path, sha256=version.artifact_sha256)))
    except ArtifactError as error:
        raise ModelUnusable(f"The artifact of {version} cannot be used: {str(error)[:300]}") from error


def _how_many(version: ModelVersion, most: int) -> str:
    if not most:
        return f"The trees of {version} are too large to explain a row by. Ask without instances which features it goes by."
    return f"{version} explains at most {most} objects at a time: the larger its trees, the fewer."


def _as_refusal(error: PredictError) -> InvalidFields:
    problems = [
        {
            "field": f"instances[{one.row}].{one.feature}" if one.row is not None else f"instances.{one.feature}",
            "message": one.message,
            "code": "invalid",
        }
        for one in error.problems
    ]
    return InvalidFields("Some instances cannot be predicted for.", problems)
