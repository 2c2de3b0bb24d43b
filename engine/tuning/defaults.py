"""The spaces that are searched when nobody says otherwise."""

from typing import Any

from engine.tabular.columns import Task
from engine.tuning.limits import KIND, SKLEARN_KINDS
from engine.tuning.spaces import Space, parse


def default(algorithm: str, task: Task, *, kind: str = "") -> Space:
    """A space that suits most tables: the parameters that matter most, in the ranges their libraries' guides advise.

    `kind`: of scikit-learn's estimators, HistGradientBoosting by default. Raises KeyError for what is not known.
    """
    if algorithm != "sklearn":
        return parse(_DEFAULTS[algorithm], algorithm=algorithm, task=task)
    kind = kind or SKLEARN_KINDS[0]
    own = _LINEAR[task] if kind == "linear" else _OF_KIND[kind]
    return parse({KIND: kind} | own, algorithm=algorithm, task=task)


def _float(low: float, high: float, *, log: bool = False) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, "log": log}


def _int(low: int, high: int, *, log: bool = False) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high, "log": log}


_DEFAULTS: dict[str, dict[str, Any]] = {
    "catboost": {
        "iterations": 500,
        "early_stopping_rounds": 50,
        "learning_rate": _float(0.02, 0.3, log=True),
        "depth": _int(4, 8),
        "l2_leaf_reg": _float(1.0, 30.0, log=True),
        "random_strength": _float(0.0, 2.0),
    },
    "xgboost": {
        "n_estimators": 500,
        "early_stopping_rounds": 50,
        "learning_rate": _float(0.02, 0.3, log=True),
        "max_depth": _int(3, 9),
        "min_child_weight": _float(0.5, 20.0, log=True),
        "subsample": _float(0.6, 1.0),
        "colsample_bytree": _float(0.5, 1.0),
        "reg_lambda": _float(0.1, 30.0, log=True),
        "reg_alpha": _float(0.001, 10.0, log=True),
    },
    "lightgbm": {
        "n_estimators": 500,
        "early_stopping_rounds": 50,
        "learning_rate": _float(0.02, 0.3, log=True),
        "num_leaves": _int(8, 128, log=True),
        "min_child_samples": _int(5, 100, log=True),
        "subsample": _float(0.6, 1.0),
        "subsample_freq": 1,
        "colsample_bytree": _float(0.5, 1.0),
        "reg_lambda": _float(0.001, 30.0, log=True),
    },
}
_OF_KIND: dict[str, dict[str, Any]] = {
    "hist_gradient_boosting": {
        "max_iter": 300,
        "early_stopping_rounds": 30,
        "learning_rate": _float(0.02, 0.3, log=True),
        "max_leaf_nodes": _int(8, 127, log=True),
        "min_samples_leaf": _int(5, 100, log=True),
        "l2_regularization": _float(0.001, 30.0, log=True),
    },
    # Columns per split, then rows per tree and the size of leaves, are what tuning a forest is about; more trees are never worse:
    # P. Probst, M. Wright, A.-L. Boulesteix, "Hyperparameters and Tuning Strategies for Random Forest", arXiv:1804.03515 (2018).
    "random_forest": {
        "n_estimators": 200,
        "max_features": _float(0.2, 1.0),
        "max_samples": _float(0.4, 1.0),
        "min_samples_leaf": _int(5, 100, log=True),
    },
}
_LINEAR: dict[Task, dict[str, Any]] = {
    "regression": {"alpha": _float(0.001, 1000.0, log=True)},
    "classification": {"C": _float(0.001, 100.0, log=True)},
}
