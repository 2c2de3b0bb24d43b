"""What is said about columns is true: exact where it can be, and said to be an estimate where not."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.tabular import profiling
from engine.tabular.columns import columns_of
from engine.tabular.profiling import Distinct, Profiler
from tests.engine.tabular.samples import at, cut, parquet, table


def profile(frame: pl.DataFrame, batch: int = 100) -> dict[str, dict[str, Any]]:
    profiler = Profiler(columns_of(frame))
    for start in range(0, frame.height, batch):
        profiler.add(frame.slice(start, batch))
    return {one.name: one.to_json() for one in profiler.profile()}


def numbers(rows: int = 1_000) -> pl.DataFrame:
    chance = np.random.default_rng(3)
    return pl.DataFrame({"n": chance.normal(50, 10, rows), "k": chance.integers(0, 5, rows)})


def test_numbers_are_described_as_polars_describes_them() -> None:
    frame = numbers().with_columns(n=pl.when(pl.int_range(1_000) % 10 > 0).then("n"))

    found = profile(frame)["n"]

    assert (found["rows"], found["missing"], found["missing_share"], found["distinct"]) == (1_000, 100, 0.1, 900)
    assert (found["min"], found["max"]) == (frame["n"].min(), frame["n"].max())
    assert found["mean"] == pytest.approx(frame["n"].mean())
    assert found["std"] == pytest.approx(frame["n"].std())
    assert found["quantiles"]["0.5"] == pytest.approx(frame["n"].median())
    assert sum(found["histogram"]["counts"]) == 900
    assert (found["histogram"]["edges"][0], found["histogram"]["edges"][-1]) == (found["min"], found["max"])
    assert found["sampled"] is None


def test_the_size_of_batches_changes_no_number() -> None:
    whole, pieces = profile(numbers(), 1_000), profile(numbers(), 7)

    assert whole["k"] == pieces["k"] | {"mean": whole["k"]["mean"], "std": whole["k"]["std"]}
    assert pieces["k"]["std"] == pytest.approx(whole["k"]["std"])


def test_categories_are_counted_exactly_and_the_commonest_come_first() -> None:
    frame = pl.DataFrame({"c": ["b"] * 5 + ["a"] * 7 + [None] * 3 + ["x" * 300]})

    found = profile(frame)["c"]

    assert [entry["count"] for entry in found["top"]] == [7, 5, 1]
    assert (found["top"][0]["value"], len(found["top"][2]["value"]), found["longest"]) == ("a", 80, 300)
    assert (found["missing"], found["distinct"], found["distinct_is_exact"], found["sampled"]) == (3, 3, True, None)


def test_moments_have_a_range_and_a_histogram_of_moments() -> None:
    frame = pl.DataFrame({"t": [at("2024-01-01") + timedelta(days=day) for day in range(41)]})

    found = profile(frame)["t"]

    assert (found["min"], found["max"], found["quantiles"]["0.5"]) == (
        "2024-01-01T00:00:00Z",
        "2024-02-10T00:00:00Z",
        "2024-01-21T00:00:00Z",
    )
    assert found["histogram"]["edges"][0] == "2024-01-01T00:00:00Z"
    assert sum(found["histogram"]["counts"]) == 41


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([None, None], dtype=pl.Float64),
        pl.Series([None], dtype=pl.String),
        pl.Series([5.0]),
        pl.Series([1e308, -1e308]),
        pl.Series([2**63 - 1, -(2**63)]),
        pl.Series([at("0001-01-01"), at("9999-12-31")]),
        pl.Series([True, None]),
        pl.Series([None], dtype=pl.Datetime("us")),
        pl.Series(["", "a\x00b"]),
        pl.Series([0.1, 0.1 + 1e-17, 0.1]),
        pl.Series([1.0, 1.0 + 2.2e-16]),
    ],
)
def test_odd_columns_are_described_in_plain_json(values: pl.Series) -> None:
    import orjson

    found = profile(pl.DataFrame({"v": values}))["v"]

    assert b"NaN" not in orjson.dumps(found)
    assert found["rows"] == values.len()


@pytest.mark.parametrize("rows_at_once", [1, 2, 3, 9])
def test_moments_of_the_largest_numbers_are_told(rows_at_once: int) -> None:
    values = [1.7e308, -1.7e308, 1.7e308, 1.6e308, -1.7e308, 1.7e308, 1.7e308, 1.7e308, 1.7e308]

    found = profile(pl.DataFrame({"v": values}), rows_at_once)["v"]

    smaller = pl.Series(values) / 2**600
    assert found["mean"] == pytest.approx(float(smaller.mean()) * 2**600)
    assert found["std"] == pytest.approx(float(smaller.std()) * 2**600)
    assert found["quantiles"]["0.05"] == -1.7e308


def test_between_the_largest_numbers_lies_a_median_and_beyond_them_no_deviation() -> None:
    found = profile(pl.DataFrame({"v": [1.7e308, -1.7e308]}))["v"]

    assert (found["mean"], found["quantiles"]["0.5"], found["std"]) == (0.0, 0.0, None)


def test_beyond_the_bound_distinct_values_are_estimated_and_said_to_be() -> None:
    counter = Distinct(bound=1_000)
    values = pl.Series(range(200_000))
    for start in range(0, 200_000, 5_000):
        counter.add(values.slice(start, 5_000).hash(1).to_numpy())

    assert counter.halved > 0
    assert counter.count == pytest.approx(200_000, rel=0.15)
    assert len(counter.hashes) <= 1_000


def test_large_tables_are_sampled_evenly_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "SAMPLE_ROWS", 2_000)
    frame = pl.DataFrame({"n": [float(number) for number in range(50_000)]})

    found = profile(frame, 1_000)["n"]

    assert found["sampled"] == 2_000
    assert (found["min"], found["max"], found["mean"]) == (0.0, 49_999.0, pytest.approx(24_999.5))
    assert found["quantiles"]["0.5"] == pytest.approx(25_000, rel=0.06)
    assert sum(found["histogram"]["counts"]) == 2_000


def test_a_long_tail_of_categories_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "EXACT_TOP", 50)
    monkeypatch.setattr(profiling, "SAMPLE_ROWS", 1_000)
    frame = pl.DataFrame({"c": ["often" if number % 2 else f"rare {number}" for number in range(5_000)]})

    found = profile(frame, 500)["c"]

    assert (found["top"][0]["value"], found["sampled"]) == ("often", 1_000)
    assert found["top"][0]["count"] == pytest.approx(500, rel=0.15)


def test_the_profile_of_a_split_names_the_part_each_column_plays(tmp_path: Path) -> None:
    prepared, _ = cut(tmp_path, table())

    assert {one["name"]: one["role"] for one in prepared.profile} == {"x": "feature", "color": "feature", "y": "target"}


def test_a_wide_table_is_profiled_in_bounded_memory(tmp_path: Path) -> None:
    frame = pl.DataFrame({f"c{number}": np.arange(60) % (number % 7 + 2) for number in range(1_500)}).with_columns(y=pl.int_range(60))

    prepared, _ = cut(tmp_path, parquet(tmp_path, frame))

    assert len(prepared.profile) == 1_501
