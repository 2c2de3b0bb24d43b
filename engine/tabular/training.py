"""Train one model on a split's parts, with everything that was learnt packed into it."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.tabular.algorithms import algorithm as algorithm_named
from engine.tabular.algorithms.protocol import Algorithm, Problem, answers_of, as_two
from engine.tabular.columns import TASKS, Column, Task, columns_of
from engine.tabular.inputs import canonical
from engine.tabular.limits import MAX_NAME
from engine.tabular.model import TabularModel
from engine.tabular.postprocessing import DEFAULT_THRESHOLD, Classes, PostprocessingOptions, Values, best_f1_threshold
from engine.tabular.preprocessing import Matrix, PreprocessingOptions, Preprocessor, check_columns, learn
from engine.tabular.problems import PredictError, ScoringError, TrainingError
from engine.tabular.scoring import Answers, Metric, score_all
from engine.tabular.scoring import metric as metric_named
from engine.tabular.targets import MIN_TRAIN_ROWS, Target, known_target, read_target

__all__ = ["Trained", "TrainingError", "train"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """`value` is the chosen metric on the validation part, `metrics` all that have a value there. `best_iteration` counts from 1."""

    model: TabularModel
    value: float
    metrics: dict[str, float]
    best_iteration: int | None
    seconds: float


def train(
    *,
    train: pl.DataFrame,
    validation: pl.DataFrame,
    target: str,
    features: Sequence[str],
    task: Task,
    algorithm: str,
    params: Mapping[str, Any],
    metric: str,
    seed: int = 0,
    threads: int = 1,
    report: Callable[[int, float], None] | None = None,
    preprocessing: PreprocessingOptions | None = None,
    postprocessing: PostprocessingOptions | None = None,
) -> Trained:
    """Fit `algorithm` with parameters named as its library names them; the same seed and threads give the same model.

    `report(step, value)` is told the metric on validation after so many iterations, at most some fifty times; what it raises comes out
    unchanged. Raises TrainingError naming the argument, feature or parameter for what cannot be trained on.
    """
    started = time.monotonic()
    options = postprocessing or PostprocessingOptions()
    chosen, judge = _checked(algorithm, params, task, metric)
    columns = _columns(train, validation, target=target, features=features)
    goal = read_target(train[target], validation[target], task, options)
    preprocessor, values, notes = learn(_canonical(train, columns), columns, chosen.encoding(params), preprocessing)
    held_out = _held_out(preprocessor, validation)
    problem = _problem(goal, task, judge, options, Matrix(values, preprocessor.categorical), held_out)
    fit = chosen.fit(problem, params, seed=seed, threads=threads, report=report)
    # What is kept is what is measured: the model goes through its stored form once.
    fitted = chosen.load(fit.model.content, fit.model.shape)
    given = answers_of(fitted.raw(held_out, threads=threads), fitted.shape.link)
    if not np.isfinite(given).all():
        raise TrainingError("params", "The model's answers are not finite numbers.")
    finish = _finished(goal, given, options)
    model = TabularModel(algorithm, task, target, preprocessor, fitted, finish, dict(params), notes)
    answers = _answers(goal, given, finish)
    return Trained(model, _value(judge, answers), score_all(task, answers), fit.best_iteration, time.monotonic() - started)


def measure(model: TabularModel, frame: pl.DataFrame, *, threads: int = 1) -> dict[str, float]:
    """Every metric that has a value on rows with a known target, for example the test part. Raises PredictError or TrainingError."""
    return score_all(model.task, answers_on(model, frame, threads=threads))


def answers_on(model: TabularModel, frame: pl.DataFrame, *, threads: int = 1) -> Answers:
    """The model's answers to rows with a known target, beside the truth. Raises PredictError or TrainingError."""
    goal = known_target(frame[model.target], model.postprocessor)
    given = answers_of(model.raw(frame, threads=threads), model.fitted.shape.link)
    return _answers(goal, given, model.postprocessor)


def _checked(algorithm: str, params: Mapping[str, Any], task: Task, metric: str) -> tuple[Algorithm, Metric]:
    chosen = algorithm_named(algorithm)
    if task not in TASKS:
        raise TrainingError("task", f"Must be one of {', '.join(TASKS)}.")
    try:
        judge = metric_named(task, metric)
    except ScoringError as error:
        raise TrainingError("metric", str(error)) from None
    for name, value in params.items():
        if value is not None and not (isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))):
            raise TrainingError(name, "Must be a finite number, a text, true, false or null.")
    if unknown := sorted(params.keys() - chosen.parameters):
        raise TrainingError(unknown[0], f"Is no parameter of {algorithm}; there are {', '.join(sorted(chosen.parameters))}.")
    return chosen, judge


def _columns(train: pl.DataFrame, validation: pl.DataFrame, *, target: str, features: Sequence[str]) -> tuple[Column, ...]:
    for part, frame in (("train", train), ("validation", validation)):
        present = set(frame.columns)
        if absent := [name for name in (target, *features) if name not in present]:
            raise TrainingError(part, f"The columns {', '.join(map(repr, absent[:10]))} are not there.")
    if train.height < MIN_TRAIN_ROWS or not validation.height:
        part = "train" if validation.height else "validation"
        raise TrainingError(part, f"There must be at least {MIN_TRAIN_ROWS} rows to train on and 1 to check.")
    if not 0 < len(target) <= MAX_NAME or "\0" in target:
        raise TrainingError("target", f"Must have 1 to {MAX_NAME} characters.")
    if len(set(features)) < len(features) or target in features:
        raise TrainingError("features", "Must not name a column twice, nor the target.")
    try:
        columns = columns_of(train, features)
    except ValueError as error:
        raise TrainingError("features", str(error)) from None
    check_columns(columns)
    return columns


def _canonical(frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    try:
        return canonical(frame, columns)
    except PredictError as error:
        raise TrainingError(error.problems[0].feature, f"In the training part: {error}") from None


def _held_out(preprocessor: Preprocessor, validation: pl.DataFrame) -> Matrix:
    try:
        return preprocessor.transform(validation)
    except PredictError as error:
        raise TrainingError(error.problems[0].feature, f"In the validation part: {error}") from None


def _problem(goal: Target, task: Task, judge: Metric, options: PostprocessingOptions, train: Matrix, held_out: Matrix) -> Problem:
    """Raises TrainingError for a metric that cannot have a value, before the time for training is spent."""
    _value(judge, _answers(goal, _reference(goal), goal.finish))
    return Problem(
        task=task,
        classes=goal.classes,
        train=train,
        target=goal.train,
        validation=held_out,
        validation_target=goal.validation,
        metric=judge.name,
        direction=judge.direction,
        score=lambda given: _value(judge, _answers(goal, given, goal.finish)),
        plain=judge.needs == "probabilities" or not (options.bounded or options.threshold not in ("f1", DEFAULT_THRESHOLD)),
    )


def _reference(goal: Target) -> Floats:
    """Answers that any metric which can be computed at all can be computed on."""
    if not goal.classes:
        return np.full(len(goal.validation), float(np.mean(goal.train)))
    shares = np.bincount(goal.train.astype(np.int64), minlength=goal.classes) / len(goal.train)
    return np.tile(shares, (len(goal.validation), 1))


def _answers(goal: Target, given: Floats, finish: Classes | Values) -> Answers:
    """The library's answers beside the truth, after the parts of postprocessing that metrics see."""
    if isinstance(finish, Classes):
        chances = as_two(given)
        return Answers(goal.validation.astype(np.int64), finish.codes(chances), chances)
    return Answers(goal.validation, finish.bounded(given))


def _finished(goal: Target, given: Floats, options: PostprocessingOptions) -> Classes | Values:
    if isinstance(goal.finish, Classes) and options.threshold == "f1" and goal.classes == 2:
        return Classes(goal.finish.labels, best_f1_threshold(goal.validation.astype(np.int64), given))
    return goal.finish


def _value(judge: Metric, answers: Answers) -> float:
    try:
        return judge(answers)
    except ScoringError as error:
        raise TrainingError("metric", f"On the validation part: {error}") from None
