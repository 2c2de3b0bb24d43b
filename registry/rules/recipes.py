"""What a model's retrain fits, as JSON: `{"kind": "lightgbm", "rounds": 200, …}` over the recipe's own defaults."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from registry.rules.settings import SettingError, number_problem

if TYPE_CHECKING:
    from engine.forecasting.naive import SeasonalNaiveRecipe
    from engine.forecasting.recipe import LightGBMRecipe

OBJECTIVES = ("tweedie", "poisson", "regression", "regression_l1")
RANGES: dict[str, tuple[float, float]] = {
    "rounds": (1, 5000),
    "learning_rate": (0.0001, 1.0),
    "num_leaves": (2, 4096),
    "min_data_in_leaf": (1, 100_000),
    "feature_fraction": (0.05, 1.0),
    "bagging_fraction": (0.05, 1.0),
    "lambda_l2": (0.0, 10_000.0),
    "tweedie_power": (1.0, 1.99),
    "history_days": (60, 7300),
    "calibration_days": (0, 728),
    "nominal": (0.5, 0.99),
    "seed": (0, 2**31 - 1),
}
WHOLE = frozenset({"rounds", "num_leaves", "min_data_in_leaf", "history_days", "calibration_days", "seed"})


class RecipeError(SettingError):
    """A recipe that cannot be used."""


def check(values: Mapping[str, Any]) -> None:
    """Raise RecipeError unless `build` could make a recipe of this. Imports nothing heavy, so a web process may ask."""
    kind = values.get("kind", "lightgbm")
    if kind not in ("lightgbm", "seasonal_naive"):
        raise RecipeError("kind", "Must be lightgbm or seasonal_naive.")
    settings = {name: value for name, value in values.items() if name != "kind"}
    if kind == "seasonal_naive" and settings:
        raise RecipeError(min(settings), "The seasonal naive has no settings.")
    for name, value in settings.items():
        if name == "objective":
            if value not in OBJECTIVES:
                raise RecipeError(name, f"Must be one of: {', '.join(OBJECTIVES)}.")
        elif name not in RANGES:
            raise RecipeError(name, f"Unknown setting. Known: kind, objective, {', '.join(RANGES)}.")
        elif problem := number_problem(value, low=RANGES[name][0], high=RANGES[name][1], whole=name in WHOLE):
            raise RecipeError(name, problem)


def build(values: Mapping[str, Any], *, horizon: int) -> "LightGBMRecipe | SeasonalNaiveRecipe":
    """The engine's recipe. Raises RecipeError."""
    from dataclasses import replace

    from engine.forecasting.features import FeatureSet
    from engine.forecasting.naive import SeasonalNaiveRecipe
    from engine.forecasting.recipe import LightGBMRecipe

    check(values)
    if values.get("kind") == "seasonal_naive":
        return SeasonalNaiveRecipe()
    settings = {name: value for name, value in values.items() if name != "kind"}
    return replace(LightGBMRecipe(features=FeatureSet(horizon=horizon)), **settings)
