"""Which way a metric is better."""

import math
from typing import Any, Literal

Direction = Literal["lower", "higher", "zero"]

LOWER = frozenset(
    {
        "mae",
        "mape",
        "smape",
        "wape",
        "wmape",
        "rmse",
        "mse",
        "rmsle",
        "mase",
        "rmsse",
        "median_ae",
        "max_error",
        "pinball",
        "log_loss",
        "brier",
        "error_rate",
        "ece",
        "stockout_miss_rate",
        "overstock_rate",
        "latency_ms",
        "p95_latency_ms",
        "worst_origin_mae",
    }
)
HIGHER = frozenset(
    {
        "accuracy",
        "balanced_accuracy",
        "roc_auc",
        "auc",
        "pr_auc",
        "average_precision",
        "f1",
        "f1_macro",
        "f1_weighted",
        "precision",
        "recall",
        "specificity",
        "mcc",
        "r2",
        "coverage",
        "explained_variance",
        "ndcg",
        "map",
        "success_rate",
        "value_over_naive_pct",
    }
)
ZERO = frozenset({"bias", "bias_pct"})
DEFAULT_METRICS = {"forecast": ("mae",), "regression": ("test_mae", "mae"), "classification": ("test_accuracy", "accuracy")}
"""By task what versions are compared by, the best first: rows that no search has seen tell more than those it chose by."""


def direction_of(metric: str) -> Direction | None:
    """Whether lower, higher or nearer to zero is better, on a test part as anywhere; None for a metric nobody told us about, which has no
    best."""
    name = metric.lower().removeprefix("test_")
    if name in LOWER:
        return "lower"
    if name in HIGHER:
        return "higher"
    return "zero" if name in ZERO else None


def number(value: Any) -> float | None:
    """The value if it is a finite number; a metric may also be a text such as `tier`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def flaw_of(metric: str, value: Any) -> str:
    """Why no version can be registered with this value of the metric; empty where it can."""
    direction = direction_of(metric)
    if value is None:
        return ""
    if direction is None:
        free = isinstance(value, str | int | float) and not isinstance(value, bool)
        return "" if free else "Must be a number, a text or null."
    if number(value) is None:
        return "Must be a finite number or null."
    return "Must not be negative: it is an error or a cost." if direction == "lower" and value < 0 else ""


def measured(metric: str, value: Any) -> float | None:
    """The value where it is a number that this metric can have; None for a text, and for what was registered before it was looked at."""
    return None if flaw_of(metric, value) else number(value)


def badness(value: float, direction: Direction) -> float:
    """A key by which the best value sorts first."""
    return {"lower": value, "higher": -value, "zero": abs(value)}[direction]
