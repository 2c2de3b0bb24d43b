"""What a study may be asked for: every setting checked against the task, the algorithm and each other. No database, no clock."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.tuning import combinations, defaults, limits, samplers, spaces
from engine.tuning.limits import Limits, Number, Words
from engine.tuning.spaces import Space, SpaceError
from mlops.errors import InvalidField
from registry.rules import recipes
from registry.services.model_settings import RESERVED

if TYPE_CHECKING:
    from experiments.models import Study

FORECAST = "forecast"
MOST_TRIALS = 2_000
LONGEST_TIMEOUT = 7 * 24 * 3600
MOST_WORKERS = 16
LARGEST_SEED = 2**31 - 1
FORECAST_METRICS = ("mae", "rmse", "wape", "mape", "mase", "rmsse")
_FIXED_IN_FORECASTS = frozenset({"seed", "nominal"})
_FORECAST_SPACE: dict[str, Any] = {
    "rounds": {"type": "int", "low": 50, "high": 400, "log": True},
    "learning_rate": {"type": "float", "low": 0.02, "high": 0.2, "log": True},
    "num_leaves": {"type": "int", "low": 8, "high": 127, "log": True},
    "min_data_in_leaf": {"type": "int", "low": 10, "high": 200, "log": True},
    "feature_fraction": {"type": "float", "low": 0.5, "high": 1.0},
    "lambda_l2": {"type": "float", "low": 0.001, "high": 30.0, "log": True},
}


@dataclass(frozen=True)
class Settings:
    """A search as it will be run."""

    algorithm: str
    task: str
    metric: str
    direction: str
    n_trials: int
    timeout_s: int | None
    sampler: str
    pruner: str
    seed: int
    workers: int
    space: Space
    preprocessing: dict[str, Any]
    postprocessing: dict[str, Any]


def settings_of(values: Mapping[str, Any], *, task: str) -> Settings:
    """The settings somebody asked for, defaults filled in. Raises InvalidField naming the field and what is allowed."""
    forecast = task == FORECAST
    allowed = ("lightgbm",) if forecast else limits.ALGORITHMS
    algorithm = _one_of("algorithm", values.get("algorithm") or allowed[0], allowed)
    metric, direction = _metric(values.get("metric"), task)
    space = space_of(values.get("search_space"), algorithm=algorithm, task=task)
    sampler = _one_of("sampler", values.get("sampler") or "tpe", samplers.SAMPLERS)
    pruner = _one_of("pruner", values.get("pruner") or "median", samplers.PRUNERS)
    return Settings(
        algorithm=algorithm,
        task=task,
        metric=metric,
        direction=direction,
        n_trials=_trials(values.get("n_trials"), sampler, space),
        timeout_s=_whole("timeout_s", values.get("timeout_s"), 1, LONGEST_TIMEOUT, default=0) or None,
        sampler=sampler,
        pruner=pruner,
        seed=_whole("seed", values.get("seed"), 0, LARGEST_SEED, default=0),
        workers=_whole("workers", values.get("workers"), 1, MOST_WORKERS, default=1),
        space=space,
        preprocessing=_options("preprocessing", values.get("preprocessing"), task),
        postprocessing=_options("postprocessing", values.get("postprocessing"), task),
    )


def space_of(value: Any, *, algorithm: str, task: str) -> Space:
    """The search space somebody wrote; the default one where that says nothing, or nothing but a kind. Raises InvalidField."""
    if value is not None and not isinstance(value, Mapping):
        raise InvalidField("search_space", "Must be an object: a range, choices or a fixed value for each parameter.")
    try:
        if value is None and task != FORECAST:
            return defaults.default(algorithm, task)  # type: ignore[arg-type]  # the other two tasks
        space = _parsed(_FORECAST_SPACE if value is None else value, algorithm, task)
        if task != FORECAST and set(space.to_json()) == {limits.KIND}:
            return defaults.default(algorithm, task, kind=str(space.fixed[limits.KIND]))  # type: ignore[arg-type]
        combinations.check(space, "" if task == FORECAST else algorithm)
    except SpaceError as error:
        raise InvalidField(_place(error), str(error)) from None
    return space


def space_of_study(study: "Study") -> Space:
    """The space a study was made with, though its parameters might not go together. Raises InvalidField."""
    try:
        return _parsed(study.search_space, study.algorithm, study.task)
    except SpaceError as error:
        raise InvalidField(_place(error), str(error)) from None


def _parsed(value: Mapping[str, Any], algorithm: str, task: str) -> Space:
    if task == FORECAST:
        return spaces.parse_within(value, forecast_limits())
    return spaces.parse(value, algorithm=algorithm, task=task)  # type: ignore[arg-type]  # the other two tasks


def _options(field: str, value: Any, task: str) -> dict[str, Any]:
    """Options as somebody wrote them, once they are known to be good; none where nothing was written. Raises InvalidField."""
    if value is None or value == {}:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidField(field, "Must be an object with a value for each option.")
    if task == FORECAST:
        raise InvalidField(field, "A forecast takes none: its recipe says what becomes of values.")
    from engine.tabular.options import postprocessing_of, preprocessing_of
    from engine.tabular.problems import TrainingError

    try:
        if field == "preprocessing":
            preprocessing_of(value)
        else:
            postprocessing_of(value, task)  # type: ignore[arg-type]  # the other two tasks
    except TrainingError as error:
        raise InvalidField(f"{field}.{error.field}", error.message) from None
    return dict(value)


def check_classes(settings: Settings, classes: int | None) -> None:
    """Raise InvalidField for what is for two classes alone. `classes`: None where nobody counted them."""
    if classes is None or classes <= 2:
        return
    if "threshold" in settings.postprocessing:
        told = f"Is for two classes; the target has {classes}, of which the most probable is answered."
        raise InvalidField("postprocessing.threshold", told)
    try:
        combinations.check_many_classes(settings.space, settings.algorithm, classes)
    except SpaceError as error:
        raise InvalidField(_place(error), str(error)) from None


def forecast_limits() -> Limits:
    """The demand recipe's own parameters."""
    ranges = {
        name: Number(low, high, whole=name in recipes.WHOLE)
        for name, (low, high) in recipes.RANGES.items()
        if name not in _FIXED_IN_FORECASTS
    }
    return {**ranges, "objective": Words(recipes.OBJECTIVES)}


def metrics_of(task: str) -> dict[str, str]:
    """Metrics of a task and their directions, the default first."""
    if task == FORECAST:
        return dict.fromkeys(FORECAST_METRICS, "minimize")
    from engine.tabular.scoring import METRICS

    return {name: one.direction for name, one in METRICS[task].items()}  # type: ignore[index]  # the other two tasks


def model_name_from(name: str) -> str:
    """A model's name made from a study's: lower-case ASCII, `demand tuning №2` becomes `demand-tuning-no2`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:100].strip("-")
    if not slug or not slug[0].isalpha() or slug in RESERVED:
        slug = f"model-{slug}".strip("-")
    return slug


def _metric(given: Any, task: str) -> tuple[str, str]:
    known = metrics_of(task)
    metric = _one_of("metric", given or next(iter(known)), tuple(known))
    return metric, known[metric]


def _trials(given: Any, sampler: str, space: Space) -> int:
    """How many trials there are to be. Raises InvalidField for more than the space has, or the grid more than a study has."""
    wanted = _whole("n_trials", given, 1, MOST_TRIALS, default=20)
    if sampler == "grid":
        size = _grid_size(space)
        if given is None and size > MOST_TRIALS:
            told = f"The grid has {size:,} points; a study has at most {MOST_TRIALS:,} trials. Search less, or name n_trials:"
            raise InvalidField("search_space", f"{told} that many points are tried, in an order that the seed shuffles.")
        return size if given is None else min(wanted, size)
    if not space.single:
        return wanted
    if given is not None and wanted > 1:
        raise InvalidField("n_trials", "Must be 1, or left out: each parameter has one value, so that all trials would be the same.")
    return 1


def _grid_size(space: Space) -> int:
    try:
        return space.grid_size()
    except SpaceError as error:
        raise InvalidField(_place(error), str(error)) from None


def _place(error: SpaceError) -> str:
    return f"search_space.{error.field}" if error.field else "search_space"


def _one_of(field: str, value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise InvalidField(field, f"Must be one of: {', '.join(allowed)}.")
    return value


def _whole(field: str, value: Any, low: int, high: int, *, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidField(field, f"Must be a whole number from {low} to {high}.")
    return value
