"""Which way a metric is better, and which values it can have."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["lower", "higher", "zero"]


@dataclass(frozen=True)
class Known:
    """Which way a metric is better, and its least and largest value."""

    direction: Direction
    low: float = -math.inf
    high: float = math.inf

    @property
    def range(self) -> str:
        """What a value has to be, in words."""
        if self.high == math.inf:
            return "Must not be negative: it is an error or a cost."
        return f"Must be at most {self.high:g}." if self.low == -math.inf else f"Must lie between {self.low:g} and {self.high:g}."


ERRORS = ("mae", "mape", "smape", "wape", "wmape", "rmse", "mse", "rmsle", "mase", "rmsse", "median_ae", "max_error", "pinball", "log_loss")
COSTS = ("latency_ms", "p95_latency_ms", "worst_origin_mae")
RATES = ("error_rate", "ece", "stockout_miss_rate", "overstock_rate")
SHARES = (
    *("accuracy", "balanced_accuracy", "roc_auc", "auc", "pr_auc", "average_precision", "f1", "f1_macro", "f1_weighted"),
    *("precision", "recall", "specificity", "coverage", "ndcg", "map", "success_rate"),
)
KNOWN: dict[str, Known] = {
    **dict.fromkeys((*ERRORS, *COSTS), Known("lower", low=0)),
    **dict.fromkeys(RATES, Known("lower", low=0, high=1)),
    # Fractions of 1, as docs/metrics.md has them: 93 for 93 % would win against everything.
    **dict.fromkeys(SHARES, Known("higher", low=0, high=1)),
    "brier": Known("lower", low=0, high=2),  # of several classes it is a sum
    "mcc": Known("higher", low=-1, high=1),
    **dict.fromkeys(("r2", "explained_variance"), Known("higher", high=1)),
    "value_over_naive_pct": Known("higher", high=100),
    **dict.fromkeys(("bias", "bias_pct"), Known("zero")),
}
ROUNDING = 1e-9
"""A mean of perfect scores may lie this much beyond 1, by the last digits of a sum."""
DEFAULT_METRICS = {"forecast": ("mae",), "regression": ("test_mae", "mae"), "classification": ("test_accuracy", "accuracy")}
"""By task what versions are compared by, the best first: rows that no search has seen tell more than those it chose by."""


def direction_of(metric: str) -> Direction | None:
    """Whether lower, higher or nearer to zero is better, on a test part as anywhere; None for a metric nobody told us about, which has no
    best."""
    known = _known(metric)
    return known.direction if known else None


def _known(metric: str) -> Known | None:
    return KNOWN.get(metric.lower().removeprefix("test_"))


def number(value: Any) -> float | None:
    """The value if it is a finite number; a metric may also be a text such as `tier`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def flaw_of(metric: str, value: Any) -> str:
    """Why no version can be registered with this value of the metric; empty where it can."""
    known = _known(metric)
    if value is None:
        return ""
    if known is None:
        free = isinstance(value, str | int | float) and not isinstance(value, bool)
        return "" if free else "Must be a number, a text or null."
    if number(value) is None:
        return "Must be a finite number or null."
    low = known.low - (ROUNDING if known.low else 0)  # what is a sum of sizes is exactly 0, or more
    return "" if low <= value <= known.high + ROUNDING else known.range


def measured(metric: str, value: Any) -> float | None:
    """The value where it is a number that this metric can have; None for a text, and for what was registered before it was looked at."""
    return None if flaw_of(metric, value) else number(value)


def badness(value: float, direction: Direction) -> float:
    """A key by which the best value sorts first."""
    return {"lower": value, "higher": -value, "zero": abs(value)}[direction]
