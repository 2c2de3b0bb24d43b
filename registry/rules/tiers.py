"""The class of a model, told by one metric on data it never saw."""

from collections.abc import Mapping
from typing import Any

_BY_SCORE = {"regression": ("test_r2", 0.8, 0.5), "classification": ("test_roc_auc", 0.9, 0.75)}
"""The metric that tells, and the least values of gold and silver."""


def tier_of(task: str, metrics: Mapping[str, Any]) -> str:
    """`gold`, `silver` or `bronze`: by MASE for forecasts (below 1 beats the seasonal naive), R² for regression, ROC AUC for
    classification. `unrated` where that has no value."""
    if task == "forecast":
        mase = metrics.get("mase")
        return "unrated" if mase is None else "gold" if mase < 0.8 else "silver" if mase < 1.0 else "bronze"
    name, gold, silver = _BY_SCORE[task]
    value = metrics.get(name)
    return "unrated" if value is None else "gold" if value >= gold else "silver" if value >= silver else "bronze"
