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
    }
)
ZERO = frozenset({"bias", "bias_pct"})
DEFAULT_METRIC = {"forecast": "mae", "regression": "mae", "classification": "accuracy"}


def direction_of(metric: str) -> Direction | None:
    """Whether lower, higher or nearer to zero is better; None for a metric nobody told us about, which has no best."""
    name = metric.lower()
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


def badness(value: float, direction: Direction) -> float:
    """A key by which the best value sorts first."""
    return {"lower": value, "higher": -value, "zero": abs(value)}[direction]
