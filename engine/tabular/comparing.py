"""Two models on the same rows: what each row costs each of them, and where one of them is worse."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.tabular.scoring import SMALLEST, Answers

Floats = NDArray[np.float64]

LEAST_ROWS = 100
"""Smaller groups differ by chance alone."""
MOST_GROUPS = 20
"""A column with more values names cases rather than groups of them."""


class Group(NamedTuple):
    """The mean loss of some rows, and which share of all rows they are."""

    loss: float
    share: float


def row_losses(answers: Answers) -> Floats:
    """Per row the absolute error of a regression (their mean is the MAE), or minus the logarithm of the probability that a classification
    gave to the true class (their mean is the log loss)."""
    if answers.probabilities is None:
        return np.abs(answers.predicted.astype(np.float64) - answers.truth.astype(np.float64))
    given = answers.probabilities[np.arange(len(answers.truth)), answers.truth]
    losses: Floats = -np.log(np.clip(given, SMALLEST, 1.0 - SMALLEST))
    return losses


def group_losses(frame: pl.DataFrame, losses: Floats, columns: Iterable[str]) -> dict[str, dict[str, Group]]:
    """Per column of few values the mean loss and the share of each value that has LEAST_ROWS rows. A missing value is the group
    `(missing)`."""
    found: dict[str, dict[str, Group]] = {}
    for column in columns:
        value = frame[column].cast(pl.String).fill_null("(missing)").alias("value")
        grouped = pl.DataFrame([value, pl.Series("loss", losses)]).group_by("value").agg(pl.len(), pl.col("loss").mean())
        large = grouped.filter(pl.col("len") >= LEAST_ROWS).sort("value")
        if 1 < grouped.height <= MOST_GROUPS and large.height:
            found[column] = {value: Group(loss, length / frame.height) for value, length, loss in large.iter_rows()}
    return found
