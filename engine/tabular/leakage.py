"""What may tell a model the answer, or flatter its score: warnings for people, never refusals.

Judged on a sample of the rows, except for duplicates across parts, which are looked for among all of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from engine.frames.problems import Findings
from engine.moments import Doubles, unit_of
from engine.tabular.columns import PARTS
from engine.tabular.keys import Keys
from engine.tabular.parts import MOST_SINGLE
from engine.tabular.profiling import ColumnProfile
from engine.tabular.splitting import Numbers, SplitPlan

FEWEST_ROWS = 30
ALMOST_ALL = 0.98
"""Of the target's variance, or of its errors: from here on a feature alone tells the target."""
ROWS_PER_GROUP = 5
"""Fewer rows per value say nothing: every value of an identifier "determines" its only row."""
MOST_BINS = 200
SUMMED = 0.9999
"""Of the target's variance: from here on numeric features together are its parts."""
MOST_SUMMED = 200
"""Numeric features that are looked at together."""
ID_NAME = re.compile(r"(^|[_\-. ])(id|uuid|guid|key|index|row|no|nr|number|instant|code)([_\-. ]|$)|Id$|ID$|^(id|uuid)", re.IGNORECASE)
TICKS = (1_000_000, 1_000, 1)
"""Microseconds in the units that moments are counted in."""
EPOCH = (1_000_000_000_000_000, 4_102_444_800_000_000)
"""From 2001 to 2100, in microseconds since 1970: where numbers are taken for moments, as no two units overlap there."""
NEAR_TICKS = 10 * 366 * 86_400_000_000
"""How far from the rows' own times a number is still taken for a moment."""
HELD_HASHES = 1 << 20
HASH_SEED = 7_919


@dataclass
class Twins:
    """Rows of validation and test that train has too: the same features and the same target. Beyond HELD_HASHES contents, estimated."""

    columns: list[str]
    bound: int = HELD_HASHES
    halved: int = 0
    _learned: Keys = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    _judged: list[Keys] = field(default_factory=list)
    _waiting: list[Keys] = field(default_factory=list)

    def add(self, frame: pl.DataFrame, parts: Numbers) -> None:
        """Take a batch of rows with the part of each."""
        hashes = frame.select(self.columns).hash_rows(seed=HASH_SEED).to_numpy()
        self._waiting.append(self._kept(hashes[parts == 0]))
        self._judged.append(self._kept(hashes[parts > 0]))
        if sum(map(len, self._waiting)) + sum(map(len, self._judged[1:])) > self.bound:
            self._settle()

    def _settle(self) -> None:
        self._learned = np.unique(np.concatenate([self._learned, *self._waiting]))
        self._judged, self._waiting = [np.concatenate(self._judged)] if self._judged else [], []
        while len(self._learned) + sum(map(len, self._judged)) > 2 * self.bound:
            self.halved += 1
            self._learned, self._judged = self._kept(self._learned), [self._kept(hashes) for hashes in self._judged]

    def _kept(self, hashes: Keys) -> Keys:
        return hashes[hashes < np.uint64(2 ** (64 - self.halved))] if self.halved else hashes

    @property
    def rows(self) -> int:
        """Rows of validation and test with a twin in train."""
        self._settle()
        return sum(int(np.isin(hashes, self._learned).sum()) for hashes in self._judged) << self.halved


def look_for_leaks(
    sample: pl.DataFrame,
    profile: Sequence[ColumnProfile],
    plan: SplitPlan,
    features: Sequence[str],
    *,
    twins: int,
    rows: int,
    findings: Findings,
) -> None:
    """Add a warning for everything suspicious. `sample`: canonical rows of all parts; `twins`: rows that train has too; `rows`: of all."""
    described = {one.name: one for one in profile}
    told_alone = False
    for name in features:
        one = described[name]
        known = one.rows - one.missing
        _check_size(one, findings)
        if known == 0:
            findings.warn("empty_feature", f"{name!r} has no value in any row.", column=name, rows=one.rows)
        elif constant(one):
            findings.warn("constant_feature", f"{name!r} has the same value in every row.", column=name, rows=known)
        elif _is_copy(sample, name, plan, findings):
            told_alone = True
        elif _is_identifier(one, sample[name]):
            told = f"{name!r} looks like an identifier: nearly every row has a value of its own. A model can only memorize it."
            findings.warn("id_like", told, column=name, rows=known)
        else:
            told_alone |= _tells(sample, name, plan, findings)
    if plan.task == "regression" and not told_alone:
        _check_sum(sample, [name for name in features if described[name].column.kind == "numeric"], plan.target, findings)
    _check_times(sample, described, plan, features, findings)
    if twins:
        parts = f"{PARTS[1]} and {PARTS[2]}"
        told = f"{twins} rows of {parts} have the same features and target as a row of {PARTS[0]} ({twins / rows:.2%} of all rows)."
        findings.warn("duplicates_across_parts", told, rows=twins)
    if plan.entity_column and plan.strategy != "entity":
        told = f"Rows have an entity ({plan.entity_column!r}), and the split ignores it: train may hold rows of those it is judged by."
        findings.warn("entity_ignored", told, column=plan.entity_column)
    if plan.entity_column and plan.entity_column in features:
        told = f"{plan.entity_column!r} names the entity: as a feature it says nothing about entities that are new."
        findings.warn("entity_as_feature", told, column=plan.entity_column)


def constant(one: ColumnProfile) -> bool:
    """Whether every row has the same value."""
    return one.distinct == 1 and one.distinct_is_exact and not one.missing


def _check_size(one: ColumnProfile, findings: Findings) -> None:
    ends = [end for end in (one.facts.get("min"), one.facts.get("max")) if one.column.kind == "numeric" and end is not None]
    largest = max((abs(end) for end in ends), default=0)
    if largest > MOST_SINGLE:
        told = f"{one.name!r} reaches {largest:.3g}. Models hold features in single precision: what is beyond 3.4e+38 counts as that."
        findings.warn("feature_beyond_single", told, column=one.name, rows=one.rows - one.missing)


def _is_identifier(one: ColumnProfile, values: pl.Series) -> bool:
    known = one.rows - one.missing
    if known < FEWEST_ROWS or one.distinct < ALMOST_ALL * known or one.column.kind in ("boolean", "datetime"):
        return False
    if one.column.kind == "categorical":
        return True
    if not one.column.whole:
        return False
    present = values.drop_nulls()
    in_order = present.len() >= FEWEST_ROWS and bool((present.diff().drop_nulls() > 0).all())
    low, high = one.facts.get("min"), one.facts.get("max")
    dense = low is not None and high is not None and high - low < 2 * known
    return in_order or (bool(ID_NAME.search(one.name)) and one.distinct == known) or (dense and one.distinct == known)


def _is_copy(sample: pl.DataFrame, name: str, plan: SplitPlan, findings: Findings) -> bool:
    """Whether the feature is the target. Equality needs no statistics: a few rows suffice where all of them are equal."""
    pair = _pair(sample, name, plan)
    if pair.height < min(FEWEST_ROWS, sample.height) or pair["target"].n_unique() < 2 or not _is_equal(pair):
        return False
    findings.warn("target_copied", f"{name!r} is the target itself: the same value in every row.", column=name, rows=pair.height)
    return True


def _tells(sample: pl.DataFrame, name: str, plan: SplitPlan, findings: Findings) -> bool:
    """Whether the feature alone tells the target."""
    pair = _pair(sample, name, plan)
    if pair.height < FEWEST_ROWS:
        return False
    explained = _explained_variance(pair) if plan.task == "regression" else _explained_errors(pair)
    if explained < ALMOST_ALL:
        return False
    told = f"{name!r} alone tells the target almost completely ({explained:.1%}). Is it known before the target is?"
    findings.warn("target_told", told, column=name, rows=pair.height)
    return True


def _pair(sample: pl.DataFrame, name: str, plan: SplitPlan) -> pl.DataFrame:
    """`feature` and `target` of the rows that have both."""
    return sample.select(pl.col(name).alias("feature"), pl.col(plan.target).alias("target")).drop_nulls()


def _check_sum(sample: pl.DataFrame, numeric: Sequence[str], target: str, findings: Findings) -> None:
    """Warn where a weighted sum of numeric features is the target, as of counts per group and their total: ordinary least squares on
    standardized features, over the rows that have them all."""
    rows = sample.select(pl.col(*numeric[:MOST_SUMMED], target).cast(pl.Float64)).drop_nulls() if numeric else sample.clear()
    varying = [name for name in numeric[:MOST_SUMMED] if rows.height and rows[name].n_unique() > 1]
    if len(varying) < 2 or rows.height < FEWEST_ROWS + 3 * len(varying):
        return
    values = np.column_stack([_in_unit(rows[name]) for name in varying])
    wanted = _in_unit(rows[target])
    scaled, centered = (values - values.mean(axis=0)) / values.std(axis=0), wanted - wanted.mean()
    weights = np.linalg.lstsq(scaled, centered, rcond=None)[0]
    spread = float(centered @ centered)
    left = centered - scaled @ weights
    if not spread > 0 or not 1 - float(left @ left) / spread >= SUMMED:
        return
    parts = [name for name, weight in zip(varying, weights, strict=True) if abs(weight) > 0.01 * centered.std()]
    if len(parts) == 1:  # an identifier, perhaps, which is why it was not told before
        told = f"{parts[0]!r} times a weight is the target. Is it known before the target is?"
        findings.warn("target_told", told, column=parts[0], rows=rows.height)
        return
    told = f"The target is a sum of {', '.join(map(repr, parts))}, each with a weight. Are they known before the target is?"
    findings.warn("target_summed", told[:1000], column=parts[0], rows=rows.height)


def _in_unit(values: pl.Series) -> Doubles:
    numbers = values.to_numpy()
    return numbers / unit_of(numbers)


def _is_equal(pair: pl.DataFrame) -> bool:
    feature, target = pair["feature"], pair["target"]
    if feature.dtype.is_numeric() and target.dtype.is_numeric():
        return bool((feature.cast(pl.Float64) == target.cast(pl.Float64)).all())
    return bool((feature.cast(pl.String) == target.cast(pl.String)).all())


def _explained_variance(pair: pl.DataFrame) -> float:
    """Of the target: squared rank correlation for numbers and moments (any rising or falling function of the target), between-group
    share (eta squared) for categories."""
    feature, target = pair["feature"], pair["target"].cast(pl.Float64)
    if feature.dtype.is_numeric() or feature.dtype.is_temporal():
        ranks = pl.DataFrame({"a": feature.to_physical().rank(), "b": target.rank()})
        correlation = ranks.select(pl.corr("a", "b")).item()
        return correlation**2 if correlation is not None and np.isfinite(correlation) else 0.0
    groups = pair.group_by("feature").agg(pl.len().alias("n"), pl.col("target").cast(pl.Float64).mean().alias("mean"))
    spread = float(target.var(ddof=0) or 0.0)  # type: ignore[arg-type]  # of floats it is a float
    if groups.height * ROWS_PER_GROUP > pair.height or not np.isfinite(spread) or spread == 0:
        return 0.0
    between = groups.select((pl.col("n") * (pl.col("mean") - target.mean()) ** 2).sum() / pair.height).item()
    return float(between / spread) if np.isfinite(between) else 0.0


def _explained_errors(pair: pl.DataFrame) -> float:
    """The share of the errors of always saying the commonest class that vanish when the feature's value, or bin, is known."""
    feature = pair["feature"]
    if (feature.dtype.is_numeric() or feature.dtype.is_temporal()) and feature.n_unique() > MOST_BINS:
        ranks = feature.to_physical().rank(method="dense")
        bins = min(MOST_BINS, pair.height // ROWS_PER_GROUP)
        pair = pair.with_columns(feature=(ranks * bins / (float(ranks.max() or 1) + 1)).floor())  # type: ignore[arg-type]  # a number
    groups = pair["feature"].n_unique()
    if groups * ROWS_PER_GROUP > pair.height:
        return 0.0
    by_class = pair.group_by("feature", "target").len()
    right: int = by_class.group_by("feature").agg(pl.col("len").max()).select(pl.col("len").sum()).item()
    commonest: int = pair["target"].value_counts().select(pl.col("count").max()).item()
    errors = pair.height - commonest
    return (right - commonest) / errors if errors else 0.0


def _check_times(
    sample: pl.DataFrame, described: dict[str, ColumnProfile], plan: SplitPlan, features: Sequence[str], findings: Findings
) -> None:
    moments = [name for name in features if described[name].column.kind == "datetime" and name != plan.time_column]
    time = plan.time_column
    if plan.strategy != "time" and (time or moments):
        named = time or moments[0]
        told = f"Rows have a time ({named!r}), and the split ignores it: train holds rows later than those it is judged by."
        findings.warn("time_ignored", told, column=named)
    own = _ticks(sample[time]) if time else None
    if own is None:
        return
    for name in features:
        ticks = _ticks(sample[name], near=own) if name != time else None
        later = int((ticks > own).sum()) if ticks is not None else 0
        if later:
            told = f"{name!r} lies after the row's own time {time!r} in {later} of {sample.height} rows: it was not known then."
            findings.warn("time_travel", told, column=name, rows=later)


def _ticks(values: pl.Series, *, near: pl.Series | None = None) -> pl.Series | None:
    """Moments as microseconds since 1970; numbers that can be seconds, milli- or microseconds since then likewise; None for all others.

    `near`: numbers that lie further than NEAR_TICKS from all of these moments are no moments.
    """
    if values.dtype.is_temporal():
        return values.to_physical()
    low, high = (values.min(), values.max()) if values.dtype.is_numeric() else (None, None)
    if low is None or high is None:
        return None
    for unit in TICKS:
        if EPOCH[0] <= low * unit and high * unit <= EPOCH[1]:  # type: ignore[operator]  # of numbers they are numbers
            ticks = (values.cast(pl.Float64) * unit).cast(pl.Int64, strict=False)
            first, last = (0, 0) if near is None else (near.min(), near.max())
            close = near is None or (first - NEAR_TICKS <= ticks.min() and ticks.max() <= last + NEAR_TICKS)  # type: ignore[operator]
            return ticks if close else None
    return None
