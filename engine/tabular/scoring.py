"""Metrics of regression and classification, one definition each, with the direction that is better.

A metric is a finite number or a ScoringError that says why there is none; never NaN. Sources: Powers, "Evaluation: from precision,
recall and F-measure to ROC", J. Machine Learning Technologies 2 (2011), for accuracy to F1 and MCC; Gorodkin, "Comparing two K-category
assignments by a K-category correlation coefficient", Comput. Biol. Chem. 28 (2004), for MCC of several classes; Fawcett, "An introduction
to ROC analysis", Pattern Recognition Letters 27 (2006), for the area under the ROC curve as the share of ordered pairs; Brier, Monthly
Weather Review 78 (1950); Hyndman & Koehler, Int. J. Forecasting 22 (2006), for MAE, RMSE and MAPE.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.tabular.columns import Task
from engine.tabular.problems import ScoringError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Direction = Literal["maximize", "minimize"]

SMALLEST = 1e-15
"""Probabilities are kept this far from 0 and 1, so that one confident mistake costs much but not everything."""


@dataclass(frozen=True)
class Answers:
    """What was true and what was predicted, row by row.

    Regression: `truth` and `predicted` are numbers. Classification: they are codes of classes 0, 1, …, and `probabilities` is
    rows × classes.
    """

    truth: NDArray[Any]
    predicted: NDArray[Any]
    probabilities: Floats | None = None

    @property
    def classes(self) -> int:
        return 0 if self.probabilities is None else self.probabilities.shape[1]


@dataclass(frozen=True)
class Metric:
    """`direction` says which way is better. `function` raises ScoringError where the rows give the metric no value."""

    name: str
    direction: Direction
    function: Callable[[Answers], float]
    needs: Literal["values", "labels", "probabilities"]

    def __call__(self, answers: Answers) -> float:
        """The metric, finite. Raises ScoringError."""
        if not len(answers.truth):
            raise ScoringError(f"{self.name} needs at least one row.")
        with np.errstate(all="ignore"):
            value = float(self.function(answers))
        if not np.isfinite(value):
            raise ScoringError(f"{self.name} is not finite on these rows.")
        return value


def metric(task: Task, name: str) -> Metric:
    """Raises ScoringError naming the metrics there are."""
    found = METRICS[task].get(name)
    if found is None:
        raise ScoringError(f"There is no {task} metric {name!r}; there are {', '.join(METRICS[task])}.")
    return found


def score_all(task: Task, answers: Answers) -> dict[str, float]:
    """Every metric of the task that has a value on these rows."""
    values: dict[str, float] = {}
    for name, one in METRICS[task].items():
        try:
            values[name] = one(answers)
        except ScoringError:
            continue  # by contract: a metric without a value is left out
    return values


def auc(truth: NDArray[np.bool_], scores: Floats) -> float:
    """Share of (positive, negative) pairs that the scores order rightly, ties counting half. Raises ScoringError for one class."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        raise ScoringError("The area under the ROC curve needs rows of both classes.")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    ranks = (ends - (sizes - 1) / 2.0)[group]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def average_precision(truth: NDArray[np.bool_], scores: Floats) -> float:
    """Sum over thresholds of precision × gain in recall, without interpolation. Raises ScoringError without positives."""
    positives = int(truth.sum())
    if not positives:
        raise ScoringError("Average precision needs a row of the positive class.")
    hits, total = cumulated(truth, scores)[:2]
    recall = hits / positives
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / total))


def cumulated(truth: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats, Floats]:
    """For each distinct score, highest first: positives and rows at or above it, and the score."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    rows = (last + 1).astype(np.float64)
    return np.cumsum(truth[order], dtype=np.float64)[last], rows, ordered[last]


def _probabilities(answers: Answers) -> Floats:
    if answers.probabilities is None:
        raise ScoringError("This metric needs probabilities.")
    return answers.probabilities


def _per_class(answers: Answers, one: Callable[[NDArray[np.bool_], Floats], float]) -> float:
    """Two classes: of the second. More: the unweighted mean over one class against the rest."""
    chances = _probabilities(answers)
    if chances.shape[1] == 2:
        return one(answers.truth == 1, chances[:, 1])
    return float(np.mean([one(answers.truth == code, chances[:, code]) for code in range(chances.shape[1])]))


def _confusion(answers: Answers) -> Floats:
    """Rows: truth; columns: prediction."""
    size = max(answers.classes, 1 + int(max(answers.truth.max(), answers.predicted.max())))
    pairs = answers.truth.astype(np.int64) * size + answers.predicted.astype(np.int64)
    return np.bincount(pairs, minlength=size * size).reshape(size, size).astype(np.float64)


def _by_class(answers: Answers, share: Callable[[Floats, Floats, Floats], Floats]) -> float:
    """Two classes: of the second. More: the unweighted mean over the classes that occur. A class never predicted scores 0."""
    table = _confusion(answers)
    hits, actual, told = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    values = np.nan_to_num(share(hits, actual, told))
    return float(values[1]) if len(table) == 2 else float(values[(actual + told) > 0].mean())


def _accuracy(answers: Answers) -> float:
    return float(np.mean(answers.truth == answers.predicted))


def _balanced_accuracy(answers: Answers) -> float:
    table = _confusion(answers)
    actual = table.sum(axis=1)
    return float(np.mean(np.diag(table)[actual > 0] / actual[actual > 0]))


def _matthews(answers: Answers) -> float:
    """Correlation of truth and prediction; 0 where one of them is constant, as by convention."""
    table = _confusion(answers)
    rows, actual, told = table.sum(), table.sum(axis=1), table.sum(axis=0)
    spread = (rows**2 - told @ told) * (rows**2 - actual @ actual)
    return float((np.trace(table) * rows - actual @ told) / np.sqrt(spread)) if spread > 0 else 0.0


def _log_loss(answers: Answers) -> float:
    chances = _probabilities(answers)
    given = chances[np.arange(len(chances)), answers.truth.astype(np.int64)]
    return float(-np.mean(np.log(np.clip(given, SMALLEST, 1.0 - SMALLEST))))


def _brier(answers: Answers) -> float:
    """Two classes: mean squared error of the positive's probability. More: Brier's own sum over classes."""
    chances = _probabilities(answers)
    if chances.shape[1] == 2:
        return float(np.mean((chances[:, 1] - answers.truth) ** 2))
    hot = np.eye(chances.shape[1])[answers.truth.astype(np.int64)]
    return float(np.mean(np.sum((chances - hot) ** 2, axis=1)))


def _errors(answers: Answers) -> Floats:
    return np.asarray(answers.predicted, dtype=np.float64) - np.asarray(answers.truth, dtype=np.float64)


def _r2(answers: Answers) -> float:
    around = float(np.sum((answers.truth - np.mean(answers.truth)) ** 2))
    if not around > 0:
        raise ScoringError("R² needs rows whose target differs.")
    return 1.0 - float(np.sum(_errors(answers) ** 2)) / around


def _mape(answers: Answers) -> float:
    known = answers.truth != 0
    if not known.any():
        raise ScoringError("MAPE needs a row whose target is not 0.")
    return 100.0 * float(np.mean(np.abs(_errors(answers)[known] / answers.truth[known])))


def _wape(answers: Answers) -> float:
    total = float(np.abs(answers.truth).sum())
    if not total > 0:
        raise ScoringError("WAPE needs a row whose target is not 0.")
    return float(np.abs(_errors(answers)).sum()) / total


def _rmsle(answers: Answers) -> float:
    if (answers.truth < 0).any():
        raise ScoringError("RMSLE needs targets of at least 0.")
    return float(np.sqrt(np.mean((np.log1p(np.maximum(answers.predicted, 0.0)) - np.log1p(answers.truth)) ** 2)))


def _named(*metrics: Metric) -> Mapping[str, Metric]:
    return {one.name: one for one in metrics}


METRICS: Mapping[Task, Mapping[str, Metric]] = {
    "classification": _named(
        Metric("roc_auc", "maximize", lambda a: _per_class(a, auc), "probabilities"),
        Metric("log_loss", "minimize", _log_loss, "probabilities"),
        Metric("accuracy", "maximize", _accuracy, "labels"),
        Metric("balanced_accuracy", "maximize", _balanced_accuracy, "labels"),
        Metric("f1", "maximize", lambda a: _by_class(a, lambda hits, actual, told: 2 * hits / (actual + told)), "labels"),
        Metric("precision", "maximize", lambda a: _by_class(a, lambda hits, actual, told: hits / told), "labels"),
        Metric("recall", "maximize", lambda a: _by_class(a, lambda hits, actual, told: hits / actual), "labels"),
        Metric("mcc", "maximize", _matthews, "labels"),
        Metric("average_precision", "maximize", lambda a: _per_class(a, average_precision), "probabilities"),
        Metric("brier", "minimize", _brier, "probabilities"),
    ),
    "regression": _named(
        Metric("rmse", "minimize", lambda a: float(np.sqrt(np.mean(_errors(a) ** 2))), "values"),
        Metric("mae", "minimize", lambda a: float(np.mean(np.abs(_errors(a)))), "values"),
        Metric("r2", "maximize", _r2, "values"),
        Metric("mape", "minimize", _mape, "values"),
        Metric("wape", "minimize", _wape, "values"),
        Metric("median_ae", "minimize", lambda a: float(np.median(np.abs(_errors(a)))), "values"),
        Metric("rmsle", "minimize", _rmsle, "values"),
    ),
}
"""Per task, the default metric first. MAPE is in percent, WAPE a fraction, as everywhere in Tiltyard; errors are in the target's unit."""

DEFAULT_METRIC: Mapping[Task, str] = {task: next(iter(metrics)) for task, metrics in METRICS.items()}
