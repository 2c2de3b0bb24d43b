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
        if model.importances:
            return Importance(model.importance_method, model.importances)
        return Importance("native", _shares(_by_feature(model.fitted.importances()[np.newaxis], model.preprocessor)[0], model.features))
    told = _contributions(model, thinned(frame), threads=threads)
    sizes = np.abs(_by_feature(told.values, model.preprocessor)).mean(axis=0).sum(axis=-1)
    return Importance(told.method, _shares(sizes, model.features))


def explain(model: TabularModel, frame: pl.DataFrame, *, threads: int = 1) -> tuple[str, list[Explanation]]:
    """The method, and for each row how each feature moved its raw prediction. Raises PredictError."""
    if not frame.height:
        return "", []
    told = _contributions(model, frame, threads=threads)
    raw = model.raw(frame, threads=threads).reshape(frame.height, -1)
    chosen = np.argmax(raw, axis=1) if raw.shape[1] > 1 else np.zeros(frame.height, dtype=np.int64)
    values = _by_feature(told.values, model.preprocessor)
    explanations = []
    for row, output in enumerate(chosen.tolist()):
        label = None if not model.labels else model.labels[output if raw.shape[1] > 1 else 1]
        named = dict(zip(model.features, values[row, :, output].tolist(), strict=True))
        explanations.append(Explanation(float(told.base[row, output]), named, float(raw[row, output]), label, model.fitted.shape.link))
    return told.method, explanations


def with_importance(model: TabularModel, frame: pl.DataFrame, *, threads: int = 1) -> TabularModel:
    """The model that remembers its importance over these rows, so that it can tell it without data later."""
    found = importance(model, frame, threads=threads)
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
