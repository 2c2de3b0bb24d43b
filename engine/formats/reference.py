"""Reference statistics of training data: small, JSON-able, and enough to compare later data with (PSI, missing rates, new categories).

Bounded by design: at most MAX_COLUMNS columns of at most BINS bins or TOP categories each, whatever the data.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from engine.moments import Moments, quantiles

BINS = 20
TOP = 50
MAX_COLUMNS = 2_000
MAX_LABEL = 100
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class ColumnReference:
    """One feature, the target or the predictions.

    number: `edges` are inner bin edges, ascending; `counts` has one more entry, for (-inf, e0], (e0, e1], …, (en, inf).
    category: `labels` are the most frequent values, `counts` theirs and, last, that of all others.
    Counts are of present values; `missing` counts nulls and NaN.
    """

    kind: Literal["number", "category"]
    dtype: str
    rows: int
    missing: int
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    """At QUANTILES; empty where nothing is present."""
    mean: float | None = None
    deviation: float | None = None
    """None of fewer than two values, and where it is beyond the largest number."""
    labels: tuple[str, ...] = ()
    distinct: int = 0

    @property
    def missing_rate(self) -> float:
        return self.missing / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Reference:
    features: dict[str, ColumnReference]
    target: ColumnReference | None = None
    predictions: ColumnReference | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Reference":
        """The inverse of `to_json`, also after a round trip through text. Raises KeyError or TypeError for anything else."""
        features = {name: _column(entry) for name, entry in value["features"].items()}
        target, predictions = value["target"], value["predictions"]
        return cls(features, None if target is None else _column(target), None if predictions is None else _column(predictions))


def describe(features: pl.DataFrame, *, target: pl.Series | None = None, predictions: pl.Series | None = None) -> Reference:
    """Statistics of each feature column, and of the target and predictions where given.

    Infinite values fall into the outermost bins and are left out of mean and quantiles. Raises ValueError beyond MAX_COLUMNS.
    """
    if features.width > MAX_COLUMNS:
        raise ValueError(f"{features.width} columns; {MAX_COLUMNS} are allowed")
    return Reference(
        {series.name: describe_column(series) for series in features.iter_columns()},
        None if target is None else describe_column(target),
        None if predictions is None else describe_column(predictions),
    )


def describe_column(series: pl.Series) -> ColumnReference:
    if series.dtype.is_numeric():
        return _describe_numbers(series)
    return _describe_labels(series)


def _describe_numbers(series: pl.Series) -> ColumnReference:
    values = series.cast(pl.Float64).fill_nan(None).drop_nulls()
    finite = values.filter(values.is_finite())
    numbers = finite.to_numpy()
    moments = Moments.of(numbers)
    edges = _edges(finite)
    counts = _counts(values, edges)
    return ColumnReference(
        kind="number",
        dtype=str(series.dtype),
        rows=series.len(),
        missing=series.len() - values.len(),
        counts=counts,
        edges=edges,
        quantiles=tuple(quantiles(numbers, QUANTILES)) if moments.count else (),
        mean=moments.mean if moments.count else None,
        deviation=moments.deviation,
        distinct=values.n_unique(),
    )


def _edges(finite: pl.Series) -> tuple[float, ...]:
    """Inner edges at equal shares of the data; repeated values (many zeros) share an edge, so bins are then fewer and unequal."""
    if finite.is_empty():
        return ()
    top = finite.max()
    cuts = {finite.quantile(step / BINS, "lower") for step in range(1, BINS)}
    return tuple(sorted(float(cut) for cut in cuts if cut is not None and cut != top))


def _counts(values: pl.Series, edges: tuple[float, ...]) -> tuple[int, ...]:
    if not edges:
        return (values.len(),)
    below = [int((values <= edge).sum()) for edge in edges]
    totals = [*below, values.len()]
    return tuple(high - low for low, high in zip([0, *totals[:-1]], totals, strict=True))


def _describe_labels(series: pl.Series) -> ColumnReference:
    texts = series.cast(pl.String).drop_nulls()
    ranked = texts.alias("label").value_counts().sort(["count", "label"], descending=[True, False])
    top = ranked.head(TOP)
    counts = [int(count) for count in top["count"]]
    return ColumnReference(
        kind="category",
        dtype=str(series.dtype),
        rows=series.len(),
        missing=series.null_count(),
        counts=(*counts, texts.len() - sum(counts)),
        labels=tuple(label[:MAX_LABEL] for label in top["label"]),
        distinct=ranked.height,
    )


def _column(value: dict[str, Any]) -> ColumnReference:
    lists = {name: tuple(value[name]) for name in ("counts", "edges", "quantiles", "labels")}
    return ColumnReference(**{**value, **lists})
