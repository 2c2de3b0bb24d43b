"""Which parameters of each library may be searched or fixed, and the hard bounds of each.

An allow-list: nothing that names a file, a thread count, a device, a callback or a loss of one's own can be written into a study. The names
are each library's own; the bounds keep a trial within the memory and the time of one worker.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.tabular.columns import Task


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`. `whole`: integers only."""

    low: float
    high: float
    whole: bool = False

    def __str__(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Words:
    """One of a few words, or of true and false."""

    choices: tuple[str | bool, ...]

    def __str__(self) -> str:
        return f"one of: {', '.join(_shown(choice) for choice in self.choices)}"


Limit = Number | Words
Limits = Mapping[str, Limit]


def _shown(choice: str | bool) -> str:
    return str(choice).lower() if isinstance(choice, bool) else choice


def _whole(low: int, high: int) -> Number:
    return Number(low, high, whole=True)


ALGORITHMS = ("catboost", "xgboost", "lightgbm", "sklearn")
SKLEARN_KINDS = ("hist_gradient_boosting", "random_forest", "linear")
KIND = "kind"
"""The parameter of `sklearn` that says which estimator is meant; it is fixed, as each has parameters of its own."""

_STOPPING = {"early_stopping_rounds": _whole(0, 1000)}
_FLAG = Words((True, False))

_CATBOOST: dict[str, Limit] = {
    "iterations": _whole(1, 10_000),
    "learning_rate": Number(1e-4, 1.0),
    "depth": _whole(1, 12),
    "l2_leaf_reg": Number(0.0, 1000.0),
    "random_strength": Number(0.0, 100.0),
    "bagging_temperature": Number(0.0, 100.0),
    "border_count": _whole(1, 255),
    "rsm": Number(0.05, 1.0),
    "min_data_in_leaf": _whole(1, 100_000),
    "one_hot_max_size": _whole(2, 255),
    "leaf_estimation_iterations": _whole(1, 50),
    "grow_policy": Words(("SymmetricTree", "Depthwise", "Lossguide")),
    "max_leaves": _whole(2, 64),
    "subsample": Number(0.05, 1.0),
    "bootstrap_type": Words(("Bayesian", "Bernoulli", "MVS", "No")),
    "boosting_type": Words(("Ordered", "Plain")),
    "max_ctr_complexity": _whole(1, 6),
    "auto_class_weights": Words(("None", "Balanced", "SqrtBalanced")),
    "scale_pos_weight": Number(0.001, 1000.0),
    "loss_function": Words(("RMSE", "MAE", "Poisson")),
    **_STOPPING,
}
_XGBOOST: dict[str, Limit] = {
    "n_estimators": _whole(1, 10_000),
    "learning_rate": Number(1e-4, 1.0),
    "max_depth": _whole(1, 16),
    "max_leaves": _whole(0, 4096),
    "min_child_weight": Number(0.0, 10_000.0),
    "gamma": Number(0.0, 1000.0),
    "subsample": Number(0.05, 1.0),
    "colsample_bytree": Number(0.05, 1.0),
    "colsample_bylevel": Number(0.05, 1.0),
    "colsample_bynode": Number(0.05, 1.0),
    "reg_lambda": Number(0.0, 10_000.0),
    "reg_alpha": Number(0.0, 10_000.0),
    "max_bin": _whole(2, 1024),
    "max_delta_step": Number(0.0, 100.0),
    "grow_policy": Words(("depthwise", "lossguide")),
    "scale_pos_weight": Number(0.001, 1000.0),
    "max_cat_to_onehot": _whole(1, 1000),
    "max_cat_threshold": _whole(1, 1000),
    "objective": Words(("reg:squarederror", "reg:absoluteerror", "count:poisson", "reg:tweedie")),
    "tweedie_variance_power": Number(1.01, 1.99),
    **_STOPPING,
}
_LIGHTGBM: dict[str, Limit] = {
    "n_estimators": _whole(1, 10_000),
    "learning_rate": Number(1e-4, 1.0),
    "num_leaves": _whole(2, 4096),
    "max_depth": _whole(-1, 64),
    "min_child_samples": _whole(1, 100_000),
    "min_child_weight": Number(0.0, 10_000.0),
    "min_split_gain": Number(0.0, 1000.0),
    "subsample": Number(0.05, 1.0),
    "subsample_freq": _whole(0, 100),
    "colsample_bytree": Number(0.05, 1.0),
    "reg_alpha": Number(0.0, 10_000.0),
    "reg_lambda": Number(0.0, 10_000.0),
    "max_bin": _whole(2, 1024),
    "path_smooth": Number(0.0, 1000.0),
    "extra_trees": _FLAG,
    "cat_smooth": Number(0.0, 10_000.0),
    "cat_l2": Number(0.0, 10_000.0),
    "max_cat_threshold": _whole(1, 1000),
    "max_cat_to_onehot": _whole(1, 1000),
    "min_data_per_group": _whole(1, 100_000),
    "scale_pos_weight": Number(0.001, 1000.0),
    "is_unbalance": _FLAG,
    "objective": Words(("regression", "regression_l1", "huber", "poisson", "tweedie")),
    "tweedie_variance_power": Number(1.01, 1.99),
    "alpha": Number(0.01, 100.0),
    **_STOPPING,
}
_HIST: dict[str, Limit] = {
    "max_iter": _whole(1, 5000),
    "learning_rate": Number(1e-4, 1.0),
    "max_leaf_nodes": _whole(2, 1024),
    "max_depth": _whole(1, 64),
    "min_samples_leaf": _whole(1, 100_000),
    "l2_regularization": Number(0.0, 10_000.0),
    "max_bins": _whole(2, 255),
    "max_features": Number(0.05, 1.0),
    "loss": Words(("squared_error", "absolute_error")),
    "class_weight": Words(("balanced",)),
    **_STOPPING,
}
_FOREST: dict[str, Limit] = {
    "n_estimators": _whole(1, 2000),
    "max_depth": _whole(1, 64),
    "min_samples_split": _whole(2, 100_000),
    "min_samples_leaf": _whole(1, 100_000),
    "max_features": Number(0.05, 1.0),
    "max_samples": Number(0.05, 1.0),
    "max_leaf_nodes": _whole(2, 100_000),
    "bootstrap": _FLAG,
    "class_weight": Words(("balanced",)),
}
_LINEAR: dict[Task, dict[str, Limit]] = {
    "regression": {"alpha": Number(1e-6, 1e6)},
    "classification": {"C": Number(1e-6, 1e6), "max_iter": _whole(10, 10_000), "class_weight": Words(("balanced",))},
}
_ONLY: dict[Task, frozenset[str]] = {
    "regression": frozenset({"loss_function", "objective", "tweedie_variance_power", "alpha", "loss"}),
    "classification": frozenset({"auto_class_weights", "scale_pos_weight", "is_unbalance", "class_weight", "C"}),
}
"""Parameters that have a meaning for one task alone."""


def limits_of(algorithm: str, task: Task, *, kind: str = "") -> Limits:
    """The parameters of an algorithm and their limits. `kind`: of scikit-learn's estimators, HistGradientBoosting by default.

    Raises KeyError for an algorithm, ValueError for a kind that is not known.
    """
    other = _ONLY["classification" if task == "regression" else "regression"]
    if algorithm != "sklearn":
        all_of = {"catboost": _CATBOOST, "xgboost": _XGBOOST, "lightgbm": _LIGHTGBM}[algorithm]
        return {name: limit for name, limit in all_of.items() if name not in other}
    kind = kind or SKLEARN_KINDS[0]
    if kind not in SKLEARN_KINDS:
        raise ValueError(f"Must be one of: {', '.join(SKLEARN_KINDS)}.")
    own = {"hist_gradient_boosting": _HIST, "random_forest": _FOREST, "linear": _LINEAR[task]}[kind]
    return {KIND: Words(SKLEARN_KINDS)} | {name: limit for name, limit in own.items() if name not in other}


def rounds_parameter(algorithm: str, kind: str = "") -> tuple[str, int]:
    """The parameter that counts iterations, which are the steps of reports, and what it is where a study does not say."""
    if algorithm == "sklearn" and kind == "random_forest":
        return "n_estimators", 200
    return {"catboost": ("iterations", 1000), "sklearn": ("max_iter", 500)}.get(algorithm, ("n_estimators", 500))
