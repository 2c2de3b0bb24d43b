"""The arena: numbers of a candidate and of the champion in, a verdict with its reasons out. No database, no clock.

Both sides were backtested on the same window and data. A gate whose input is missing or not a finite number fails closed and says which
input it was: NaN makes both "at least 5 %" and "less than 5 %" false, a baseline of zero divides by zero, a negative MAE "improves".
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from registry.rules.policy import Policy


@dataclass(frozen=True)
class Evidence:
    """What one side's backtest measured. Rates and WAPE are fractions of 1, `bias_pct` is in percent of the actual sum."""

    version: str
    metrics: Mapping[str, float | None]
    daily_mae: Mapping[date, float] = field(default_factory=dict)
    segments: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """Segment column → segment → MAE over the window."""


@dataclass(frozen=True)
class Gate:
    """One condition, its two numbers, and why it passed or not."""

    name: str
    label: str
    passed: bool
    candidate: float | None
    champion: float | None
    limit: str
    unit: str
    why: str


@dataclass(frozen=True)
class Judgement:
    """The arena's answer."""

    passed: bool
    improvement_pct: float | None
    gates: tuple[Gate, ...]
    summary: str

    def gates_json(self) -> list[dict[str, Any]]:
        """The gates as JSON values."""
        return [asdict(gate) for gate in self.gates]


def judge(candidate: Evidence | None, champion: Evidence | None, policy: Policy, *, p_value: float | None, p_method: str = "") -> Judgement:
    """Judge a candidate against the champion.

    `p_value` is that of the paired difference of daily errors on the same dates (None where it could not be computed). Without a champion
    there is nobody to beat: the judgement passes with no gates. Without a candidate's evidence every gate fails.
    """
    if champion is None:
        return Judgement(True, None, (), f"{candidate.version if candidate else 'It'} is the first version: there is no champion to beat.")
    mine: Mapping[str, float | None] = candidate.metrics if candidate else {}
    theirs = champion.metrics
    improvement = improvement_pct(mine.get(policy.primary_metric), theirs.get(policy.primary_metric))
    gates = (
        _improvement(mine, theirs, policy, improvement),
        *(_ratio(name, mine, theirs, policy.accuracy_tolerance_pct) for name in ("mape", "wape", "mase")),
        _bias(mine, theirs, policy),
        _coverage(mine, theirs, policy),
        _rate("stockout_miss_rate", mine, theirs, policy),
        _rate("overstock_rate", mine, theirs, policy),
        _segments(candidate, champion, policy),
        _significance(p_value, p_method, policy),
    )
    return Judgement(
        passed=all(gate.passed for gate in gates),
        improvement_pct=improvement,
        gates=gates,
        summary=_sentence(candidate.version if candidate else "The candidate", champion.version, policy, improvement, gates),
    )


def improvement_pct(candidate: float | None, champion: float | None) -> float | None:
    """How much smaller the candidate's error is, percent of the champion's; None unless both are finite and the latter above zero."""
    if not (_valid(candidate) and _valid(champion)) or candidate is None or not champion:
        return None
    return 100.0 * (champion - candidate) / champion


def _valid(value: float | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _finite(value: float | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _gate(name: str, passed: bool, mine: float | None, theirs: float | None, limit: str, unit: str, why: str) -> Gate:
    # What is not a finite number is no number: it must not reach the database or a browser.
    return Gate(name, LABELS[name], passed, mine if _finite(mine) else None, theirs if _finite(theirs) else None, limit, unit, why)


LABELS = {
    "improvement": "Improvement",
    "mape": "MAPE",
    "wape": "WAPE",
    "mase": "MASE",
    "bias": "Bias",
    "coverage": "Interval coverage",
    "stockout_miss_rate": "Stock-out miss rate",
    "overstock_rate": "Overstock rate",
    "segments": "Segments",
    "significance": "Significance",
}


def _missing(name: str, mine: float | None, theirs: float | None) -> str:
    sides = [side for side, value in (("the candidate", mine), ("the champion", theirs)) if not _finite(value)]
    if sides:
        return f"{LABELS[name]} of {' and '.join(sides)} is missing or not a number; the gate fails closed."
    return f"{LABELS[name]} must not be negative, and the champion's must be above zero; the gate fails closed."


def _improvement(mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy, improvement: float | None) -> Gate:
    metric = policy.primary_metric
    left, right = mine.get(metric), theirs.get(metric)
    limit = f"≥ {policy.min_improvement_pct:g} % better {metric.upper()}"
    if improvement is None:
        return _gate("improvement", False, left, right, limit, metric, _missing("improvement", left, right))
    passed = improvement >= policy.min_improvement_pct
    word = "better" if improvement >= 0 else "worse"
    return _gate(
        "improvement", passed, left, right, limit, metric, f"{metric.upper()} is {abs(improvement):.1f} % {word} than the champion's."
    )


def _ratio(name: str, mine: Mapping[str, float | None], theirs: Mapping[str, float | None], tolerance: float) -> Gate:
    left, right = mine.get(name), theirs.get(name)
    limit = f"at most {tolerance:g} % worse"
    gain = improvement_pct(left, right)
    if gain is None:
        return _gate(name, False, left, right, limit, "ratio", _missing(name, left, right))
    return _gate(
        name,
        gain >= -tolerance,
        left,
        right,
        limit,
        "ratio",
        f"{abs(gain):.1f} % {'better' if gain >= 0 else 'worse'} than the champion's.",
    )


def _bias(mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Gate:
    left, right = mine.get("bias_pct"), theirs.get("bias_pct")
    limit = f"|bias| at most {policy.bias_tolerance_pp:g} pp larger"
    if left is None or right is None or not (_finite(left) and _finite(right)):
        return _gate("bias", False, left, right, limit, "%", _missing("bias", left, right))
    more = abs(left) - abs(right)
    direction = "low" if left < 0 else "high"
    change = "larger" if more > 0 else "smaller"
    why = f"Forecasts {abs(left):.1f} % too {direction}; |bias| is {abs(more):.1f} pp {change} than the champion's."
    return _gate("bias", more <= policy.bias_tolerance_pp, left, right, limit, "%", why)


def _coverage(mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Gate:
    left, right = mine.get("coverage"), theirs.get("coverage")
    limit = f"no further below {policy.nominal_coverage_pct:g} %"
    if left is None or right is None or not (_valid(left) and _valid(right)):
        return _gate("coverage", False, left, right, limit, "fraction", _missing("coverage", left, right))
    short, their_short = (max(policy.nominal_coverage_pct - 100 * value, 0.0) for value in (left, right))
    why = f"Intervals cover {100 * left:.1f} % of days, the champion's {100 * right:.1f} %, nominal {policy.nominal_coverage_pct:g} %."
    return _gate("coverage", short - their_short <= policy.coverage_tolerance_pp, left, right, limit, "fraction", why)


def _rate(name: str, mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Gate:
    left, right = mine.get(name), theirs.get(name)
    limit = f"at most {policy.stock_tolerance_pp:g} pp higher"
    if left is None or right is None or not (_valid(left) and _valid(right)):
        return _gate(name, False, left, right, limit, "fraction", _missing(name, left, right))
    more = 100 * (left - right)
    why = f"{abs(more):.1f} pp {'higher' if more > 0 else 'lower'} than the champion's."
    return _gate(name, more <= policy.stock_tolerance_pp, left, right, limit, "fraction", why)


def _segments(candidate: Evidence | None, champion: Evidence, policy: Policy) -> Gate:
    limit = f"no segment more than {policy.segment_tolerance_pct:g} % worse"
    worse: list[str] = []
    missing: list[str] = []
    compared = 0
    for column, segments in champion.segments.items():
        for segment, theirs in segments.items():
            mine = candidate.segments.get(column, {}).get(segment) if candidate else None
            gain = improvement_pct(mine, theirs)
            if gain is None and not (theirs == 0 and mine == 0):
                missing.append(segment)
            elif gain is not None and gain < -policy.segment_tolerance_pct:
                worse.append(f"{segment} ({-gain:.1f} % worse)")
            compared += 1
    if missing:
        return _gate(
            "segments", False, None, None, limit, "segments", f"No comparable MAE for {', '.join(missing[:5])}; the gate fails closed."
        )
    if worse:
        return _gate(
            "segments",
            False,
            float(len(worse)),
            0.0,
            limit,
            "segments",
            f"Worse in {len(worse)} of {compared} segments: {', '.join(worse[:5])}.",
        )
    why = f"None of {compared} segments is worse." if compared else "The data names no segments."
    return _gate("segments", True, 0.0, 0.0, limit, "segments", why)


def _significance(p_value: float | None, method: str, policy: Policy) -> Gate:
    limit = f"p < {policy.max_p_value:g}"
    if p_value is None or not _valid(p_value):
        why = "The paired test of daily errors could not be computed (no common dates, or no difference); the gate fails closed."
        return _gate("significance", False, p_value, None, limit, "p", why)
    shown = f"p = {p_value:.4f}" if p_value >= 0.0001 else "p < 0.0001"
    why = f"{method or 'Paired test'} of the daily errors: {shown}."
    return _gate("significance", p_value < policy.max_p_value, p_value, None, limit, "p", why)


def _sentence(mine: str, theirs: str, policy: Policy, improvement: float | None, gates: tuple[Gate, ...]) -> str:
    failed = [gate for gate in gates if not gate.passed]
    metric = policy.primary_metric.upper()
    if improvement is None:
        start = f"{mine} cannot be compared with {theirs} by {metric}"
    else:
        start = f"{mine} is {abs(improvement):.1f} % {'better' if improvement >= 0 else 'worse'} than {theirs} by {metric}"
    if not failed:
        return f"{start}; all {len(gates)} gates passed."
    told = "; ".join(f"{gate.label} — {gate.why.rstrip('.')}" for gate in failed)
    return f"{start}; {len(failed)} of {len(gates)} gates failed: {told}."
