"""The arena: numbers of a candidate and of the champion in, a verdict with its reasons out. No database, no clock.

Both sides were backtested on the same window and data, or answered the same rows of a test part. A gate whose input is missing or not a
finite number fails closed and says which input it was: NaN makes both "at least 5 %" and "less than 5 %" false, a baseline of zero divides
by zero, a negative MAE "improves".
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from registry.rules.policy import Policy

Segments = Mapping[str, Mapping[str, float | None]]
"""Segment column → segment → its error (`ERROR_OF`) over the window."""

Shares = Mapping[str, Mapping[str, float]]
"""Segment column → segment → which share of all forecasts, or rows, is in it: 0 to 1."""


@dataclass(frozen=True)
class Evidence:
    """What one side's backtest measured, or its answers to the rows of a test part. Rates and WAPE are fractions of 1, `bias_pct` is in
    percent of the actual sum."""

    version: str
    metrics: Mapping[str, float | None]
    daily_mae: Mapping[date, float] = field(default_factory=dict)
    segments: Segments = field(default_factory=dict)
    shares: Shares = field(default_factory=dict)


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
    """Of both numbers: `units` of what is predicted, `fraction` of 1, `%`, `ratio`, `score`, `nats`, `p` or `worse segments`."""
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


def fails_gates(champion: object | None, *, passed: bool) -> bool:
    """Whether a gate failed or had no input, or the version was never judged. The first champion has nobody to beat."""
    return champion is not None and not passed


def judge(
    candidate: Evidence | None,
    champion: Evidence | None,
    policy: Policy,
    *,
    p_value: float | None,
    p_method: str = "",
    task: str = "forecast",
) -> Judgement:
    """Judge a candidate against the champion, by the gates of the model's task.

    `p_value` is that of the paired difference of errors on the same days or rows (None where it could not be computed). Without a champion
    there is nobody to beat: the judgement passes with no gates. Without a candidate's evidence every gate fails.
    """
    if champion is None:
        return Judgement(True, None, (), f"{candidate.version if candidate else 'It'} is the first version: there is no champion to beat.")
    mine: Mapping[str, float | None] = candidate.metrics if candidate else {}
    theirs = champion.metrics
    metric = primary_metric(task, policy)
    improvement = improvement_pct(mine.get(metric), theirs.get(metric))
    tested = "daily errors" if task == "forecast" else "rows' errors"
    gates = (
        _improvement(metric, mine, theirs, policy, improvement),
        *_guards(task, metric, mine, theirs, policy),
        _segments(candidate, champion, policy, ERROR_OF[task]),
        _significance(p_value, p_method, policy, tested, _gain(candidate, champion, task)),
    )
    return Judgement(
        passed=all(gate.passed for gate in gates),
        improvement_pct=improvement,
        gates=gates,
        summary=_sentence(candidate.version if candidate else "The candidate", champion.version, metric, improvement, gates),
    )


ERROR_OF = {"forecast": "mae", "regression": "mae", "classification": "log_loss"}
"""By which error segments are compared; also the primary metric where the policy's is none of the task's."""


def primary_metric(task: str, policy: Policy) -> str:
    """What a challenger has to improve: the policy's metric, as far as the task has it."""
    known = {"forecast": (policy.primary_metric,), "regression": ("mae", "rmse", "wape")}.get(task, ())
    return policy.primary_metric if policy.primary_metric in known else ERROR_OF[task]


def _guards(task: str, metric: str, mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Iterator[Gate]:
    """The task's guard-rails: what may not get worse while the primary metric gets better."""
    tolerance = policy.accuracy_tolerance_pct
    if task == "forecast":
        yield _naive(mine, theirs, policy)
        yield from (_ratio(name, mine, theirs, tolerance) for name in ("mape", "wape", "mase", "rmsse"))
        yield _bias(mine, theirs, policy)
        yield _coverage(mine, theirs, policy)
        yield from (_rate(name, mine, theirs, policy) for name in ("stockout_miss_rate", "overstock_rate"))
        yield _stability(mine, theirs, policy)
    elif task == "regression":
        yield from (_ratio(name, mine, theirs, tolerance) for name in ("mae", "rmse") if name != metric)
    else:
        yield from (_score(name, mine, theirs, tolerance) for name in ("roc_auc", "f1", "accuracy"))


def improvement_pct(candidate: float | None, champion: float | None) -> float | None:
    """How much smaller the candidate's error is, percent of the champion's; None unless both are finite and the latter above zero."""
    if not (_valid(candidate) and _valid(champion)) or candidate is None or not champion:
        return None
    return 100.0 * (champion - candidate) / champion


def _valid(value: float | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _finite(value: float | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _gate(name: str, passed: bool, mine: float | None, theirs: float | None, limit: str, why: str, metric: str = "") -> Gate:
    # What is not a finite number is no number: it must not reach the database or a browser.
    left, right = mine if _finite(mine) else None, theirs if _finite(theirs) else None
    return Gate(name, LABELS[name], passed, left, right, limit, UNITS[metric or name], f"{why[0].upper()}{why[1:]}")


def _compared(gain: float, better: str, worse: str, than: str, unit: str = "%") -> str:
    """How far one number lies from another, in words; no direction for a difference that would be shown as zero."""
    size = f"{abs(gain):.1f}"
    if size == "0.0":
        return f"the same as {than}" if gain == 0 else f"the same as {than} to 0.1 {unit}"
    return f"{size} {unit} {better if gain > 0 else worse} than {than}"


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_SEGMENTS
    return ", ".join(names[:NAMED_SEGMENTS]) + (f" and {more} more" if more > 0 else "")


THEIRS = "the champion's"
NAIVE = "the seasonal naive's on the same days"
LABELS = {
    "improvement": "Improvement",
    "mae": "MAE",
    "rmse": "RMSE",
    "roc_auc": "ROC AUC",
    "f1": "F1",
    "accuracy": "Accuracy",
    "mape": "MAPE",
    "wape": "WAPE",
    "mase": "MASE",
    "rmsse": "RMSSE",
    "naive": "Value over seasonal naive",
    "bias": "Bias",
    "coverage": "Interval coverage",
    "stockout_miss_rate": "Stock-out miss rate",
    "overstock_rate": "Overstock rate",
    "stability": "Stability between origins",
    "segments": "Segments",
    "significance": "Significance",
}


UNITS = {
    "mae": "units",
    "rmse": "units",
    "mape": "%",
    "wape": "fraction",
    "mase": "ratio",
    "rmsse": "ratio",
    "log_loss": "nats",
    "stability": "units",
    "naive": "%",
    "bias": "%",
    "coverage": "fraction",
    "stockout_miss_rate": "fraction",
    "overstock_rate": "fraction",
    "roc_auc": "score",
    "f1": "score",
    "accuracy": "score",
    "segments": "worse segments",
    "significance": "p",
}
"""What the numbers of a gate, or of the primary metric, are in."""
NAMED_SEGMENTS = 5
FAILED = " gates failed: "
"""What stands between a judgement's result and the gates with their reasons."""


def label_of(metric: str) -> str:
    """A metric as people write it."""
    return {"log_loss": "log loss"}.get(metric, metric.upper())


def _missing(what: str, mine: float | None, theirs: float | None) -> str:
    """Which input kept a gate from comparing, and why; what was valid on both sides was measured against a champion's 0."""
    both = (("the candidate", mine), ("the champion", theirs))
    if sides := [side for side, value in both if not _finite(value)]:
        return f"{what} of {' and '.join(sides)} is missing or not a number; the gate fails closed."
    if sides := [side for side, value in both if not _valid(value)]:
        return f"{what} of {' and '.join(sides)} is negative; the gate fails closed."
    return f"{what} of the champion is 0, and nothing can be told as a percentage of that; the gate fails closed."


def _improvement(
    metric: str, mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy, improvement: float | None
) -> Gate:
    left, right = mine.get(metric), theirs.get(metric)
    limit = f"≥ {policy.min_improvement_pct:g} % better {label_of(metric)}"
    if improvement is None:
        return _gate("improvement", False, left, right, limit, _missing(label_of(metric), left, right), metric)
    why = f"{label_of(metric)} is {_compared(improvement, 'better', 'worse', THEIRS)}."
    return _gate("improvement", improvement >= policy.min_improvement_pct, left, right, limit, why, metric)


def _ratio(name: str, mine: Mapping[str, float | None], theirs: Mapping[str, float | None], tolerance: float) -> Gate:
    left, right = mine.get(name), theirs.get(name)
    limit = f"at most {tolerance:g} % worse"
    gain = improvement_pct(left, right)
    if gain is None:
        return _gate(name, False, left, right, limit, _missing(LABELS[name], left, right))
    return _gate(name, gain >= -tolerance, left, right, limit, f"{_compared(gain, 'better', 'worse', THEIRS)}.")


def _naive(mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Gate:
    """The candidate against the simplest rule; the champion's number only stands beside it."""
    left, right = mine.get("value_over_naive_pct"), theirs.get("value_over_naive_pct")
    limit = f"≥ {policy.min_value_over_naive_pct:g} % better MAE than the seasonal naive"
    if left is None or not _finite(left):
        why = f"{LABELS['naive']} of the candidate is missing or not a number; the gate fails closed."
        return _gate("naive", False, left, right, limit, why)
    why = f"MAE is {_compared(left, 'better', 'worse', NAIVE)}."
    return _gate("naive", left >= policy.min_value_over_naive_pct, left, right, limit, why)


def _stability(mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Gate:
    left, right = mine.get("worst_origin_mae"), theirs.get("worst_origin_mae")
    limit = f"worst origin's MAE at most {policy.stability_tolerance_pct:g} % worse"
    gain = improvement_pct(left, right)
    if gain is None:
        return _gate("stability", False, left, right, limit, _missing("MAE at the worst origin", left, right))
    why = f"At its worst origin MAE is {_compared(gain, 'better', 'worse', f'{THEIRS} at its worst')}."
    return _gate("stability", gain >= -policy.stability_tolerance_pct, left, right, limit, why)


def _score(name: str, mine: Mapping[str, float | None], theirs: Mapping[str, float | None], tolerance: float) -> Gate:
    """A share of which more is better."""
    left, right = mine.get(name), theirs.get(name)
    limit = f"at most {tolerance:g} % lower"
    if left is None or not right or not (_valid(left) and _valid(right)):
        return _gate(name, False, left, right, limit, _missing(LABELS[name], left, right))
    gain = 100.0 * (left / right - 1.0)
    why = f"{_compared(gain, 'higher', 'lower', THEIRS)}."
    return _gate(name, gain >= -tolerance, left, right, limit, why)


def _bias(mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Gate:
    left, right = mine.get("bias_pct"), theirs.get("bias_pct")
    limit = f"|bias| at most {policy.bias_tolerance_pp:g} pp larger"
    if left is None or right is None or not (_finite(left) and _finite(right)):
        return _gate("bias", False, left, right, limit, _missing(LABELS["bias"], left, right))
    more = abs(left) - abs(right)
    size, direction = f"{abs(left):.1f}", "low" if left < 0 else "high"
    forecasts = "Forecasts neither too low nor too high, to 0.1 %" if size == "0.0" else f"Forecasts {size} % too {direction}"
    why = f"{forecasts}; |bias| is {_compared(more, 'larger', 'smaller', THEIRS, 'pp')}."
    return _gate("bias", more <= policy.bias_tolerance_pp, left, right, limit, why)


def _coverage(mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Gate:
    left, right = mine.get("coverage"), theirs.get("coverage")
    limit = f"no further below {policy.nominal_coverage_pct:g} %"
    if left is None or right is None or not (_valid(left) and _valid(right)):
        return _gate("coverage", False, left, right, limit, _missing(LABELS["coverage"], left, right))
    short, their_short = (max(policy.nominal_coverage_pct - 100 * value, 0.0) for value in (left, right))
    why = f"Intervals cover {100 * left:.1f} % of days, the champion's {100 * right:.1f} %, nominal {policy.nominal_coverage_pct:g} %."
    return _gate("coverage", short - their_short <= policy.coverage_tolerance_pp, left, right, limit, why)


def _rate(name: str, mine: Mapping[str, float | None], theirs: Mapping[str, float | None], policy: Policy) -> Gate:
    left, right = mine.get(name), theirs.get(name)
    limit = f"at most {policy.stock_tolerance_pp:g} pp higher"
    if left is None or right is None or not (_valid(left) and _valid(right)):
        return _gate(name, False, left, right, limit, _missing(LABELS[name], left, right))
    more = 100 * (left - right)
    why = f"{_compared(more, 'higher', 'lower', THEIRS, 'pp')}."
    return _gate(name, more <= policy.stock_tolerance_pp, left, right, limit, why)


def _segments(candidate: Evidence | None, champion: Evidence, policy: Policy, error: str) -> Gate:
    limit = f"no segment more than {policy.segment_tolerance_pct:g} % worse"
    sides = (("the candidate", candidate), ("the champion", champion))
    if unmeasured := [name for name, side in sides if side is None or not side.metrics]:
        why = f"Nothing was measured of {' and '.join(unmeasured)}; the gate fails closed."
        return _gate("segments", False, None, None, limit, why)
    overall = champion.metrics.get(error)
    worse: list[str] = []
    unusable: list[str] = []
    compared = 0
    for segment in _pairs(candidate.segments if candidate else {}, champion):
        fault = segment.fault(overall)
        loss = None if fault else segment.loss_pct(overall)
        if fault:
            unusable.append(f"{segment.name} ({fault})")
        elif loss is not None and loss > policy.segment_tolerance_pct:
            worse.append(f"{segment.name} ({loss:.1f} % {'worse' if segment.theirs else 'of the whole, where the champion has no error'})")
        compared += 1
    if unusable:
        why = f"No comparable {label_of(error)} for {_some(unusable)}; the gate fails closed."
        return _gate("segments", False, None, None, limit, why)
    if worse:
        return _gate("segments", False, float(len(worse)), None, limit, f"Worse in {len(worse)} of {compared} segments: {_some(worse)}.")
    why = f"None of {compared} segments is worse." if compared else "The data names no segments."
    return _gate("segments", True, 0.0, None, limit, why)


@dataclass(frozen=True)
class _Segment:
    """One segment's error on both sides, and which share of the champion's forecasts is in it (None where that is unknown)."""

    name: str
    mine: float | None
    theirs: float | None
    share: float | None

    def fault(self, overall: float | None) -> str:
        """Which input keeps the two from being compared; empty where they can be."""
        for side, value in (("candidate", self.mine), ("champion", self.theirs)):
            if not _valid(value):
                return f"the {side}'s is {'missing' if value is None else 'negative' if _finite(value) else 'not a number'}"
        if self.theirs or not self.mine:
            return ""
        if not (_valid(overall) and overall):
            return f"the champion's is 0, and over all it is {'0, too' if overall == 0 else 'missing'}"
        return "" if _valid(self.share) else "the champion's is 0, and the segment's share of the forecasts is missing"

    def loss_pct(self, overall: float | None) -> float | None:
        """How much worse the candidate is, in percent; below 0 where it is better, None where there is a fault.

        Of the champion's error in the segment, where it has one. A champion without any error there, as in a store that sold nothing all
        the window, leaves nothing to divide by: any error would be infinitely worse, however small, and one dead series would keep the
        naive forecast on the throne. What can be said then is how much the candidate's error there adds to the whole: weighted by the
        segment's share of the forecasts, in percent of the champion's error over all of them. The tolerance is the same.
        """
        if self.mine == 0 and self.theirs == 0:
            return 0.0
        if self.theirs:
            gain = improvement_pct(self.mine, self.theirs)
            return None if gain is None else -gain
        if self.mine is None or self.share is None or not overall:
            return None
        return 100.0 * self.mine * self.share / overall


def _pairs(mine: Segments, champion: Evidence) -> Iterator[_Segment]:
    """Every segment that either side names, with the errors of both."""
    theirs = champion.segments
    for column in {**theirs, **mine}:
        left, right, shares = mine.get(column, {}), theirs.get(column, {}), champion.shares.get(column, {})
        yield from (_Segment(name, left.get(name), right.get(name), shares.get(name)) for name in {**right, **left})


def _gain(candidate: Evidence | None, champion: Evidence, task: str) -> float | None:
    """How much smaller the candidate's errors are that the paired test is of: over their common days, else over the whole."""
    if candidate is None:
        return None
    if common := candidate.daily_mae.keys() & champion.daily_mae.keys():
        return math.fsum(champion.daily_mae[day] - candidate.daily_mae[day] for day in common)
    return improvement_pct(candidate.metrics.get(ERROR_OF[task]), champion.metrics.get(ERROR_OF[task]))


def _significance(p_value: float | None, method: str, policy: Policy, what: str, gain: float | None) -> Gate:
    """Asks whether the two differ by more than chance; in which direction is for the improvement to ask, and for the sentence to say."""
    limit = f"p < {policy.max_p_value:g}"
    if p_value is None or not _valid(p_value):
        why = f"The paired test of the {what} could not be computed (nothing in common, or no difference); the gate fails closed."
        return _gate("significance", False, p_value, None, limit, why)
    shown = f"p = {p_value:.4f}" if p_value >= 0.0001 else "p < 0.0001"
    passed = p_value < policy.max_p_value
    found = "no significant difference" if not passed else f"significantly {'better' if gain > 0 else 'worse'}" if gain else "significant"
    why = f"{method or 'Paired test'} of the {what}: {found}, {shown}."
    return _gate("significance", passed, p_value, None, limit, why)


def _sentence(mine: str, theirs: str, metric: str, improvement: float | None, gates: tuple[Gate, ...]) -> str:
    failed = [gate for gate in gates if not gate.passed]
    if improvement is None:
        start = f"{mine} cannot be compared with {theirs} by {label_of(metric)}"
    else:
        start = f"{mine} is {_compared(improvement, 'better', 'worse', theirs)} by {label_of(metric)}"
    if not failed:
        return f"{start}; all {len(gates)} gates passed."
    told = "; ".join(f"{gate.label} — {gate.why.rstrip('.')}" for gate in failed)
    return f"{start}; {len(failed)} of {len(gates)}{FAILED}{told}."


def brief(summary: str, gates: Iterable[Mapping[str, Any]]) -> str:
    """A judgement's sentence with the names of the gates that failed, without each one's reason."""
    start, failed, _ = summary.partition(FAILED)
    return f"{start}{FAILED}{', '.join(gate['label'] for gate in gates if not gate['passed'])}." if failed else start
