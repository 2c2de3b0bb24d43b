"""The algorithms there are, by name."""

from engine.tabular.algorithms.catboost import CatBoost
from engine.tabular.algorithms.lightgbm import LightGBM
from engine.tabular.algorithms.protocol import Algorithm
from engine.tabular.algorithms.sklearn import Sklearn
from engine.tabular.algorithms.xgboost import XGBoost
from engine.tabular.problems import TrainingError

ALGORITHMS: dict[str, Algorithm] = {one.name: one for one in (CatBoost(), XGBoost(), LightGBM(), Sklearn())}
DEFAULT_ALGORITHM = "catboost"


def algorithm(name: str) -> Algorithm:
    """Raises TrainingError naming those there are."""
    found = ALGORITHMS.get(name)
    if found is None:
        raise TrainingError("algorithm", f"Must be one of {', '.join(ALGORITHMS)}, not {name!r}.")
    return found
