"""scikit-learn, `kind` hist_gradient_boosting (default), random_forest, or linear (logistic or ridge); kept as skops.

Categories are codes by frequency for the trees (so that their explanations stay exact) and columns of their own for the linear
models, which also get missing values filled and columns scaled.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

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
    outputs_of,
    patience_of,
    rounds_of,
)
from engine.tabular.documents import ArtifactError
from engine.tabular.preprocessing import Encoding, Matrix
from engine.tabular.problems import TrainingError

OF_KIND: Mapping[str, frozenset[str]] = {
    "hist_gradient_boosting": frozenset({
        "max_iter", "early_stopping_rounds", "loss", "learning_rate", "max_leaf_nodes", "max_depth", "min_samples_leaf",
        "l2_regularization", "max_features", "max_bins", "class_weight",
    }),
    "random_forest": frozenset({
        "n_estimators", "max_depth", "min_samples_leaf", "min_samples_split", "max_features", "max_leaf_nodes", "max_samples",
        "bootstrap", "class_weight",
    }),
    "linear": frozenset({"C", "alpha", "max_iter", "class_weight"}),
}  # fmt: skip
DEFAULT_KIND = "hist_gradient_boosting"
LOSSES = ("squared_error", "absolute_error")
ROUNDS = {"hist_gradient_boosting": ("max_iter", 500), "random_forest": ("n_estimators", 200), "linear": ("max_iter", 1_000)}
KIND_OF_CLASS = {
    "HistGradientBoostingRegressor": "hist_gradient_boosting",
    "HistGradientBoostingClassifier": "hist_gradient_boosting",
    "RandomForestRegressor": "random_forest",
    "RandomForestClassifier": "random_forest",
    "LogisticRegression": "linear",
    "Ridge": "linear",
}
TRUSTED_TYPES = frozenset({"sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "sklearn.tree._tree.Tree"})
"""What these models hold beyond the types skops trusts by itself: trees as arrays."""
MAX_ENTRIES, MAX_UNPACKED = 20_000, 2 << 30
_STAGES = 25


@dataclass(frozen=True)
class SklearnModel:
    content: bytes
    shape: Shape
    kind: str

    @cached_property
    def _estimator(self) -> Any:
        from skops.io import loads

        return loads(self.content, trusted=sorted(TRUSTED_TYPES))

    def raw(self, matrix: Matrix, *, threads: int = 1) -> Floats:
        if not len(matrix):
            return np.empty((0, self.shape.classes) if self.shape.outputs > 1 else 0)
        return _raw(self._estimator, matrix.values, self.shape)

    def contributions(self, matrix: Matrix, *, threads: int = 1) -> Contributions:
        """Linear: coefficient × deviation of the (scaled, so centered) column, which is exact. Trees: TreeSHAP by the shap library."""
        if self.kind == "linear":
            weights = np.atleast_2d(self._estimator.coef_)
            base = np.broadcast_to(np.atleast_1d(self._estimator.intercept_), (len(matrix), len(weights)))
            return Contributions(
                matrix.values[:, :, np.newaxis] * weights.T[np.newaxis], np.asarray(base, dtype=np.float64), "linear_exact"
            )
        import shap

        explainer = shap.TreeExplainer(self._estimator)
        values = np.asarray(explainer.shap_values(matrix.values), dtype=np.float64)
        base = np.atleast_1d(np.asarray(explainer.expected_value, dtype=np.float64))
        if values.ndim == 2:
            values = values[:, :, np.newaxis]
        if values.shape[2] > self.shape.outputs:  # a forest of two classes tells both
            values, base = values[:, :, 1:], base[1:]
        return Contributions(values, np.tile(base, (len(matrix), 1)), "shap_tree")

    def importances(self) -> Floats:
        """Linear: size of the coefficients of scaled columns. Forest: mean decrease of impurity. Boosting: total gain."""
        if self.kind == "linear":
            return np.asarray(np.abs(np.atleast_2d(self._estimator.coef_)).sum(axis=0), dtype=np.float64)
        if self.kind == "random_forest":
            return np.asarray(self._estimator.feature_importances_, dtype=np.float64)
        gains = np.zeros(self.shape.columns)
        for tree in (tree for trees in self._estimator._predictors for tree in trees):  # noqa: SLF001 - nothing public tells gains
            inner = tree.nodes[tree.nodes["is_leaf"] == 0]
            np.add.at(gains, inner["feature_idx"], inner["gain"])
        return gains

    @cached_property
    def trees(self) -> int:
        if self.kind == "linear":
            return 0
        if self.kind == "random_forest":
            return len(self._estimator.estimators_)
        return sum(len(trees) for trees in self._estimator._predictors)  # noqa: SLF001 - nothing public tells trees

    @cached_property
    def steps(self) -> int:
        if self.kind == "linear":
            return 0
        if self.kind == "random_forest":
            depths = [one.tree_.compute_node_depths()[one.tree_.children_left < 0] - 1 for one in self._estimator.estimators_]
        else:
            nodes = (tree.nodes for trees in self._estimator._predictors for tree in trees)  # noqa: SLF001 - see above
            depths = [tree["depth"][tree["is_leaf"] == 1].astype(np.int64) for tree in nodes]
        return sum(int((depth**2).sum()) for depth in depths)


class Sklearn:
    name = "sklearn"
    parameters = frozenset({"kind"}).union(*OF_KIND.values())

    def encoding(self, params: Params) -> Encoding:
        if _kind(params) == "linear":
            return Encoding(fill=True, one_hot=True, scale=True, most_categories=50)
        return Encoding()

    def fit(self, problem: Problem, params: Params, *, seed: int, threads: int, report: Report | None) -> Fit:
        from skops.io import dumps
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn, without types

        kind = _kind(params)
        given = _given(problem, params, kind)
        link: Link = "identity"
        if problem.classes:
            link = "share" if kind == "random_forest" else "logit" if problem.classes == 2 else "softmax"
        shape = Shape(problem.train.values.shape[1], problem.train.categorical, problem.classes, link)
        rounds = rounds_of(params, *ROUNDS[kind])
        watch = Watch(rounds, report)
        best: int | None = None
        with threadpool_limits(limits=threads), watch.libraries_errors(ValueError, TypeError):
            match kind:
                case "linear":
                    estimator = _fit_linear(problem, given, seed)
                case "random_forest":
                    estimator = _fit_forest(problem, given, shape, watch, seed=seed, threads=threads)
                case _:
                    estimator, best = _fit_boosting(problem, given, shape, watch, patience=patience_of(params), seed=seed)
        return Fit(SklearnModel(dumps(estimator), shape, kind), best)

    def load(self, content: bytes, shape: Shape) -> SklearnModel:
        _check_archive(content)
        found = SklearnModel(content, shape, DEFAULT_KIND)
        try:
            estimator = found._estimator  # noqa: SLF001 - this very class's own
            kind = KIND_OF_CLASS.get(type(estimator).__name__)
            classes = len(getattr(estimator, "classes_", ()))
            if kind is None or getattr(estimator, "n_features_in_", None) != shape.columns or classes != shape.classes:
                raise ArtifactError("the model's kind, columns or classes are not those of the document")
            if outputs_of(found) != shape.outputs:
                raise ArtifactError("the model's answers have not the shape the document says")
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OSError, zlib.error) as error:
            raise ArtifactError(f"scikit-learn does not load the model: {str(error)[:200]}") from error
        return replace(found, kind=kind)


def _kind(params: Params) -> str:
    kind = params.get("kind", DEFAULT_KIND)
    if kind not in OF_KIND:
        raise TrainingError("kind", f"Must be one of {', '.join(OF_KIND)}.")
    return str(kind)


def _given(problem: Problem, params: Params, kind: str) -> dict[str, Any]:
    """The library's parameters. Raises TrainingError for those that do not belong to the kind or the task."""
    other = {"class_weight", "C"} if problem.task == "regression" else {"loss", "alpha"}
    allowed = OF_KIND[kind] - other
    if wrong := sorted(params.keys() - allowed - {"kind"}):
        raise TrainingError(wrong[0], f"Does not belong to a {kind} for {problem.task}; it takes {', '.join(sorted(allowed))}.")
    if params.get("loss", LOSSES[0]) not in LOSSES:
        raise TrainingError("loss", f"Must be one of {', '.join(LOSSES)}.")
    return {name: value for name, value in params.items() if name not in ("kind", "early_stopping_rounds")}


def _fit_linear(problem: Problem, given: dict[str, Any], seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    settings = {"max_iter": 1_000, "random_state": seed, **given}
    estimator = LogisticRegression(**settings) if problem.classes else Ridge(**settings)
    return estimator.fit(problem.train.values, problem.target)


def _fit_forest(problem: Problem, given: dict[str, Any], shape: Shape, watch: Watch, *, seed: int, threads: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    settings = {"min_samples_leaf": 5, **given, "random_state": seed, "n_jobs": threads, "warm_start": True}
    estimator = (RandomForestClassifier if problem.classes else RandomForestRegressor)(**settings)
    for trees in _stages(watch):
        estimator.set_params(n_estimators=trees).fit(problem.train.values, problem.target)
        if watch.report is not None:
            watch.tell(trees, _score(estimator, problem, shape))
    # Threads would add up the trees' votes in any order: one gives the same last bit each time.
    return estimator.set_params(n_jobs=1, warm_start=False)


def _fit_boosting(problem: Problem, given: dict[str, Any], shape: Shape, watch: Watch, *, patience: int, seed: int) -> tuple[Any, int]:
    """Grown in stages; early stopping looks at the end of each stage. Answers the estimator and the iterations kept."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    settings = {"learning_rate": 0.05, **given, "random_state": seed, "warm_start": True, "early_stopping": False}
    estimator = (HistGradientBoostingClassifier if problem.classes else HistGradientBoostingRegressor)(**settings)
    sign = 1.0 if problem.direction == "maximize" else -1.0
    best, best_value = 0, -np.inf
    for iteration in _stages(watch):
        estimator.set_params(max_iter=iteration).fit(problem.train.values, problem.target)
        value = _score(estimator, problem, shape)
        if sign * value > best_value:
            best, best_value = iteration, sign * value
        watch.tell(iteration, value)
        if patience and iteration - best >= patience:
            break
    kept = best if patience else watch.rounds
    estimator._predictors = estimator._predictors[:kept]  # noqa: SLF001 - nothing public forgets the trees after the best
    return estimator.set_params(max_iter=kept, warm_start=False), kept


def _stages(watch: Watch) -> list[int]:
    """Numbers of iterations after which to look, the last one included."""
    step = max(1, -(-watch.rounds // _STAGES))
    return [*range(step, watch.rounds, step), watch.rounds]


def _score(estimator: Any, problem: Problem, shape: Shape) -> float:
    raw = _raw(estimator, problem.validation.values, shape)
    return problem.score(answers_of(raw, shape.link))


def _raw(estimator: Any, values: Floats, shape: Shape) -> Floats:
    if not shape.classes:
        return np.asarray(estimator.predict(values), dtype=np.float64)
    if shape.link != "share":
        return np.asarray(estimator.decision_function(values), dtype=np.float64)
    shares = np.asarray(estimator.predict_proba(values), dtype=np.float64)
    return shares if shape.classes > 2 else shares[:, 1]


def _check_archive(content: bytes) -> None:
    """What the archive says about itself, before anything of it is built. Raises ArtifactError."""
    from skops.io import get_untrusted_types

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
        if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_UNPACKED:
            raise ArtifactError("the model unpacks to more than is allowed")
        unknown = sorted(set(get_untrusted_types(data=content)) - TRUSTED_TYPES)
    except (zipfile.BadZipFile, ValueError, TypeError, KeyError, AttributeError, OSError, EOFError, zlib.error, RuntimeError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"the model is no whole skops archive: {str(error)[:200]}") from error
    if unknown:
        raise ArtifactError(f"the model holds types that are not let in: {', '.join(unknown)[:200]}")
