"""What every algorithm offers, and the words they share. A module per library implements it; no library is imported before it is used."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.tabular.columns import Task
from engine.tabular.preprocessing import Encoding, Matrix
from engine.tabular.problems import TrainingError
from engine.tabular.scoring import Direction

Floats = NDArray[np.float64]
Params = Mapping[str, Any]
Report = Callable[[int, float], None]
Link = Literal["identity", "log", "logit", "softmax", "share"]
"""How raw scores become answers: as they are, by exp, by the logistic function, by softmax; "share": they are probabilities already."""

LINKS: tuple[Link, ...] = ("identity", "log", "logit", "softmax", "share")
REPORTS = 50
"""At most about so many intermediate values are told per fit."""


@dataclass(frozen=True)
class Shape:
    """What a model takes and gives: columns of its matrix, those holding category codes, classes (0 for regression), and its link.

    Raw scores are one number per row for regression and two classes (of the second class), else rows × classes.
    """

    columns: int
    categorical: tuple[int, ...]
    classes: int
    link: Link

    @property
    def outputs(self) -> int:
        return self.classes if self.classes > 2 else 1


@dataclass(frozen=True)
class Contributions:
    """Raw score = base + the sum over columns. `values`: rows × columns × outputs; `base`: rows × outputs; `method` as told to people."""

    values: Floats
    base: Floats
    method: str


class Fitted(Protocol):
    """A model in memory. `content` is how the artifact keeps it; loading that gives exactly the same answers."""

    @property
    def shape(self) -> Shape: ...
    @property
    def content(self) -> bytes: ...
    def raw(self, matrix: Matrix, *, threads: int = 1) -> Floats:
        """Scores before the link: (rows,) or (rows, classes)."""

    def contributions(self, matrix: Matrix, *, threads: int = 1) -> Contributions:
        """How each column moved each row's raw score, exactly."""

    def importances(self) -> Floats:
        """The library's own importance per column, at least 0."""

    @property
    def trees(self) -> int:
        """How many each prediction walks down; quick to tell."""

    @property
    def steps(self) -> int:
        """Of explaining one row: over all leaves, the square of its depth, as TreeSHAP takes. Slow to tell the first time."""


@dataclass(frozen=True)
class Problem:
    """What is to be learnt: matrices, and targets as floats (numbers, or codes of classes 0, 1, …).

    `score` takes the library's answers on the validation rows (numbers, the second class's probability, or rows × classes) and gives
    the chosen metric.
    """

    task: Task
    classes: int
    train: Matrix
    target: Floats
    validation: Matrix
    validation_target: Floats
    metric: str
    direction: Direction
    score: Callable[[Floats], float]
    plain: bool
    """The metric sees the library's answers as they are, so that a library may compute it by itself."""


@dataclass(frozen=True)
class Fit:
    """`best_iteration` counts iterations kept, from 1; None where the algorithm has none."""

    model: Fitted
    best_iteration: int | None


@dataclass
class Watch:
    """Passes intermediate values on, not too many of them, and remembers what the receiver raised, whatever a library makes of it."""

    rounds: int
    report: Report | None
    raised: BaseException | None = field(default=None)

    def tell(self, iteration: int, value: float) -> None:
        """After so many iterations. Raises what the receiver raises."""
        every = max(1, -(-self.rounds // REPORTS))
        if self.report is None or (iteration % every and iteration != self.rounds):
            return
        try:
            self.report(iteration, value)
        except BaseException as error:
            self.raised = error
            raise

    @contextmanager
    def libraries_errors(self, *kinds: type[Exception]) -> Iterator[None]:
        """Errors of these kinds become TrainingError, but what the receiver raised comes out as it was."""
        try:
            yield
        except kinds as error:
            if self.raised is not None:
                raise self.raised from None
            if isinstance(error, TrainingError):
                raise
            raise TrainingError("params", f"The library refuses: {_last_line(error)}") from error
        if self.raised is not None:  # the library ended well although its callback did not
            raise self.raised


class Algorithm(Protocol):
    """One library. `parameters` are the names of its own that may be given."""

    name: str
    parameters: frozenset[str]

    def encoding(self, params: Params) -> Encoding:
        """What its matrix must look like."""

    def fit(self, problem: Problem, params: Params, *, seed: int, threads: int, report: Report | None) -> Fit:
        """Train. Raises TrainingError for parameters the library refuses, and whatever `report` raises, unchanged."""

    def load(self, content: bytes, shape: Shape) -> Fitted:
        """The model of such a content. Raises ArtifactError where it is not one or does not fit the shape."""


def outputs_of(model: Fitted) -> int:
    """How many numbers the model really gives for one row of zeros."""
    shape = model.shape
    return int(np.size(model.raw(Matrix(np.zeros((1, shape.columns)), shape.categorical))))


def answers_of(raw: Floats, link: Link) -> Floats:
    """Numbers for regression; for classification rows × classes of probabilities."""
    match link:
        case "identity":
            return raw
        case "log":
            return np.exp(np.minimum(raw, 700.0))
        case "logit":
            positive = 0.5 * (1.0 + np.tanh(0.5 * raw))
            return np.column_stack([1.0 - positive, positive])
        case "share":
            return np.column_stack([1.0 - raw, raw]) if raw.ndim == 1 else raw
        case "softmax":
            powers = np.exp(raw - raw.max(axis=1, keepdims=True))
            shares: Floats = powers / powers.sum(axis=1, keepdims=True)
            return shares


def as_two(scores: Floats) -> Floats:
    """Probabilities of two classes, given as the second's alone, as rows × 2; others as they are."""
    return np.column_stack([1.0 - scores, scores]) if scores.ndim == 1 else scores


def rounds_of(params: Params, name: str, default: int) -> int:
    """The number of iterations asked for. Raises TrainingError."""
    return whole_of(params, name, default, low=1, high=100_000)


def patience_of(params: Params, default: int = 50) -> int:
    """After how many iterations without a better validation value to stop; 0 for never. Raises TrainingError."""
    return whole_of(params, "early_stopping_rounds", default, low=0, high=100_000)


def whole_of(params: Params, name: str, default: int, *, low: int, high: int) -> int:
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TrainingError(name, f"Must be a whole number from {low} to {high}.")
    return value


def choice_of(params: Params, name: str, allowed: Mapping[str, Link], default: str) -> tuple[str, Link]:
    """An objective and its link. Raises TrainingError naming what is allowed."""
    value = params.get(name, default)
    if value not in allowed:
        raise TrainingError(name, f"Must be one of {', '.join(allowed)}.")
    return str(value), allowed[str(value)]


def check_link(problem: Problem, link: Link, name: str) -> None:
    """A logarithmic model cannot learn negative targets."""
    if link == "log" and ((problem.target < 0).any() or not problem.target.any()):
        raise TrainingError(name, "This objective needs targets of at least 0 that are not all 0.")


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
