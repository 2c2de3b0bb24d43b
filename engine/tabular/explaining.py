"""Which features a model goes by: over many rows, and for one row as contributions that add up to its raw prediction.

`method` says how: "shap_native" is TreeSHAP by the booster's own library, "shap_tree" by the shap library (Lundberg et al., "From local
explanations to global understanding with explainable AI for trees", Nature Machine Intelligence 2, 2020), "linear_exact" the closed form
for linear models (the same values for independent features), "native" the library's own importance, which tells no single row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.tabular.algorithms.protocol import Contributions
from engine.tabular.model import TabularModel
from engine.tabular.postprocessing import Label
from engine.tabular.preprocessing import Preprocessor

Floats = NDArray[np.float64]

MAX_SAMPLE = 1_000
"""Rows that importance is averaged over; more are thinned evenly, the same ones every time."""
MIN_SAMPLE = 10
"""Rows below which an average says less than the library's own importance."""
MAX_STEPS = 3_000_000_000
"""Rows times the steps of one: about three seconds of one core, at about a nanosecond each with all libraries."""
STEPS_IN_TRAINING = 10 * MAX_STEPS
"""The same where nobody waits for it."""


@dataclass(frozen=True)
class Importance:
    """`values`: every feature with its share, largest first; shares add up to 1, or are all 0 where the model uses nothing."""

    method: str
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Explanation:
    """`base_value` + the sum of `values` = `raw`: the prediction itself for regression, else the score of the class `label`.

    `label` is the second of two classes, or of more the one that is predicted; None for regression. `link` is how `raw` becomes the answer
    (identity, log, logit, softmax; share: it is the probability).
    """

    base_value: float
    values: dict[str, float]
    raw: float
    label: Label | None
    link: str


def importance(model: TabularModel, frame: pl.DataFrame | None = None, *, threads: int = 1) -> Importance:
    """Mean absolute contribution over the frame's rows; without a frame what was measured in training, else the library's own importance.

    Raises PredictError for a frame the model cannot read.
    """
    if frame is None or not frame.height:
        return Importance(model.importance_method, model.importances) if model.importances else _native(model)
    return _overall(model, _contributions(model, thinned(frame), threads=threads))


def explain(model: TabularModel, frame: pl.DataFrame, *, threads: int = 1) -> tuple[str, list[Explanation]]:
    """The method, and for each row how each feature moved its raw prediction. Raises PredictError."""
    if not frame.height:
        return "", []
    told = _contributions(model, frame, threads=threads)
    return told.method, _row_by_row(model, frame, told, threads=threads)


def explain_all(model: TabularModel, frame: pl.DataFrame) -> tuple[Importance, list[Explanation]]:
    """What the rows have in common, and each of them, for the work of one. Raises PredictError."""
    told = _contributions(model, frame, threads=1)
    return _overall(model, told), _row_by_row(model, frame, told, threads=1)


def explained_at_once(model: TabularModel, steps: int = MAX_STEPS) -> int:
    """How many rows are explained with that many steps."""
    return steps // max(model.fitted.steps, 1)


def _native(model: TabularModel) -> Importance:
    return Importance("native", _shares(_by_feature(model.fitted.importances()[np.newaxis], model.preprocessor)[0], model.features))


def _overall(model: TabularModel, told: Contributions) -> Importance:
    sizes = np.abs(_by_feature(told.values, model.preprocessor)).mean(axis=0).sum(axis=-1)
    return Importance(told.method, _shares(sizes, model.features))


def _row_by_row(model: TabularModel, frame: pl.DataFrame, told: Contributions, *, threads: int) -> list[Explanation]:
    raw = model.raw(frame, threads=threads).reshape(frame.height, -1)
    chosen = np.argmax(raw, axis=1) if raw.shape[1] > 1 else np.zeros(frame.height, dtype=np.int64)
    values = _by_feature(told.values, model.preprocessor)
    explanations = []
    for row, output in enumerate(chosen.tolist()):
        label = None if not model.labels else model.labels[output if raw.shape[1] > 1 else 1]
        named = dict(zip(model.features, values[row, :, output].tolist(), strict=True))
        explanations.append(Explanation(float(told.base[row, output]), named, float(raw[row, output]), label, model.fitted.shape.link))
    return explanations


def with_importance(model: TabularModel, frame: pl.DataFrame, *, threads: int = 1) -> TabularModel:
    """The model that remembers its importance over these rows, so that it can tell it without data later.

    Of large trees over fewer rows, and of larger ones than that the library's own, so that it takes less than a minute.
    """
    most = min(explained_at_once(model, STEPS_IN_TRAINING), MAX_SAMPLE)
    found = _native(model) if most < min(MIN_SAMPLE, frame.height) else importance(model, thinned(frame, most), threads=threads)
    return replace(model, importances=found.values, importance_method=found.method)


def thinned(frame: pl.DataFrame, most: int = MAX_SAMPLE) -> pl.DataFrame:
    """At most so many rows, evenly spread."""
    if frame.height <= most:
        return frame
    return frame[np.linspace(0, frame.height - 1, most).astype(np.int64)]


def _contributions(model: TabularModel, frame: pl.DataFrame, *, threads: int) -> Contributions:
    return model.fitted.contributions(model.preprocessor.transform(frame), threads=threads)


def _by_feature(columns: Floats, preprocessor: Preprocessor) -> Floats:
    """Sums over the columns (axis 1) that come from one feature. A feature that is not used has 0."""
    shape = (columns.shape[0], len(preprocessor.features), *columns.shape[2:])
    summed: Floats = np.zeros(shape)
    for index, owner in enumerate(preprocessor.owners):
        summed[:, owner] += columns[:, index]
    return summed


def _shares(sizes: Floats, names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    total = float(sizes.sum())
    shares = (sizes / total if total > 0 else np.zeros(len(sizes))).tolist()
    return tuple(sorted(zip(names, shares, strict=True), key=lambda pair: (-pair[1], pair[0])))
