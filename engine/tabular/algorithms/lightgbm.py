"""LightGBM: missing values and categories natively; kept as its own model text."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from engine.formats.lightgbm_text import MalformedModel, check_text
from engine.tabular.algorithms.protocol import (
    Contributions,
    Fit,
    Floats,
    Link,
    Params,
    Problem,
    Report,
    Shape,
    Watch,
    as_two,
    check_link,
    choice_of,
    patience_of,
    rounds_of,
)
from engine.tabular.documents import ArtifactError
from engine.tabular.preprocessing import Encoding, Matrix

OBJECTIVES: dict[str, Link] = {
    "regression": "identity",
    "regression_l1": "identity",
    "huber": "identity",
    "poisson": "log",
    "tweedie": "log",
}
SAME_METRICS = {"rmse": "rmse", "mae": "l1", "log_loss": "logloss", "roc_auc": "auc"}
"""Metrics that the library defines as we do and computes faster; all others are computed by ours."""


@dataclass(frozen=True)
class LightGBMModel:
    content: bytes
    shape: Shape

    @cached_property
    def _booster(self) -> Any:
        import lightgbm as lgb

        return lgb.Booster(model_str=self.content.decode())

    def raw(self, matrix: Matrix, *, threads: int = 1) -> Floats:
        if not len(matrix):
            return np.empty((0, self.shape.classes) if self.shape.outputs > 1 else 0)
        return np.asarray(self._booster.predict(matrix.values, raw_score=True, num_threads=threads), dtype=np.float64)

    def contributions(self, matrix: Matrix, *, threads: int = 1) -> Contributions:
        """TreeSHAP (Lundberg et al., 2020) by the library, in 64 bits."""
        told = np.asarray(self._booster.predict(matrix.values, pred_contrib=True, num_threads=threads))
        parts = told.reshape(len(matrix), self.shape.outputs, self.shape.columns + 1)
        return Contributions(parts[:, :, :-1].transpose(0, 2, 1), parts[:, :, -1], "shap_native")

    def importances(self) -> Floats:
        """Total gain of the splits on a column."""
        return np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)

    @cached_property
    def trees(self) -> int:
        return int(self._booster.num_trees())

    @cached_property
    def steps(self) -> int:
        return check_text(self.content.decode()).steps


class LightGBM:
    name = "lightgbm"
    parameters = frozenset({
        "n_estimators", "early_stopping_rounds", "objective", "learning_rate", "num_leaves", "max_depth", "min_child_samples",
        "min_child_weight", "min_split_gain", "subsample", "subsample_freq", "colsample_bytree", "reg_alpha", "reg_lambda", "max_bin",
        "cat_smooth", "cat_l2", "max_cat_threshold", "max_cat_to_onehot", "min_data_per_group", "path_smooth", "extra_trees",
        "scale_pos_weight", "is_unbalance", "boosting", "top_rate", "other_rate", "tweedie_variance_power", "alpha",
    })  # fmt: skip

    def encoding(self, params: Params) -> Encoding:
        return Encoding()

    def fit(self, problem: Problem, params: Params, *, seed: int, threads: int, report: Report | None) -> Fit:
        import lightgbm as lgb

        rounds, patience = rounds_of(params, "n_estimators", 500), patience_of(params)
        settings, link = _settings(problem, params)
        settings |= {"seed": seed, "num_threads": threads, "deterministic": True, "force_row_wise": True, "verbose": -1}
        watch = Watch(rounds, report)

        def told(env: Any) -> None:
            watch.tell(env.iteration + 1, float(env.evaluation_result_list[0][2]))

        def score(predicted: Floats, _: Any) -> tuple[str, float, bool]:
            return "chosen", problem.score(as_two(predicted) if problem.classes else predicted), problem.direction == "maximize"

        callbacks: list[Any] = [told]
        if patience:
            callbacks.append(lgb.early_stopping(patience, verbose=False))
        shape: dict[str, Any] = {
            "categorical_feature": list(problem.train.categorical),
            "params": {"verbose": -1, "max_bin": settings["max_bin"]},
        }
        with watch.libraries_errors(lgb.basic.LightGBMError, ValueError, TypeError):
            train = lgb.Dataset(problem.train.values, problem.target, free_raw_data=True, **shape)
            validation = lgb.Dataset(problem.validation.values, problem.validation_target, reference=train)
            booster = lgb.train(
                settings,
                train,
                num_boost_round=rounds,
                valid_sets=[validation],
                valid_names=["validation"],
                feval=score if settings["metric"] == "None" else None,
                callbacks=callbacks,
            )
        best = booster.best_iteration if patience and booster.best_iteration > 0 else booster.current_iteration()
        text: str = booster.model_to_string(num_iteration=best)
        made = Shape(problem.train.values.shape[1], problem.train.categorical, problem.classes, link)
        return Fit(LightGBMModel(text.encode(), made), best)

    def load(self, content: bytes, shape: Shape) -> LightGBMModel:
        try:
            text = content.decode("utf-8")
            model = check_text(text)
        except (UnicodeDecodeError, MalformedModel) as error:
            raise ArtifactError(f"the model is not sound LightGBM text: {error}") from error
        if len(model.features) != shape.columns or model.classes != shape.outputs:
            raise ArtifactError("the model's columns or classes are not those of the document")
        return LightGBMModel(content, shape)


def _settings(problem: Problem, params: Params) -> tuple[dict[str, Any], Link]:
    given = {name: value for name, value in params.items() if name not in ("n_estimators", "early_stopping_rounds", "objective")}
    settings: dict[str, Any] = {"learning_rate": 0.05, "max_bin": 255, **given}
    link: Link
    if problem.task == "regression":
        settings["objective"], link = choice_of(params, "objective", OBJECTIVES, "regression")
        check_link(problem, link, "objective")
    elif problem.classes == 2:
        settings["objective"], link = "binary", "logit"
    else:
        settings |= {"objective": "multiclass", "num_class": problem.classes}
        link = "softmax"
    own = SAME_METRICS.get(problem.metric, "None") if problem.plain else "None"
    if own == "logloss":
        own = "binary_logloss" if problem.classes == 2 else "multi_logloss"
    settings["metric"] = "None" if own == "auc" and problem.classes > 2 else own
    return settings, link
