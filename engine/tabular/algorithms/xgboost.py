"""XGBoost (histogram trees): missing values and categories natively; kept as UBJSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    check_link,
    choice_of,
    outputs_of,
    patience_of,
    rounds_of,
)
from engine.tabular.documents import ArtifactError
from engine.tabular.preprocessing import Encoding, Matrix

OBJECTIVES: dict[str, Link] = {
    "reg:squarederror": "identity",
    "reg:absoluteerror": "identity",
    "count:poisson": "log",
    "reg:tweedie": "log",
}
SAME_METRICS = {"rmse": "rmse", "mae": "mae", "log_loss": "logloss", "roc_auc": "auc"}
"""Metrics that the library defines as we do and computes faster; all others are computed by ours."""
_ROUNDING = 1e-4


@dataclass(frozen=True)
class XGBoostModel:
    content: bytes
    shape: Shape

    @cached_property
    def _booster(self) -> Any:
        import xgboost as xgb

        # Set once: doing so before each prediction would trouble another thread in the middle of its own.
        booster = xgb.Booster({"nthread": 1})
        booster.load_model(bytearray(self.content))
        return booster

    def raw(self, matrix: Matrix, *, threads: int = 1) -> Floats:
        if not len(matrix):
            return np.empty((0, self.shape.classes) if self.shape.outputs > 1 else 0)
        return np.asarray(self._booster.predict(_data(matrix, threads=threads), output_margin=True), dtype=np.float64)

    def contributions(self, matrix: Matrix, *, threads: int = 1) -> Contributions:
        """TreeSHAP by the library, which sums in 32 bits: the base takes the rounding, so that what is told adds up.

        Raises ArithmeticError if more than rounding is missing.
        """
        raw = self.raw(matrix, threads=threads).reshape(len(matrix), self.shape.outputs)
        told = np.asarray(self._booster.predict(_data(matrix, threads=threads), pred_contribs=True), dtype=np.float64)
        parts = told.reshape(len(matrix), self.shape.outputs, self.shape.columns + 1)
        values = parts[:, :, :-1].transpose(0, 2, 1)
        base = raw - values.sum(axis=1)
        sizes = np.abs(parts).sum(axis=2) + 1.0
        if (np.abs(base - parts[:, :, -1]) > _ROUNDING * sizes).any():
            raise ArithmeticError("XGBoost's contributions do not add up to its prediction.")
        return Contributions(values, base, "shap_native")

    def importances(self) -> Floats:
        """Total gain of the splits on a column."""
        gains = self._booster.get_score(importance_type="total_gain")
        return np.array([float(gains.get(f"f{index}", 0.0)) for index in range(self.shape.columns)])

    @cached_property
    def trees(self) -> int:
        return int(self._booster.num_boosted_rounds()) * self.shape.outputs

    @cached_property
    def steps(self) -> int:
        trees = zip(_children(self.content, b"left_children"), _children(self.content, b"right_children"), strict=True)
        return sum(_steps(left, right) for left, right in trees)


def _children(content: bytes, name: bytes) -> Iterator[NDArray[np.int64]]:
    """Each tree's array of this name: in UBJSON its length in 8 bytes, then 4 bytes for each node. The library's own dump takes minutes."""
    mark = name + b"[$l#L"
    place = content.find(mark)
    while place >= 0:
        start = place + len(mark)
        length = int.from_bytes(content[start : start + 8], "big")
        yield np.frombuffer(content, dtype=">i4", count=length, offset=start + 8).astype(np.int64)
        place = content.find(mark, start + 8 + 4 * length)


def _steps(left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    """Of one tree, level by level from its root; a leaf has no left child."""
    level, depth, steps = np.zeros(1, dtype=np.int64), 0, 0
    while len(level):
        inner = level[left[level] >= 0]
        steps += (len(level) - len(inner)) * depth**2
        level, depth = np.concatenate([left[inner], right[inner]]), depth + 1
    return steps


class XGBoost:
    name = "xgboost"
    parameters = frozenset({
        "n_estimators", "early_stopping_rounds", "objective", "learning_rate", "max_depth", "max_leaves", "grow_policy", "min_child_weight",
        "gamma", "subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode", "reg_alpha", "reg_lambda", "max_bin",
        "max_delta_step", "scale_pos_weight", "max_cat_to_onehot", "max_cat_threshold", "tweedie_variance_power",
    })  # fmt: skip

    def encoding(self, params: Params) -> Encoding:
        return Encoding()

    def fit(self, problem: Problem, params: Params, *, seed: int, threads: int, report: Report | None) -> Fit:
        import xgboost as xgb

        rounds, patience = rounds_of(params, "n_estimators", 500), patience_of(params)
        settings, link, own = _settings(problem, params)
        settings |= {"seed": seed, "nthread": threads, "verbosity": 0}
        watch = Watch(rounds, report)

        class Telling(xgb.callback.TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                watch.tell(epoch + 1, float(next(iter(evals_log["validation"].values()))[-1]))
                return False

        def score(predicted: Floats, _: Any) -> tuple[str, float]:
            return "chosen", problem.score(np.asarray(predicted, dtype=np.float64))

        callbacks: list[Any] = [Telling()]
        if patience:
            maximize = problem.direction == "maximize"
            callbacks.append(
                xgb.callback.EarlyStopping(rounds=patience, maximize=maximize, data_name="validation", metric_name=own or "chosen")
            )
        with watch.libraries_errors(xgb.core.XGBoostError, ValueError, TypeError):
            train = _data(problem.train, problem.target, threads=threads)
            validation = _data(problem.validation, problem.validation_target, threads=threads)
            booster = xgb.train(
                settings,
                train,
                num_boost_round=rounds,
                evals=[(validation, "validation")],
                custom_metric=None if own else score,
                callbacks=callbacks,
                verbose_eval=False,
            )
        best = int(booster.best_iteration) + 1 if patience else booster.num_boosted_rounds()
        kept = booster[:best]
        kept.set_attr(best_iteration=None, best_score=None)
        shape = Shape(problem.train.values.shape[1], problem.train.categorical, problem.classes, link)
        return Fit(XGBoostModel(bytes(kept.save_raw("ubj")), shape), best)

    def load(self, content: bytes, shape: Shape) -> XGBoostModel:
        import xgboost as xgb

        if content[:1] != b"{" or b"learner" not in content[:64]:
            raise ArtifactError("the model is not XGBoost's UBJSON")
        made = XGBoostModel(content, shape)
        try:
            columns = made._booster.num_features()  # noqa: SLF001 - this very class's own
            outputs = outputs_of(made) if columns == shape.columns else 0
        except xgb.core.XGBoostError as error:
            raise ArtifactError(f"XGBoost does not load the model: {str(error).splitlines()[0][:200]}") from error
        if columns != shape.columns or outputs != shape.outputs:
            raise ArtifactError("the model's columns or classes are not those of the document")
        return made


def _settings(problem: Problem, params: Params) -> tuple[dict[str, Any], Link, str | None]:
    """The library's parameters, the link, and the name of its own metric where it has the one wanted."""
    given = {name: value for name, value in params.items() if name not in ("n_estimators", "early_stopping_rounds", "objective")}
    settings: dict[str, Any] = {"tree_method": "hist", "learning_rate": 0.1, **given}
    link: Link
    if problem.task == "regression":
        settings["objective"], link = choice_of(params, "objective", OBJECTIVES, "reg:squarederror")
        check_link(problem, link, "objective")
    elif problem.classes == 2:
        settings["objective"], link = "binary:logistic", "logit"
    else:
        settings |= {"objective": "multi:softprob", "num_class": problem.classes}
        link = "softmax"
    own = SAME_METRICS.get(problem.metric) if problem.plain else None
    if problem.classes > 2:
        own = "mlogloss" if own == "logloss" else None
    settings |= {"eval_metric": own} if own else {"disable_default_eval_metric": 1}
    return settings, link, own


def _data(matrix: Matrix, label: Floats | None = None, *, threads: int) -> Any:
    import xgboost as xgb

    kinds = ["c" if index in set(matrix.categorical) else "q" for index in range(matrix.values.shape[1])]
    return xgb.DMatrix(matrix.values, label=label, feature_types=kinds, enable_categorical=bool(matrix.categorical), nthread=threads)
