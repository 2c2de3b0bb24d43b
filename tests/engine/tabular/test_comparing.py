"""What each row costs a model, and which groups of rows cost it more."""

import numpy as np
import polars as pl
import pytest

from engine.tabular.comparing import LEAST_ROWS, MOST_GROUPS, group_losses, row_losses
from engine.tabular.scoring import Answers, metric


def test_the_mean_loss_of_a_regression_is_its_mae() -> None:
    rng = np.random.default_rng(0)
    answers = Answers(rng.normal(size=50), rng.normal(size=50))

    assert row_losses(answers).mean() == pytest.approx(metric("regression", "mae")(answers))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_mean_loss_of_a_classification_is_its_log_loss(classes: int) -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(classes), size=60)
    chances[0] = np.eye(classes)[1]  # as sure as can be, and wrong
    truth = np.concatenate([[0], rng.integers(0, classes, size=59)])
    answers = Answers(truth, chances.argmax(axis=1), chances)

    losses = row_losses(answers)

    assert np.isfinite(losses).all()
    assert losses.mean() == pytest.approx(metric("classification", "log_loss")(answers))


def test_groups_are_columns_of_few_values_that_many_rows_have() -> None:
    large, small = LEAST_ROWS, LEAST_ROWS - 1
    frame = pl.DataFrame(
        {
            "shop": ["a"] * large + [None] * large + ["c"] * small,
            "open": [True] * (2 * large + small),
            "case": [f"{number % (MOST_GROUPS + 1)}" for number in range(2 * large + small)],
        }
    )
    losses = np.concatenate([np.full(large, 1.0), np.full(large, 2.0), np.full(small, 9.0)])

    share = large / (2 * large + small)
    assert group_losses(frame, losses, frame.columns) == {"shop": {"(missing)": (2.0, share), "a": (1.0, share)}}
