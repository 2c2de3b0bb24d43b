"""Our metrics against scikit-learn's, and what they do without an answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from engine.tabular.problems import ScoringError
from engine.tabular.scoring import METRICS, Answers, auc, metric, score_all

Array = NDArray[Any]


def classified(classes: int, rows: int = 200) -> Answers:
    """Rounded probabilities, so that there are ties."""
    chance = np.random.default_rng(classes)
    truth = chance.integers(0, classes, rows)
    weights = np.round(chance.random((rows, classes)) + 0.5 * np.eye(classes)[truth], 1) + 0.05
    chances = weights / weights.sum(axis=1, keepdims=True)
    return Answers(truth, np.argmax(chances, axis=1), chances)


def measured() -> Answers:
    chance = np.random.default_rng(0)
    truth = np.round(chance.gamma(2.0, 10.0, 100))
    return Answers(truth, truth + chance.normal(0, 5, 100))


BINARY: dict[str, Callable[[Array, Array, Array], float]] = {
    "roc_auc": lambda truth, _, chances: sk.roc_auc_score(truth, chances[:, 1]),
    "average_precision": lambda truth, _, chances: sk.average_precision_score(truth, chances[:, 1]),
    "log_loss": lambda truth, _, chances: sk.log_loss(truth, chances),
    "accuracy": lambda truth, told, _: sk.accuracy_score(truth, told),
    "balanced_accuracy": lambda truth, told, _: sk.balanced_accuracy_score(truth, told),
    "f1": lambda truth, told, _: sk.f1_score(truth, told),
    "precision": lambda truth, told, _: sk.precision_score(truth, told),
    "recall": lambda truth, told, _: sk.recall_score(truth, told),
    "mcc": lambda truth, told, _: sk.matthews_corrcoef(truth, told),
    "brier": lambda truth, _, chances: sk.brier_score_loss(truth, chances[:, 1]),
}
MULTICLASS: dict[str, Callable[[Array, Array, Array], float]] = {
    "roc_auc": lambda truth, _, chances: sk.roc_auc_score(truth, chances, multi_class="ovr"),
    "average_precision": lambda truth, _, chances: sk.average_precision_score(np.eye(3)[truth], chances),
    "log_loss": lambda truth, _, chances: sk.log_loss(truth, chances),
    "balanced_accuracy": lambda truth, told, _: sk.balanced_accuracy_score(truth, told),
    "f1": lambda truth, told, _: sk.f1_score(truth, told, average="macro"),
    "precision": lambda truth, told, _: sk.precision_score(truth, told, average="macro"),
    "recall": lambda truth, told, _: sk.recall_score(truth, told, average="macro"),
    "mcc": lambda truth, told, _: sk.matthews_corrcoef(truth, told),
}
VALUES: dict[str, Callable[[Array, Array], float]] = {
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "r2": sk.r2_score,
    "median_ae": sk.median_absolute_error,
    "rmsle": lambda truth, told: sk.root_mean_squared_log_error(truth, np.maximum(told, 0)),
    "wape": lambda truth, told: float(np.abs(told - truth).sum() / truth.sum()),
}


@pytest.mark.parametrize("name", BINARY)
def test_metric_of_two_classes_agrees_with_scikit_learn(name: str) -> None:
    answers = classified(2)

    assert metric("classification", name)(answers) == pytest.approx(BINARY[name](answers.truth, answers.predicted, answers.probabilities))


@pytest.mark.parametrize("name", MULTICLASS)
def test_metric_of_three_classes_agrees_with_scikit_learn(name: str) -> None:
    answers = classified(3)

    expected = MULTICLASS[name](answers.truth, answers.predicted, answers.probabilities)

    assert metric("classification", name)(answers) == pytest.approx(expected)


@pytest.mark.parametrize("name", VALUES)
def test_metric_of_numbers_agrees_with_scikit_learn(name: str) -> None:
    answers = measured()

    assert metric("regression", name)(answers) == pytest.approx(VALUES[name](answers.truth, answers.predicted))


def test_mape_is_in_percent_and_leaves_zeros_out() -> None:
    assert metric("regression", "mape")(Answers(np.array([0.0, 10.0]), np.array([5.0, 9.0]))) == pytest.approx(10.0)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_one_class_is_an_error_and_never_nan(name: str) -> None:
    answers = Answers(np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), np.full((3, 2), 0.5))

    with pytest.raises(ScoringError):
        metric("classification", name)(answers)


@pytest.mark.parametrize(
    ("name", "truth"), [("r2", [1.0, 1.0]), ("mape", [0.0, 0.0]), ("wape", [0.0, 0.0]), ("rmsle", [-1.0, 1.0]), ("mae", [np.nan, 1.0])]
)
def test_number_without_an_answer_is_an_error(name: str, truth: list[float]) -> None:
    with pytest.raises(ScoringError):
        metric("regression", name)(Answers(np.array(truth), np.array([1.0, 2.0])))


def test_all_scores_leave_out_those_without_a_value() -> None:
    one_class = Answers(np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), np.full((3, 2), 0.5))

    scores = score_all("classification", one_class)

    assert set(scores) == set(METRICS["classification"]) - {"roc_auc", "average_precision"}
    assert all(np.isfinite(list(scores.values())))


def test_no_rows_and_unknown_names_are_refused() -> None:
    with pytest.raises(ScoringError, match="at least one row"):
        metric("regression", "mae")(Answers(np.empty(0), np.empty(0)))
    with pytest.raises(ScoringError, match="there are rmse, mae"):
        metric("regression", "roc_auc")


def test_order_of_equal_scores_does_not_move_the_area() -> None:
    truth, scores = np.array([True, False, True, False]), np.array([0.5, 0.5, 0.5, 0.1])

    assert auc(truth, scores) == auc(truth[::-1], scores[::-1]) == 0.75


def test_confident_mistake_costs_much_but_not_everything() -> None:
    sure_and_wrong = Answers(np.array([1]), np.array([0]), np.array([[1.0, 0.0]]))

    assert 30 < metric("classification", "log_loss")(sure_and_wrong) < 40
