import math
from itertools import starmap

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import metrics

ACTUAL = [0.0, 2.0, 4.0, 10.0]
FORECAST = [1.0, 2.0, 2.0, 13.0]


def test_errors_of_a_worked_example() -> None:
    found = metrics.summarize(ACTUAL, FORECAST)

    assert found["mae"] == pytest.approx(6 / 4)
    assert found["rmse"] == pytest.approx(math.sqrt((1 + 0 + 4 + 9) / 4))
    assert found["mape"] == pytest.approx(100 * (0 + 0.5 + 0.3) / 3)
    assert found["wape"] == pytest.approx(6 / 16)
    assert found["bias_pct"] == pytest.approx(100 * 2 / 16)


def test_scaled_errors_divide_by_the_naive_error_of_training() -> None:
    assert metrics.mase([4.0, 4.0], [6.0, 5.0], scale=[2.0, 1.0]) == pytest.approx(1.0)
    assert metrics.rmsse([4.0, 4.0], [6.0, 5.0], squared_scale=[4.0, 0.25]) == pytest.approx(math.sqrt((1 + 4) / 2))


def test_scaled_errors_leave_out_series_without_a_scale() -> None:
    assert metrics.mase([4.0, 4.0], [6.0, 9.0], scale=[2.0, 0.0]) == pytest.approx(1.0)
    assert metrics.mase([4.0], [6.0], scale=[0.0]) is None


def test_coverage_counts_the_bounds_as_inside() -> None:
    assert metrics.coverage([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 5.0], [2.0, 2.0, 2.0, 6.0]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("actual", "forecast", "missed"),
    [(3.0, 1.4, True), (3.0, 2.0, False), (100.0, 80.0, False), (100.0, 79.0, True), (2.0, 0.6, False), (0.0, 0.0, None)],
)
def test_stockout_is_missed_beyond_a_unit_and_a_fifth(actual: float, forecast: float, missed: bool | None) -> None:
    expected = None if missed is None else float(missed)

    assert metrics.stockout_miss_rate([actual], [forecast]) == expected


@pytest.mark.parametrize(
    ("actual", "forecast", "over"), [(0.0, 1.4, False), (0.0, 1.5, True), (3.0, 4.4, False), (100.0, 120.4, False), (100.0, 121.0, True)]
)
def test_overstock_begins_beyond_a_unit_and_a_fifth(actual: float, forecast: float, over: bool) -> None:
    assert metrics.overstock_rate([actual], [forecast]) == float(over)


@pytest.mark.parametrize("pairs", [([], []), ([float("nan")], [1.0]), ([1.0], [float("inf")])], ids=["empty", "nan", "infinite"])
def test_nothing_to_measure_answers_none_everywhere(pairs: tuple[list[float], list[float]]) -> None:
    found = metrics.summarize(*pairs)

    assert set(found) == set(metrics.METRICS)
    assert set(found.values()) == {None}


def test_unknown_pairs_are_left_out() -> None:
    assert metrics.mae([1.0, float("nan"), 3.0], [2.0, 5.0, float("nan")]) == pytest.approx(1.0)


def test_zero_demand_leaves_relative_metrics_without_an_answer() -> None:
    found = metrics.summarize([0.0, 0.0], [1.0, 0.0])

    assert found["mae"] == pytest.approx(0.5)
    assert [found[name] for name in ("mape", "wape", "bias_pct", "stockout_miss_rate")] == [None] * 4


values = st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=64)] * 2), max_size=20)


@given(values)
def test_no_input_gives_nan_or_infinity(pairs: list[tuple[float, float]]) -> None:
    found = metrics.summarize([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    assert all(value is None or math.isfinite(value) for value in found.values())


def test_sums_of_parts_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    actual, forecast = rng.poisson(3.0, 50).astype(float), rng.random(50) * 6
    columns = {"target": actual, "prediction": forecast, "lower": forecast - 1, "upper": forecast + 1, "scale": 2.0, "squared_scale": 5.0}
    frame = pl.DataFrame(columns)

    parts = pl.concat(starmap(lambda begin, size: frame.slice(begin, size).select(metrics.error_sums()), [(0, 20), (20, 30)])).sum()

    whole = metrics.summarize(actual, forecast, lower=forecast - 1, upper=forecast + 1, scale=2.0, squared_scale=5.0)
    assert metrics.from_sums(parts.row(0, named=True)) == pytest.approx(whole)
