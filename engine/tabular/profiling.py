"""What the columns of a table hold, learned batch by batch in bounded memory.

Counts, extremes and moments are of every row. Distinct values are counted exactly up to a bound and estimated beyond it (adaptive sampling;
Flajolet, 1990); quantiles, histograms and the top values of long tails are of a sample that a hash of the row's number draws. What is
estimated or sampled says so.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.frames.problems import MAX_EXAMPLE_LENGTH
from engine.moments import Moments, quantiles
from engine.tabular.columns import MOMENT, Column
from engine.tabular.keys import Keys, row_keys
from engine.tabular.tables import DAYS, PER_DAY

SAMPLE_ROWS, SAMPLE_CELLS = 100_000, 10_000_000
EXACT_DISTINCT, DISTINCT_CELLS = 20_000, 10_000_000
EXACT_TOP = 1_000
TOP = 10
BINS = 20
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SAMPLE_SEED = 20_140_801
"""Of the sample alone: a profile does not depend on how the rows are split."""


@dataclass(frozen=True)
class ColumnProfile:
    """One column. Shares are of all rows. `sampled`: the rows that quantiles, histogram and top values are from; None: all of them."""

    column: Column
    rows: int
    missing: int
    distinct: int
    distinct_is_exact: bool
    sampled: int | None
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return self.column.name

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.column.name,
            "kind": self.column.kind,
            "dtype": str(self.column.dtype),
            "rows": self.rows,
            "missing": self.missing,
            "missing_share": self.missing / self.rows if self.rows else 0.0,
            "distinct": self.distinct,
            "distinct_is_exact": self.distinct_is_exact,
            "sampled": self.sampled,
            **self.facts,
        }


@dataclass
class Distinct:
    """How many different values there were: a set of hashes, of which ever fewer are kept as they grow too many."""

    bound: int
    hashes: Keys = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    halved: int = 0

    def add(self, hashes: Keys) -> None:
        merged = pl.Series(np.concatenate([self.hashes, self._kept(hashes)])).unique().to_numpy()  # NumPy takes thrice as long
        while len(merged) > self.bound:
            self.halved += 1
            merged = self._kept(merged)
        self.hashes = merged

    def _kept(self, hashes: Keys) -> Keys:
        return hashes[hashes < np.uint64(2 ** (64 - self.halved))] if self.halved else hashes

    @property
    def count(self) -> int:
        return len(self.hashes) << self.halved


@dataclass
class _Running:
    """One column while batches arrive."""

    column: Column
    distinct: Distinct
    missing: int = 0
    zeros: int = 0
    moments: Moments = field(default_factory=Moments)
    low: Any = None
    high: Any = None
    longest: int = 0
    tops: dict[Any, int] | None = field(default_factory=dict)

    def add(self, values: pl.Series) -> None:
        self.missing += values.null_count()
        known = values.drop_nulls()
        if known.is_empty():
            return
        self.distinct.add(known.hash(SAMPLE_SEED).to_numpy())
        if self.column.kind in ("categorical", "boolean"):
            self._count_words(known)
            return
        low: Any = known.min()
        high: Any = known.max()
        self.low = low if self.low is None or low < self.low else self.low
        self.high = high if self.high is None or high > self.high else self.high
        if self.column.kind == "numeric":
            self._add_moments(known)

    def _add_moments(self, known: pl.Series) -> None:
        values = known.cast(pl.Float64).to_numpy()
        finite = values[np.isfinite(values)]
        self.zeros += int((finite == 0).sum())
        self.moments += Moments.of(finite)

    def _count_words(self, known: pl.Series) -> None:
        if self.column.kind == "categorical":
            longest: Any = known.str.len_chars().max()
            self.longest = max(self.longest, int(longest))
        if self.tops is None:
            return
        for value, count in known.value_counts().iter_rows():
            self.tops[value] = self.tops.get(value, 0) + count
        if len(self.tops) > EXACT_TOP:
            self.tops = None


class Profiler:
    """Takes canonical batches in their order; `sample` and the profile are those of the rows seen."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        width = max(len(columns), 1)
        bound = min(EXACT_DISTINCT, max(1_000, DISTINCT_CELLS // width))
        self._running = [_Running(column, Distinct(bound)) for column in columns]
        self._sample_rows = min(SAMPLE_ROWS, max(1_000, SAMPLE_CELLS // width))
        self._sampled: list[pl.DataFrame] = []
        self._keys: list[Keys] = []
        self._limit: int | None = None
        self._held = 0
        self.rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        keys = row_keys(self.rows, frame.height, SAMPLE_SEED)
        self.rows += frame.height
        for running in self._running:
            running.add(frame[running.column.name])
        if self._limit is not None:
            chosen = keys < np.uint64(self._limit)
            frame, keys = frame.filter(pl.Series(chosen)), keys[chosen]
        self._sampled.append(frame)
        self._keys.append(keys)
        self._held += len(keys)
        if self._held > 2 * self._sample_rows:
            self._thin()

    def _thin(self) -> None:
        """Keep the rows with the smallest keys: a simple random sample of all rows so far."""
        keys, frame = np.concatenate(self._keys), pl.concat(self._sampled)
        if len(keys) > self._sample_rows:
            self._limit = int(np.partition(keys, self._sample_rows)[self._sample_rows])
            chosen = keys < np.uint64(self._limit)
            keys, frame = keys[chosen], frame.filter(pl.Series(chosen))
        self._keys, self._sampled, self._held = [keys], [frame], len(keys)

    @property
    def sample(self) -> pl.DataFrame:
        """At most SAMPLE_ROWS rows, in the order of the file; all of them where there are no more."""
        if not self._sampled:
            return pl.DataFrame()
        self._thin()
        return self._sampled[0]

    def profile(self) -> tuple[ColumnProfile, ...]:
        """Every column, as far as it was seen."""
        sample = self.sample
        return tuple(self._profile_of(running, sample) for running in self._running)

    def _profile_of(self, running: _Running, sample: pl.DataFrame) -> ColumnProfile:
        column, known = running.column, self.rows - running.missing
        sampled = sample.height < self.rows
        facts: dict[str, Any] = {}
        values = sample[column.name].drop_nulls() if known else pl.Series(column.name, [], dtype=column.dtype)
        if column.kind == "numeric":
            facts = _numeric_facts(running, values)
        elif column.kind == "datetime":
            facts = _moment_facts(running, values)
        else:
            exact = running.tops is not None
            facts = {"top": _top(running.tops if running.tops is not None else dict(values.value_counts().iter_rows()))}
            facts |= {"longest": running.longest} if column.kind == "categorical" else {}
            sampled = sampled and not exact
        distinct = min(running.distinct.count, known)
        return ColumnProfile(
            column, self.rows, running.missing, distinct, running.distinct.halved == 0, sample.height if sampled else None, facts
        )


def _numeric_facts(running: _Running, values: pl.Series) -> dict[str, Any]:
    numbers = values.cast(pl.Float64).to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return {"min": None, "max": None, "mean": None, "std": None, "zeros": 0, "quantiles": {}, "histogram": None}
    return {
        "min": _finite(running.low),
        "max": _finite(running.high),
        "mean": running.moments.mean,
        "std": running.moments.deviation if running.moments.count > 1 else 0.0,
        "zeros": running.zeros,
        "quantiles": {f"{point:g}": value for point, value in zip(QUANTILES, quantiles(numbers, QUANTILES), strict=True)},
        "histogram": _histogram(numbers),
    }


def _moment_facts(running: _Running, values: pl.Series) -> dict[str, Any]:
    if running.low is None:
        return {"min": None, "max": None, "quantiles": {}, "histogram": None}
    ticks = values.to_physical().to_numpy().astype(np.float64)
    drawn = _histogram(ticks) if len(ticks) else None
    if drawn is not None:
        drawn["edges"] = [_shown_tick(edge) for edge in drawn["edges"]]
    points = np.quantile(ticks, QUANTILES) if len(ticks) else []
    shown = {f"{point:g}": _shown_tick(value) for point, value in zip(QUANTILES, points, strict=True)}
    return {"min": shown_moment(running.low), "max": shown_moment(running.high), "quantiles": shown, "histogram": drawn}


def shown_moment(moment: datetime) -> str:
    """A moment of a canonical table, as JSON has it."""
    return f"{moment.isoformat()}Z"


def _shown_tick(tick: float) -> str:
    low, high = (day * PER_DAY["us"] for day in DAYS)
    return shown_moment(pl.Series([min(max(int(tick), low), high)], dtype=pl.Int64).cast(MOMENT).item())


def _histogram(numbers: npt.NDArray[np.float64]) -> dict[str, Any] | None:
    """At most BINS bins between the extremes; values that spread too far for a float get none."""
    low, high = float(numbers.min()), float(numbers.max())
    if not math.isfinite(high - low):
        return None
    if low == high:
        return {"edges": [low, high], "counts": [len(numbers)]}
    edges = np.unique(np.linspace(low, high, BINS + 1))
    counts = np.histogram(numbers, bins=edges)[0]
    return {"edges": [float(edge) for edge in edges], "counts": [int(count) for count in counts]}


def _finite(value: Any) -> float | int | None:
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def _top(counts: dict[Any, int]) -> list[dict[str, Any]]:
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0])))[:TOP]
    return [{"value": _shortened(value), "count": count} for value, count in ordered]


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_EXAMPLE_LENGTH:
        return value[: MAX_EXAMPLE_LENGTH - 1] + "…"
    return value
