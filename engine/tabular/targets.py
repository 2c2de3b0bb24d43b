"""The column to be predicted, as numbers: values, or codes of classes in the order of their labels."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.tabular.columns import Task
from engine.tabular.limits import MAX_CLASSES
from engine.tabular.postprocessing import DEFAULT_THRESHOLD, Classes, Label, PostprocessingOptions, Values, learn_values
from engine.tabular.problems import TrainingError

Floats = NDArray[np.float64]

MIN_TRAIN_ROWS = 2


@dataclass(frozen=True)
class Target:
    """`train` and `validation` as numbers or class codes; `finish` turns answers back into values or labels."""

    train: Floats
    validation: Floats
    finish: Classes | Values

    @property
    def classes(self) -> int:
        """0 for regression."""
        return len(self.finish.labels) if isinstance(self.finish, Classes) else 0


def read_target(train: pl.Series, validation: pl.Series, task: Task, options: PostprocessingOptions) -> Target:
    """Both parts' targets. Raises TrainingError for one that is constant, missing, infinite, of one class or of too many."""
    if task == "regression":
        values = _numbers(train, "training")
        if float(values.min()) == float(values.max()):
            raise TrainingError(train.name, f"The target is {values[0]:g} in every training row; there is nothing to learn.")
        return Target(values, _numbers(validation, "validation"), learn_values(values, options))
    classes = _classes(train, options)
    return Target(_codes(train, classes, "training"), _codes(validation, classes, "validation"), classes)


def known_target(series: pl.Series, finish: Classes | Values) -> Target:
    """Rows whose target is known, for a model that exists. Raises TrainingError, also for a class the model does not know."""
    known = _codes(series, finish, "given") if isinstance(finish, Classes) else _numbers(series, "given")
    return Target(np.empty(0), known, finish)


def _numbers(series: pl.Series, part: str) -> Floats:
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise TrainingError(series.name, f"The target of a regression must hold numbers, not {series.dtype}.")
    values = series.cast(pl.Float64)
    bad = len(series) - int(values.is_finite().fill_null(value=False).sum())
    if bad:
        raise TrainingError(series.name, f"The target is missing or not finite in {bad} of {len(series)} rows of the {part} part.")
    return values.to_numpy()


def _classes(series: pl.Series, options: PostprocessingOptions) -> Classes:
    counted = _present(series, "training").alias("label").value_counts().sort("label")
    if counted.height < 2:
        raise TrainingError(series.name, "The target has one class in the training part; there is nothing to learn.")
    if counted.height > MAX_CLASSES:
        raise TrainingError(series.name, f"The target has {counted.height} classes; at most {MAX_CLASSES} are allowed. Is it a regression?")
    threshold = DEFAULT_THRESHOLD if options.threshold == "f1" else options.threshold
    return Classes(tuple(cast("list[Label]", counted["label"].to_list())), float(threshold))


def _codes(series: pl.Series, classes: Classes, part: str) -> Floats:
    present = _present(series, part)
    codes = {label: float(code) for code, label in enumerate(classes.labels)}
    unknown = sorted({str(label) for label in present.unique() if label not in codes})
    if unknown:
        raise TrainingError(series.name, f"The {part} part holds the class {unknown[0]!r}, which training did not see.")
    return np.asarray([codes[label] for label in present], dtype=np.float64)


def _present(series: pl.Series, part: str) -> pl.Series:
    """The labels; whole numbers held as floats become integers, as which they are written."""
    labels: Any = series
    if series.dtype.is_float():
        labels = series.fill_nan(None)
        if labels.is_infinite().any():
            raise TrainingError(series.name, f"The target is infinite in rows of the {part} part.")
        if (labels.drop_nulls() == labels.drop_nulls().floor()).all():
            labels = labels.cast(pl.Int64, strict=False)
    elif not (series.dtype.is_integer() or series.dtype in (pl.Boolean, pl.String)):
        raise TrainingError(series.name, f"The target of a classification cannot be {series.dtype}.")
    if labels.null_count():
        raise TrainingError(series.name, f"The target is missing in {labels.null_count()} of {len(series)} rows of the {part} part.")
    return cast("pl.Series", labels)
