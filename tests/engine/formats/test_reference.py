"""Reference statistics: exact on small data, bounded on any."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.formats.reference import BINS, QUANTILES, TOP, Reference, describe, describe_column


def test_numbers_are_binned_at_equal_shares() -> None:
    column = describe_column(pl.Series("x", range(1000)))

    assert (column.kind, column.rows, column.missing, column.distinct) == ("number", 1000, 0, 1000)
    assert len(column.counts) == BINS
    assert set(column.counts) <= {49, 50, 51}
    assert column.quantiles[4] == 499.5
    assert column.mean == 499.5


def test_many_zeros_share_one_bin() -> None:
    column = describe_column(pl.Series("x", [0] * 90 + list(range(1, 11))))

    assert column.edges[0] == 0.0
    assert column.counts[0] == 90
    assert sum(column.counts) == 100


def test_missing_and_infinite_values_are_counted_apart() -> None:
    column = describe_column(pl.Series("x", [1.0, 2.0, 3.0, None, float("nan"), float("inf"), float("-inf")]))

    assert (column.missing, sum(column.counts)) == (2, 5)
    assert column.missing_rate == pytest.approx(2 / 7)
    assert (column.quantiles[0], column.quantiles[-1], column.mean) == (1.0, 3.0, 2.0)


def test_statistics_of_the_largest_numbers_are_numbers() -> None:
    values = [1.7e308, -1.7e308, 1.7e308, 1.6e308, 1.7e308, -1.7e308]

    column = describe_column(pl.Series("x", values))

    smaller = pl.Series(values) / 2**600
    assert (column.mean, column.deviation) == (pytest.approx(smaller.mean() * 2**600), pytest.approx(smaller.std() * 2**600))
    assert column.quantiles == tuple(smaller.quantile(q, "linear") * 2**600 for q in QUANTILES)


def test_a_deviation_beyond_the_largest_number_is_missing() -> None:
    column = describe_column(pl.Series("x", [1.7e308, -1.7e308]))

    assert (column.mean, column.deviation, column.quantiles[4]) == (0.0, None, 0.0)


@pytest.mark.parametrize("values", [[], [None, None], [5.0, 5.0]])
def test_columns_without_spread_have_one_bin(values: list[float | None]) -> None:
    column = describe_column(pl.Series("x", values, dtype=pl.Float64))

    assert column.edges == ()
    assert column.counts == (len([value for value in values if value is not None]),)


def test_labels_are_counted_down_to_the_most_frequent() -> None:
    values = [f"item{index}" for index in range(100) for _ in range(index + 1)]

    column = describe_column(pl.Series("item", [*values, None]))

    assert column.labels[0] == "item99"
    assert len(column.labels) == TOP
    assert sum(column.counts) == len(values)
    assert (column.missing, column.distinct) == (1, 100)


def test_reference_survives_json_text() -> None:
    frame = pl.DataFrame({"price": [1.5, 2.5, None], "store": ["N", "S", "N"], "open": [True, False, True]})

    reference = describe(frame, target=pl.Series([1, 2, 3]), predictions=pl.Series([1.5, 2.5, 3.5]))

    assert Reference.from_json(json.loads(json.dumps(reference.to_json()))) == reference
    assert [column.kind for column in reference.features.values()] == ["number", "category", "category"]


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="allowed"):
        describe(pl.DataFrame({f"x{index}": [1] for index in range(2_001)}))


@given(st.lists(st.none() | st.floats(width=32), max_size=60))
@settings(max_examples=100, deadline=None)
def test_counts_always_add_up_and_edges_ascend(values: list[float | None]) -> None:
    column = describe_column(pl.Series("x", values, dtype=pl.Float64))

    assert sum(column.counts) + column.missing == column.rows == len(values)
    assert list(column.edges) == sorted(set(column.edges))
    assert len(column.counts) == len(column.edges) + 1
    json.dumps(column.quantiles, allow_nan=False)
