"""Model drift: has a forecaster's error risen beyond its baseline and beyond its own noise, and where?

The rule, per segment (overall, each store, each department …): the MAE of the last seven days is more than 15 % above the
baseline MAE, and as one more seven-day mean it does not fit among those of the reference period. The second half is a
one-sided t prediction test on the logarithms of seven-day MAEs: with mean m and deviation s over the reference and k whole
weeks in it, t = (log recent - m) / (s * sqrt(1 + 1/k)) on k - 1 degrees of freedom (Hahn & Meeker, "Statistical Intervals",
1991, chapter 4). Overlapping weeks estimate m and s; only whole weeks count as independent. P-values are adjusted by Holm
for the number of segments, so that on a day without drift the chance that any segment fires is at most `alpha` as far as
the reference represents the present.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.significance import holm

Doubles = NDArray[np.float64]
Severity = Literal["low", "medium", "high", "critical"]

OVERALL = ("overall", "")
_SUMS = ("n", "sum_abs_error", "sum_actual", "sum_forecast")
_MIN_REFERENCE_WEEKS = 4
_MIN_RECENT_SHARE = 5 / 7


@dataclass(frozen=True)
class DriftRule:
    """`threshold` is the rise of MAE that matters (0.15 = 15 %), `alpha` the chance per day of a false alarm in any segment."""

    recent_days: int = 7
    threshold: float = 0.15
    alpha: float = 0.01
    replay_days: int = 90


@dataclass(frozen=True)
class SegmentDrift:
    """One segment's verdict and every number behind it. MAE in units of the target; numbers are None where unknown."""

    column: str
    value: str
    drifted: bool
    score: float
    severity: Severity
    mae_recent: float | None
    mae_reference: float | None
    mae_change_pct: float | None
    demand_change_pct: float | None
    wape_recent: float | None
    wape_reference: float | None
    bias_pct_recent: float | None
    bias_pct_reference: float | None
    p_value: float | None
    p_adjusted: float | None
    mae_alarm_above: float | None
    """The seven-day MAE above which this segment would fire if it were tested alone."""
    n_recent: int
    n_reference: int
    recent_days: int
    reference_days: int
    fired_days: int
    """On how many of the replayed days before this one the rule would have named this segment."""
    reason: str


@dataclass(frozen=True)
class DriftVerdict:
    """What the daily check found. `drifted` if any segment did; the worst segments come first."""

    as_of: date
    drifted: bool
    score: float
    severity: Severity
    segments: tuple[SegmentDrift, ...]
    rule: DriftRule
    reference: tuple[date, date]
    replayed_days: int
    fired_days: int
    """On how many of the replayed days any segment would have been named."""
    reference_alarm_rate: float | None
    """Share of the reference's own weeks, each left out in turn, on which any segment would have been named."""
    method: str

    @property
    def named(self) -> tuple[SegmentDrift, ...]:
        return tuple(segment for segment in self.segments if segment.drifted)


@dataclass(frozen=True)
class _Errors:
    """Sums per segment (rows) and day (columns), days without gaps from `first`."""

    labels: tuple[tuple[str, str], ...]
    first: date
    sums: dict[str, Doubles]

    def window(self, first: date, last: date) -> dict[str, Doubles]:
        begin, end = (first - self.first).days, (last - self.first).days + 1
        return {name: values[:, max(begin, 0) : max(end, 0)] for name, values in self.sums.items()}


@dataclass(frozen=True)
class _Noise:
    """Per segment: baseline MAE, mean and deviation of log weekly MAE, and how many independent weeks stand behind them."""

    mae: Doubles
    center: Doubles
    spread: Doubles
    weeks: Doubles


def model_drift(errors: pl.DataFrame, *, as_of: date, reference: tuple[date, date], rule: DriftRule | None = None) -> DriftVerdict:
    """Judge the days up to `as_of` against the reference period.

    `errors` has one row per date, segment `column` and `value` with `n`, `sum_abs_error`, `sum_actual`, `sum_forecast`,
    as in `BacktestResult.segments`, for the reference and for the days since. The segment ("overall", "") is taken from
    the rows given, or else added up from the first column. Raises ValueError where the periods overlap.
    """
    rule = rule or DriftRule()
    recent_first = as_of - timedelta(days=rule.recent_days - 1)
    if reference[1] >= recent_first or reference[0] > reference[1]:
        raise ValueError("the reference period must end before the recent days begin")
    table = _tabulate(errors)
    noise = _learn_noise(table.window(*reference), rule.recent_days)
    recent = table.window(recent_first, as_of)
    judged = _judge(recent, noise, rule)
    replay = _replay(table, noise, as_of, reference[1], rule)
    base = table.window(*reference)
    segments = []
    for index, label in enumerate(table.labels):
        alarm = _alarm_above(noise, index, rule)
        segments.append(_describe(label, _only(recent, index), _only(base, index), judged.of(index), alarm, rule, replay[:, index]))
    ordered = sorted(segments, key=lambda found: (-found.drifted, -found.score, found.column != OVERALL[0], found.column, found.value))
    worst = ordered[0]
    return DriftVerdict(
        as_of=as_of,
        drifted=worst.drifted,
        score=worst.score,
        severity=worst.severity,
        segments=tuple(ordered),
        rule=rule,
        reference=reference,
        replayed_days=len(replay),
        fired_days=int(replay.any(axis=1).sum()),
        reference_alarm_rate=_reference_alarm_rate(base, rule),
        method=f"{rule.recent_days}-day MAE over baseline by {rule.threshold:.0%}; t prediction test on log weekly MAE, Holm over segments",
    )


def _tabulate(errors: pl.DataFrame) -> _Errors:
    frame = errors.select("date", "column", "value", *(pl.col(name).cast(pl.Float64) for name in _SUMS))
    if frame.is_empty():
        raise ValueError("there are no errors to judge")
    if frame.filter(pl.col("column") == OVERALL[0]).is_empty():
        first_column = frame["column"].sort()[0]
        total = frame.filter(pl.col("column") == first_column).group_by("date").agg(pl.col(_SUMS).sum())
        frame = pl.concat([frame, total.select("date", pl.lit(OVERALL[0]).alias("column"), pl.lit(OVERALL[1]).alias("value"), *_SUMS)])
    labels = frame.select("column", "value").unique().sort("column", "value")
    days = frame["date"]
    first, last = days.min(), days.max()
    assert isinstance(first, date) and isinstance(last, date)  # noqa: S101, PT018 - not empty, as checked above
    row = frame.join(labels.with_row_index("row"), on=["column", "value"], how="left", maintain_order="left")["row"].to_numpy()
    column = (days - first).dt.total_days().to_numpy()
    sums = {}
    for name in _SUMS:
        values = np.zeros((labels.height, (last - first).days + 1))
        np.add.at(values, (row, column), frame[name].fill_null(0.0).fill_nan(0.0).to_numpy())
        sums[name] = values
    return _Errors(tuple(labels.iter_rows()), first, sums)


def _rolling_log_mae(sums: dict[str, Doubles], days: int) -> Doubles:
    """Log MAE of each full window of `days` days; NaN where it has no rows or no error."""
    if sums["n"].shape[1] < days:
        return np.empty((len(sums["n"]), 0))
    count, error = (np.lib.stride_tricks.sliding_window_view(sums[name], days, axis=1).sum(axis=2) for name in ("n", "sum_abs_error"))
    log_mae: Doubles = np.log(np.divide(error, count, out=np.full(error.shape, np.nan), where=(count > 0) & (error > 0)))
    return log_mae


def _learn_noise(reference: dict[str, Doubles], days: int) -> _Noise:
    count, error = reference["n"].sum(axis=1), reference["sum_abs_error"].sum(axis=1)
    mae = np.divide(error, count, out=np.full(len(count), np.nan), where=count > 0)
    return _noise_of(_rolling_log_mae(reference, days), mae, days)


def _noise_of(weekly: Doubles, mae: Doubles, days: int) -> _Noise:
    known = ~np.isnan(weekly)
    windows = known.sum(axis=1)
    # n overlapping windows of d days span n + d - 1 days, hence so many whole weeks.
    weeks = np.where(windows > 0, (windows + days - 1) // days, 0).astype(np.float64)
    filled = np.where(known, weekly, 0.0)
    center = np.divide(filled.sum(axis=1), windows, out=np.full(len(windows), np.nan), where=windows > 0)
    square = np.where(known, (weekly - center[:, None]) ** 2, 0.0).sum(axis=1)
    # The mean of overlapping windows costs one degree of freedom in as many as there are whole weeks.
    variance = np.divide(square, windows, out=np.full(len(windows), np.nan), where=windows > 0) * weeks / np.maximum(weeks - 1, 1)
    return _Noise(mae, center, np.sqrt(variance), weeks)


@dataclass(frozen=True)
class _Judged:
    """Per segment: p-value (NaN where there is too little to test), the same adjusted for the family, whether it fires."""

    p_value: Doubles
    adjusted: Doubles
    fires: NDArray[np.bool_]

    def of(self, index: int) -> tuple[float | None, float | None, bool]:
        known = not np.isnan(self.p_value[index])
        return float(self.p_value[index]) if known else None, float(self.adjusted[index]) if known else None, bool(self.fires[index])


def _p_values(log_mae: Doubles, noise: _Noise) -> Doubles:
    """One-sided p per segment; NaN where the reference is too short or nothing is known."""
    from scipy.special import stdtr

    error = np.maximum(noise.spread, 1e-9) * np.sqrt(1 + 1 / np.maximum(noise.weeks, 1))
    p_value = stdtr(np.maximum(noise.weeks - 1, 1), -(log_mae - noise.center) / error)
    return np.where(noise.weeks >= _MIN_REFERENCE_WEEKS, np.asarray(p_value, dtype=np.float64), np.nan)


def _decide(log_mae: Doubles, noise: _Noise, rule: DriftRule) -> _Judged:
    p_value = _p_values(log_mae, noise)
    testable = np.flatnonzero(~np.isnan(p_value))
    adjusted = np.full(len(p_value), np.nan)
    adjusted[testable] = holm([float(p_value[index]) for index in testable])
    risen = np.exp(log_mae) > (1 + rule.threshold) * noise.mae
    return _Judged(p_value, adjusted, risen & (adjusted < rule.alpha))


def _judge(recent: dict[str, Doubles], noise: _Noise, rule: DriftRule) -> _Judged:
    enough = (recent["n"] > 0).sum(axis=1) >= _MIN_RECENT_SHARE * rule.recent_days
    count, error = recent["n"].sum(axis=1), recent["sum_abs_error"].sum(axis=1)
    log_mae = np.log(np.divide(error, count, out=np.full(len(count), np.nan), where=enough & (error > 0)))
    return _decide(log_mae, noise, rule)


def _replay(table: _Errors, noise: _Noise, as_of: date, reference_end: date, rule: DriftRule) -> NDArray[np.bool_]:
    """What the rule would have said on each earlier day since the reference, up to `replay_days` back."""
    first = max(reference_end + timedelta(days=rule.recent_days), as_of - timedelta(days=rule.replay_days))
    days = [first + timedelta(days=offset) for offset in range(max((as_of - first).days, 0))]
    fired = [_judge(table.window(day - timedelta(days=rule.recent_days - 1), day), noise, rule).fires for day in days]
    return np.array(fired, dtype=np.bool_).reshape(len(days), len(table.labels))


def _reference_alarm_rate(reference: dict[str, Doubles], rule: DriftRule) -> float | None:
    weekly = _rolling_log_mae(reference, rule.recent_days)
    fired = []
    for index in range(weekly.shape[1]):
        others = weekly.copy()
        others[:, max(0, index - rule.recent_days + 1) : index + rule.recent_days] = np.nan
        kept = reference["n"].copy()
        kept[:, index : index + rule.recent_days] = 0
        count = kept.sum(axis=1)
        error = np.where(kept > 0, reference["sum_abs_error"], 0.0).sum(axis=1)
        mae = np.divide(error, count, out=np.full(len(count), np.nan), where=count > 0)
        fired.append(bool(_decide(weekly[:, index], _noise_of(others, mae, rule.recent_days), rule).fires.any()))
    return float(np.mean(fired)) if fired else None


def _only(sums: dict[str, Doubles], index: int) -> dict[str, Doubles]:
    return {name: values[index] for name, values in sums.items()}


def _describe(
    label: tuple[str, str],
    recent: dict[str, Doubles],
    base: dict[str, Doubles],
    judged: tuple[float | None, float | None, bool],
    alarm_above: float | None,
    rule: DriftRule,
    replay: NDArray[np.bool_],
) -> SegmentDrift:
    p_value, adjusted, drifted = judged
    change = _change(_ratio(recent, "sum_abs_error", "n"), _ratio(base, "sum_abs_error", "n"))
    demand = _change(_ratio(recent, "sum_actual", "n"), _ratio(base, "sum_actual", "n"))
    grown = _is_grown_demand(recent, base, rule)
    return SegmentDrift(
        column=label[0],
        value=label[1],
        drifted=drifted,
        score=_score(change, adjusted, rule),
        severity=_severity(drifted, change, grown, rule),
        mae_recent=_ratio(recent, "sum_abs_error", "n"),
        mae_reference=_ratio(base, "sum_abs_error", "n"),
        mae_change_pct=None if change is None else 100 * change,
        demand_change_pct=None if demand is None else 100 * demand,
        wape_recent=_ratio(recent, "sum_abs_error", "sum_actual"),
        wape_reference=_ratio(base, "sum_abs_error", "sum_actual"),
        bias_pct_recent=_bias(recent),
        bias_pct_reference=_bias(base),
        p_value=p_value,
        p_adjusted=adjusted,
        mae_alarm_above=alarm_above,
        n_recent=int(recent["n"].sum()),
        n_reference=int(base["n"].sum()),
        recent_days=int((recent["n"] > 0).sum()),
        reference_days=int((base["n"] > 0).sum()),
        fired_days=int(replay.sum()),
        reason=_reason(change, demand if grown else None, adjusted, rule),
    )


def _alarm_above(noise: _Noise, index: int, rule: DriftRule) -> float | None:
    from scipy.special import stdtrit

    weeks = float(noise.weeks[index])
    if weeks < _MIN_REFERENCE_WEEKS or np.isnan(noise.mae[index]):
        return None
    reach = float(stdtrit(weeks - 1, 1 - rule.alpha)) * float(noise.spread[index]) * float(np.sqrt(1 + 1 / weeks))
    return max((1 + rule.threshold) * float(noise.mae[index]), float(np.exp(noise.center[index] + reach)))


def _score(change: float | None, adjusted: float | None, rule: DriftRule) -> float:
    """0 to 1: 0.5 where the error has risen by the threshold and chance is ruled out, more the further it rose."""
    if change is None or adjusted is None or change <= 0:
        return 0.0
    return change / (change + rule.threshold) * (1 - adjusted)


def _severity(drifted: bool, change: float | None, grown: bool, rule: DriftRule) -> Severity:
    """Low: no drift. Then by how many thresholds the error rose: below 2 medium, below 4 high, else critical.

    Where the error only grew with demand, no more than medium: the model is no worse in relation to what is sold.
    """
    if not drifted or change is None:
        return "low"
    if grown or change < 2 * rule.threshold:
        return "medium"
    return "high" if change < 4 * rule.threshold else "critical"


def _is_grown_demand(recent: dict[str, Doubles], base: dict[str, Doubles], rule: DriftRule) -> bool:
    """More demand, with WAPE hardly above and bias near what they were in the reference."""
    wape = _change(_ratio(recent, "sum_abs_error", "sum_actual"), _ratio(base, "sum_abs_error", "sum_actual"))
    bias = [_bias(recent), _bias(base)]
    if wape is None or bias[0] is None or bias[1] is None:
        return False
    return wape <= rule.threshold / 3 and abs(bias[0] - bias[1]) <= 100 * rule.threshold * 2 / 3


def _reason(change: float | None, demand_grown: float | None, adjusted: float | None, rule: DriftRule) -> str:
    if change is None:
        return "no errors in the recent or the reference days"
    if adjusted is None:
        return f"fewer than {_MIN_REFERENCE_WEEKS} reference weeks or too few recent days to tell drift from noise"
    rise = f"MAE {change:+.1%} against the baseline (limit {rule.threshold:+.0%}), adjusted p {adjusted:.2g} (limit {rule.alpha:g})"
    if change <= rule.threshold or demand_grown is None or demand_grown <= 0:
        return rise
    return f"{rise}; demand {demand_grown:+.1%} at about the same WAPE and bias: the error grew with demand"


def _change(now: float | None, before: float | None) -> float | None:
    return now / before - 1 if now is not None and before else None


def _ratio(sums: dict[str, Doubles], numerator: str, denominator: str) -> float | None:
    below = float(np.abs(sums[denominator].sum()))
    return float(sums[numerator].sum()) / below if below > 0 else None


def _bias(sums: dict[str, Doubles]) -> float | None:
    demand = float(np.abs(sums["sum_actual"].sum()))
    return 100 * float(sums["sum_forecast"].sum() - sums["sum_actual"].sum()) / demand if demand > 0 else None
