"""Whether reported results hold."""

import math
from typing import Any

import pytest

from experiments.rules import ResultsError, checked_results


def test_the_documented_results_hold() -> None:
    checked = checked_results({"baseline_mae": 12.8, "experimental_mae": 10.0, "improvement_pct": 21.9})

    assert checked.improvement_pct == 21.9


@pytest.mark.parametrize(("reported", "fine"), [(21.775, True), (21.975, True), (21.77, False), (21.98, False), (-21.875, False)])
def test_a_reported_improvement_may_differ_by_a_tenth(reported: float, fine: bool) -> None:
    given = {"baseline_mae": 12.8, "experimental_mae": 10.0, "improvement_pct": reported}

    if fine:
        assert checked_results(given).improvement_pct == reported
    else:
        with pytest.raises(ResultsError) as refusal:
            checked_results(given)
        assert refusal.value.field == "improvement_pct"


def test_an_improvement_that_was_left_out_is_computed() -> None:
    assert checked_results({"baseline_mae": 8, "experimental_mae": 10}).improvement_pct == -25.0


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"experimental_mae": 1.0}, "baseline_mae"),
        ({"baseline_mae": 1.0}, "experimental_mae"),
        ({"baseline_mae": 0, "experimental_mae": 1.0}, "baseline_mae"),
        ({"baseline_mae": -2.0, "experimental_mae": 1.0}, "baseline_mae"),
        ({"baseline_mae": math.nan, "experimental_mae": 1.0}, "baseline_mae"),
        ({"baseline_mae": math.inf, "experimental_mae": 1.0}, "baseline_mae"),
        ({"baseline_mae": True, "experimental_mae": 1.0}, "baseline_mae"),
        ({"baseline_mae": 1.0, "experimental_mae": -1.0}, "experimental_mae"),
        ({"baseline_mae": 1.0, "experimental_mae": "1"}, "experimental_mae"),
        ({"baseline_mae": 1.0, "experimental_mae": 1.0, "improvement_pct": math.nan}, "improvement_pct"),
        ({"baseline_mae": 5e-324, "experimental_mae": 1e308}, "baseline_mae"),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ResultsError) as refusal:
        checked_results(given)

    assert refusal.value.field == field
