"""CatBoost: missing values and categories natively; kept as CBM, without the time stamps that would make equal models differ."""

import warnings
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
    answers_of,
    check_link,
    choice_of,
    outputs_of,
    patience_of,
    rounds_of,
)
from engine.tabular.documents import ArtifactError
from engine.tabular.preprocessing import Encoding, Matrix

OBJECTIVES: dict[str, Link] = {"RMSE": "identity", "MAE": "identity", "Poisson": "log"}
SAME_METRICS = {
    0: {"rmse": "RMSE", "mae": "MAE", "r2": "R2"},
    2: {"roc_auc": "AUC", "log_loss": "Logloss", "accuracy": "Accuracy"},
    3: {"log_loss": "MultiClass", "accuracy": "Accuracy"},
}
"""By number of classes (3 for more): metrics that the library defines as we do and computes faster."""
_RUN_DATA = ("model_guid", "train_finish_time", "training", "output_options")
_MISSING = b"missing"
DEEPEST = 16
"""Levels of a tree, by the library."""


@dataclass(frozen=True)
class CatBoostModel:
    content: bytes
    shape: Shape

    @cached_property
    def _model(self) -> Any:
        import catboost

        return catboost.CatBoost().load_model(blob=self.content)

    def raw(self, matrix: Matrix, *, threads: int = 1) -> Floats:
        if not len(matrix):
            return np.empty((0, self.shape.classes) if self.shape.outputs > 1 else 0)
        return np.asarray(self._model.predict(_pool(matrix), prediction_type="RawFormulaVal", thread_count=threads), dtype=np.float64)

    def contributions(self, matrix: Matrix, *, threads: int = 1) -> Contributions:
        """TreeSHAP by the library, in 64 bits."""
        told = np.asarray(self._model.get_feature_importance(_pool(matrix), type="ShapValues", thread_count=threads))
        parts = told.reshape(len(matrix), self.shape.outputs, self.shape.columns + 1)
        back = np.argsort(_order(matrix))
        return Contributions(parts[:, :, :-1][:, :, back].transpose(0, 2, 1), parts[:, :, -1], "shap_native")

    def importances(self) -> Floats:
        """How much a prediction changes on average when the column's value does, by the library."""
        told = np.asarray(self._model.get_feature_importance(type="PredictionValuesChange"), dtype=np.float64)
        return told[np.argsort(_order(Matrix(np.empty((0, self.shape.columns)), self.shape.categorical)))]

    @cached_property
    def trees(self) -> int:
        return int(self._model.tree_count_)

    @cached_property
    def steps(self) -> int:
        """Trees are of equal depth on all sides, or else of unknown depth and few leaves."""
        leaves = np.asarray(self._model.get_tree_leaf_counts(), dtype=np.int64)
        even = (leaves & (leaves - 1)) == 0
        return int((leaves * np.where(even, np.log2(np.maximum(leaves, 1)), DEEPEST) ** 2).sum())


class _Chosen:
    """Our metric for the library, which asks it of the training rows too; those go unanswered."""

    def __init__(self, problem: Problem, link: Link) -> None:
        self._problem, self._link = problem, link

    def is_max_optimal(self) -> bool:
        return self._problem.direction == "maximize"

    def get_final_error(self, error: float, _: float) -> float:
        return error

    def evaluate(self, approxes: Any, target: Any, _: Any) -> tuple[float, float]:
        if len(target) != len(self._problem.validation_target):
            return 0.0, 1.0
        raw = np.column_stack([np.asarray(one, dtype=np.float64) for one in approxes])
        return self._problem.score(answers_of(raw[:, 0] if raw.shape[1] == 1 else raw, self._link)), 1.0


class _Callback:
    def __init__(self, watch: Watch, metric: str) -> None:
        self._watch, self._metric = watch, metric

    def after_iteration(self, info: Any) -> bool:
        """The library would wrap an exception in one of its own, so it is asked to stop instead; the watch raises it afterwards."""
        value = info.metrics["validation"][self._metric][-1]
        try:
            self._watch.tell(info.iteration, float(value))
        except BaseException:  # noqa: BLE001 - kept by the watch, which raises it when the library has ended
            return False
        return True


class CatBoost:
    name = "catboost"
    parameters = frozenset({
        "iterations", "early_stopping_rounds", "loss_function", "learning_rate", "depth", "l2_leaf_reg", "random_strength",
        "bagging_temperature", "border_count", "min_data_in_leaf", "grow_policy", "max_leaves", "rsm", "subsample", "bootstrap_type",
        "boosting_type", "leaf_estimation_iterations", "one_hot_max_size", "max_ctr_complexity", "auto_class_weights", "scale_pos_weight",
    })  # fmt: skip

    def encoding(self, params: Params) -> Encoding:
        return Encoding()

    def fit(self, problem: Problem, params: Params, *, seed: int, threads: int, report: Report | None) -> Fit:
        import catboost

        rounds, patience = rounds_of(params, "iterations", 1_000), patience_of(params)
        settings, link = _settings(problem, params)
        metric = settings["eval_metric"]
        settings |= {"iterations": rounds, "random_seed": seed, "thread_count": threads}
        settings |= {"use_best_model": bool(patience), "allow_writing_files": False, "logging_level": "Silent"}
        if patience:
            settings |= {"od_type": "Iter", "od_wait": patience}
        watch = Watch(rounds, report)
        with warnings.catch_warnings(), watch.libraries_errors(catboost.CatBoostError, ValueError, TypeError):
            warnings.filterwarnings("ignore", "Can't optimze method", UserWarning)  # our metric needs no compiling
            model = catboost.CatBoost(settings)
            start = float(np.log(problem.target.mean())) if link == "log" else None
            model.fit(
                _pool(problem.train, problem.target, start),
                eval_set=_pool(problem.validation, problem.validation_target, start),
                callbacks=[_Callback(watch, metric if isinstance(metric, str) else _Chosen.__name__)],
            )
        if start is not None:
            scale, bias = model.get_scale_and_bias()
            model.set_scale_and_bias(scale, bias + start)
        metadata = model.get_metadata()
        for entry in _RUN_DATA:
            if entry in metadata:
                del metadata[entry]
        content: bytes = model._serialize_model()  # noqa: SLF001 - the only way to bytes that writes no file
        shape = Shape(problem.train.values.shape[1], problem.train.categorical, problem.classes, link)
        return Fit(CatBoostModel(content, shape), int(model.tree_count_))

    def load(self, content: bytes, shape: Shape) -> CatBoostModel:
        import catboost

        if not content.startswith(b"CBM1"):
            raise ArtifactError("the model is not CatBoost's CBM")
        made = CatBoostModel(content, shape)
        try:
            columns = len(made._model.feature_names_)  # noqa: SLF001 - this very class's own
            outputs = outputs_of(made) if columns == shape.columns else 0
        except catboost.CatBoostError as error:
            raise ArtifactError(f"CatBoost does not load the model: {str(error)[:200]}") from error
        if columns != shape.columns or outputs != shape.outputs:
            raise ArtifactError("the model's columns or classes are not those of the document")
        return made


def _settings(problem: Problem, params: Params) -> tuple[dict[str, Any], Link]:
    settings = {name: value for name, value in params.items() if name not in ("iterations", "early_stopping_rounds", "loss_function")}
    link: Link
    if problem.task == "regression":
        settings["loss_function"], link = choice_of(params, "loss_function", OBJECTIVES, "RMSE")
        check_link(problem, link, "loss_function")
    else:
        settings["loss_function"], link = ("Logloss", "logit") if problem.classes == 2 else ("MultiClass", "softmax")
    # Of a logarithmic model the library would measure the exponent, not the answer.
    own = SAME_METRICS[min(problem.classes, 3)].get(problem.metric) if problem.plain and link != "log" else None
    settings["eval_metric"] = own or _Chosen(problem, link)
    return settings, link


def _order(matrix: Matrix) -> NDArray[np.int64]:
    """The library takes numbers first, then categories."""
    codes = np.isin(np.arange(matrix.values.shape[1]), matrix.categorical)
    return np.argsort(codes, kind="stable")


def _pool(matrix: Matrix, label: Floats | None = None, start: float | None = None) -> Any:
    """`start`: the raw score that learning begins from, where the library would begin from 0. Logarithmic models diverge from there."""
    import catboost

    numbers = [index for index in range(matrix.values.shape[1]) if index not in set(matrix.categorical)]
    texts = _texts(matrix.values[:, list(matrix.categorical)]) if matrix.categorical else None
    values = np.ascontiguousarray(matrix.values[:, numbers], dtype=np.float32) if numbers else None
    baseline = None if start is None else np.full((len(matrix), 1), start)
    return catboost.Pool(catboost.FeaturesData(num_feature_data=values, cat_feature_data=texts), label=label, baseline=baseline)


def _texts(codes: Floats) -> NDArray[np.object_]:
    """Codes as the byte strings the library hashes categories from."""
    missing = np.isnan(codes)
    places = np.where(missing, -1, codes).astype(np.int64)
    table = np.array([*(str(code).encode() for code in range(int(places.max(initial=0)) + 1)), _MISSING], dtype=object)
    found: NDArray[np.object_] = table[places]
    return found
