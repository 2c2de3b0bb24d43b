from typing import Any

import pytest

from registry.rules.tiers import tier_of


@pytest.mark.parametrize(
    ("task", "metrics", "tier"),
    [
        ("forecast", {"mase": 0.7}, "gold"),
        ("forecast", {"mase": None}, "unrated"),
        ("regression", {"test_r2": 0.6}, "silver"),
        ("classification", {"test_roc_auc": 0.7}, "bronze"),
        ("classification", {}, "unrated"),
    ],
)
def test_a_tier_says_how_good_a_model_is_on_unseen_data(task: str, metrics: dict[str, Any], tier: str) -> None:
    assert tier_of(task, metrics) == tier
