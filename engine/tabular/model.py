"""A trained model with all it needs to answer: what to do with columns, the library's model, what to do with its scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.formats.signature import Feature, Signature
from engine.tabular.algorithms.protocol import Fitted, answers_of
from engine.tabular.columns import Task
from engine.tabular.inputs import canonical, from_records
from engine.tabular.postprocessing import Classes, Label, Values
from engine.tabular.preprocessing import Learnt, Preprocessor

Floats = NDArray[np.float64]

MAX_SIGNED_CATEGORIES = 20_000
"""Over all features; beyond, a signature would be larger than it helps."""
MAX_SIGNED_TEXT = 200
_DTYPES = {"boolean": "boolean", "categorical": "category", "datetime": "datetime"}


@dataclass(frozen=True)
class Predictions:
    """`values`: numbers, or labels. `probabilities` per label, for classification. `raw`: scores before the link, as explained."""

    values: list[Any]
    probabilities: list[dict[str, float]] | None
    raw: Floats
    notes: list[str]


@dataclass(frozen=True)
class TabularModel:
    """`importances`: share of each feature, measured when it was trained, largest first; `importance_method` says how."""

    algorithm: str
    task: Task
    target: str
    preprocessor: Preprocessor
    fitted: Fitted
    postprocessor: Classes | Values
    params: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    importances: tuple[tuple[str, float], ...] = ()
    importance_method: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """Names in the order of training."""
        return tuple(column.name for column in self.preprocessor.columns)

    @property
    def labels(self) -> tuple[Label, ...]:
        """Of the classes, in the order of their codes; none for regression."""
        return self.postprocessor.labels if isinstance(self.postprocessor, Classes) else ()

    @property
    def unit(self) -> str:
        """Of the numbers it answers; empty where nobody named one, and for classification."""
        return self.postprocessor.unit if isinstance(self.postprocessor, Values) else ""

    @property
    def size_bytes(self) -> int:
        """Of the library's own model: about what the whole takes in memory, for caches that count."""
        return len(self.fitted.content)

    def read(self, records: Sequence[Mapping[str, Any]]) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """A frame of JSON objects and the names in them that are no feature. Raises PredictError naming row and feature."""
        return from_records(records, self.preprocessor.columns)

    def predict(self, frame: pl.DataFrame, *, threads: int = 1) -> Predictions:
        """Answers row by row. Columns may stand in any order; extra ones are ignored and told. Raises PredictError."""
        read = canonical(frame, self.preprocessor.columns)
        raw, notes = self.fitted.raw(self.preprocessor.matrix(read), threads=threads), self._notes(frame, read)
        answers = answers_of(raw, self.fitted.shape.link)
        if isinstance(self.postprocessor, Classes):
            return Predictions(self.postprocessor.answers(answers), self.postprocessor.named(answers), raw, notes)
        if beyond := self.postprocessor.beyond(answers):
            notes.append(f"{beyond} answers are larger than a number can be here; the largest one stands in their place.")
        return Predictions(list(self.postprocessor.answers(answers)), None, raw, notes)

    def raw(self, frame: pl.DataFrame, *, threads: int = 1) -> Floats:
        """Scores before link and postprocessing: (rows,) or, for more than two classes, (rows, classes). Raises PredictError."""
        return self.fitted.raw(self.preprocessor.transform(frame), threads=threads)

    def _notes(self, frame: pl.DataFrame, read: pl.DataFrame) -> list[str]:
        """`frame` as it was given, `read` as it was understood."""
        known = {*self.features, self.target}
        extra = sorted(name for name in frame.columns if name not in known)
        notes = [f"Columns that are no feature of this model were ignored: {', '.join(extra)[:300]}."] if extra else []
        return notes + self.unseen(read)

    def unseen(self, frame: pl.DataFrame) -> list[str]:
        """What people should know of a canonical frame: the categories that training did not see, feature by feature."""
        used = (one for one in self.preprocessor.features if one.column.kind == "categorical" and not one.dropped)
        return [note for feature in used for note in _unseen(frame[feature.column.name], feature)]

    @property
    def signature(self) -> dict[str, Any]:
        """The features in order with type, categories and range, as `engine.formats.signature.Signature` writes them."""
        total = sum(len(feature.categories) for feature in self.preprocessor.features)
        signed = [_signed(feature, listed=total <= MAX_SIGNED_CATEGORIES) for feature in self.preprocessor.features]
        return Signature(tuple(signed)).to_json()


def _unseen(series: pl.Series, feature: Learnt) -> list[str]:
    values = series.drop_nulls()
    unseen = values.filter(~values.is_in(list(feature.categories)))
    if feature.pooled or unseen.is_empty():
        return []
    return [f"{feature.column.name}: {len(unseen)} rows hold a category that training did not see."]


def _signed(feature: Learnt, *, listed: bool) -> Feature:
    column = feature.column
    dtype: Any = _DTYPES.get(column.kind, "integer" if column.whole else "number")
    texts = feature.categories
    tellable = listed and not feature.pooled and all(len(text) <= MAX_SIGNED_TEXT and "\0" not in text for text in texts)
    categories = texts if column.kind == "categorical" and not feature.dropped and tellable else None
    return Feature(column.name, dtype, categories, feature.low, feature.high)
