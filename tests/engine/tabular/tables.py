"""Small tables with every kind of column, whose targets depend on them."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from engine.tabular.columns import MOMENT, Task
from engine.tabular.training import Trained, train

FEATURES = ("size", "rooms", "town", "garden", "sold_at")
TOWNS = ("Ulm", "Bonn", "Trier", "Jena")
TARGETS: dict[str, tuple[Task, str, str]] = {
    "regression": ("regression", "price", "rmse"),
    "binary": ("classification", "dear", "roc_auc"),
    "multiclass": ("classification", "band", "log_loss"),
}
"""Case: task, target column, metric."""

FEW: dict[str, dict[str, Any]] = {
    "catboost": {"iterations": 20, "learning_rate": 0.3},
    "xgboost": {"n_estimators": 20, "learning_rate": 0.3},
    "lightgbm": {"n_estimators": 20, "learning_rate": 0.3, "min_child_samples": 5},
}
KINDS: dict[str, dict[str, Any]] = {
    "hist_gradient_boosting": {"kind": "hist_gradient_boosting", "max_iter": 20, "learning_rate": 0.3},
    "random_forest": {"kind": "random_forest", "n_estimators": 20, "max_depth": 6},
    "linear": {"kind": "linear"},
}
ALL: list[tuple[str, dict[str, Any]]] = [*FEW.items(), *(("sklearn", params) for params in KINDS.values())]


def houses(rows: int = 240, *, seed: int = 0) -> pl.DataFrame:
    """Houses with a price, with missing sizes and towns; `dear` and `band` are cut from the price."""
    chance = np.random.default_rng(seed)
    size, rooms = chance.normal(100, 25, rows), chance.integers(1, 7, rows)
    town, garden = chance.integers(0, 4, rows), chance.random(rows) < 0.5
    days = chance.integers(0, 900, rows)
    price = 2.0 * size + 15 * rooms + np.array([0, 90, 30, -50])[town] + 25 * garden + 0.05 * days + chance.normal(0, 8, rows)
    start = datetime(2020, 1, 1)  # noqa: DTZ001 - canonical tables hold UTC without a zone
    return pl.DataFrame(
        {
            "size": pl.Series([None if chance.random() < 0.1 else float(value) for value in size], dtype=pl.Float64),
            "rooms": pl.Series(rooms, dtype=pl.Int64),
            "town": pl.Series([None if chance.random() < 0.1 else TOWNS[code] for code in town], dtype=pl.String),
            "garden": pl.Series(garden, dtype=pl.Boolean),
            "sold_at": pl.Series([start + timedelta(days=int(day), hours=int(day) % 24) for day in days], dtype=MOMENT),
            "price": pl.Series(price, dtype=pl.Float64),
            "dear": pl.Series(price > 350, dtype=pl.Boolean),
            "band": pl.Series(np.array(["low", "middle", "top"])[np.digitize(price, [300, 380])], dtype=pl.String),
        }
    )


def trained(case: str = "regression", algorithm: str = "lightgbm", params: dict[str, Any] | None = None, **changes: Any) -> Trained:
    """A model of the houses, trained in a moment."""
    task, target, metric = TARGETS[case]
    given: dict[str, Any] = {
        "train": houses(240), "validation": houses(120, seed=1), "target": target, "features": FEATURES, "task": task,
        "algorithm": algorithm, "params": FEW.get(algorithm, {}) if params is None else params, "metric": metric,
    }  # fmt: skip
    return train(**{**given, **changes})
