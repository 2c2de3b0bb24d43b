"""What may tell a model the answer is warned of, and what may not is left alone."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.tabular import leakage
from engine.tabular.leakage import Twins
from engine.tabular.splitting import SplitPlan
from tests.engine.tabular.samples import at, cut, parquet

ROWS = 400


def frame(**columns: Any) -> pl.DataFrame:
    """Honest features and a target, and whatever else is given."""
    chance = np.random.default_rng(5)
    x, color = chance.normal(size=ROWS), chance.choice(["red", "green", "blue"], ROWS)
    y = x * 3 + (color == "red") * 2 + chance.normal(size=ROWS)
    made = pl.DataFrame({"x": x, "color": color, "count": chance.integers(0, 2_000, ROWS), "y": y, "label": np.where(y > 1, "high", "low")})
    return made.with_columns(**columns)


def warnings(folder: Path, table: pl.DataFrame, plan: SplitPlan) -> list[tuple[str, str | None]]:
    prepared, _ = cut(folder, parquet(folder, table), plan)
    return [(warning.code, warning.column) for warning in prepared.warnings]


REGRESSION = SplitPlan("y", "regression")
CLASSES = SplitPlan("label", "classification")


@pytest.mark.parametrize("plan", [REGRESSION, CLASSES], ids=["regression", "classification"])
def test_honest_features_raise_no_warning(tmp_path: Path, plan: SplitPlan) -> None:
    other = "label" if plan.target == "y" else "y"

    assert warnings(tmp_path, frame().drop(other), plan) == []


def test_parts_that_add_up_to_the_target_are_warned_of_together(tmp_path: Path) -> None:
    part = np.random.default_rng(6).normal(size=ROWS)
    rest = pl.col("y") - pl.lit(pl.Series(part))

    found = warnings(tmp_path, frame(casual=part, registered=rest).drop("label"), REGRESSION)

    assert [code for code, _ in found] == ["target_summed"]


@pytest.mark.parametrize(
    ("extra", "plan", "code"),
    [
        (pl.col("y"), REGRESSION, "target_copied"),
        (pl.col("y") * 1.6 - 40, REGRESSION, "target_told"),
        (pl.col("y").exp(), REGRESSION, "target_told"),
        ((pl.col("y") > 1).cast(pl.String), CLASSES, "target_told"),
        (pl.col("label"), CLASSES, "target_copied"),
        (pl.col("y"), CLASSES, "target_told"),
        (pl.col("label") + pl.col("color"), CLASSES, "target_told"),
    ],
    ids=["copy", "line", "curve", "flag", "labels", "number behind the label", "label in a text"],
)
def test_a_feature_that_tells_the_target_is_warned_of(tmp_path: Path, extra: pl.Expr, plan: SplitPlan, code: str) -> None:
    other = "label" if plan.target == "y" else "y"

    assert warnings(tmp_path, frame(leak=extra).drop(other), plan) == [(code, "leak")]


def test_a_category_that_fixes_the_target_is_warned_of(tmp_path: Path) -> None:
    grouped = (
        frame().with_columns(group=(pl.int_range(ROWS) % 12).cast(pl.String), y=(pl.int_range(ROWS) % 12).cast(pl.Float64)).drop("label")
    )

    assert ("target_told", "group") in warnings(tmp_path, grouped, REGRESSION)


@pytest.mark.parametrize(
    "extra",
    [pl.int_range(ROWS), pl.format("user-{}", pl.int_range(ROWS)), pl.int_range(ROWS).reverse() + 10_000],
    ids=["row number", "text", "dense"],
)
def test_identifiers_are_warned_of(tmp_path: Path, extra: pl.Expr) -> None:
    assert warnings(tmp_path, frame(who=extra).drop("label"), REGRESSION) == [("id_like", "who")]


def test_a_column_named_as_an_identifier_is_one_when_every_row_differs(tmp_path: Path) -> None:
    scattered = pl.Series(np.random.default_rng(1).integers(0, 10**9, ROWS))

    assert warnings(tmp_path, frame(customer_id=scattered).drop("label"), REGRESSION) == [("id_like", "customer_id")]
    assert warnings(tmp_path, frame(population=scattered).drop("label"), REGRESSION) == []


def test_empty_and_constant_features_are_warned_of(tmp_path: Path) -> None:
    table = frame(nothing=pl.lit(None, dtype=pl.Float64), same=pl.lit("x")).drop("label")

    assert warnings(tmp_path, table, REGRESSION) == [("empty_feature", "nothing"), ("constant_feature", "same")]


def test_a_feature_that_single_precision_cannot_hold_is_warned_of(tmp_path: Path) -> None:
    scattered = np.random.default_rng(1).normal(size=ROWS)
    table = frame(huge=pl.Series(np.sign(scattered) * 1.7e308), large=pl.Series(scattered * 1e37)).drop("label")

    assert warnings(tmp_path, table, REGRESSION) == [("feature_beyond_single", "huge")]


def test_a_sum_is_told_beside_the_largest_numbers(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    one, two, huge = random.normal(size=ROWS), random.normal(size=ROWS), np.sign(random.normal(size=ROWS)) * 1.7e308
    table = frame(one=pl.Series(one), two=pl.Series(two), huge=pl.Series(huge), y=pl.Series(one + two)).drop("label")

    assert warnings(tmp_path, table, REGRESSION) == [("feature_beyond_single", "huge"), ("target_summed", "one")]


def test_a_random_split_of_rows_with_a_time_is_warned_of(tmp_path: Path) -> None:
    table = frame(sold=pl.lit(at("2024-01-01")) + pl.duration(days=pl.int_range(ROWS))).drop("label")

    assert warnings(tmp_path, table, REGRESSION) == [("time_ignored", "sold")]
    assert warnings(tmp_path, table, SplitPlan("y", "regression", "time", time_column="sold")) == []


def test_a_feature_later_than_its_row_is_warned_of(tmp_path: Path) -> None:
    sold = pl.lit(at("2024-01-01")) + pl.duration(days=pl.int_range(ROWS))
    table = frame(sold=sold, delivered=sold + pl.duration(days=2), ordered=sold - pl.duration(days=1)).drop("label")

    assert warnings(tmp_path, table, SplitPlan("y", "regression", "time", time_column="sold")) == [("time_travel", "delivered")]


def test_rows_that_train_has_too_are_counted(tmp_path: Path) -> None:
    table = pl.concat([frame(), frame()]).drop("label")

    prepared, parts = cut(tmp_path, parquet(tmp_path, table), REGRESSION)

    found = {part: pl.read_parquet(content) for part, content in parts.items()}
    held = pl.concat([found["validation"], found["test"]])
    expected = held.join(found["train"].unique(), on=held.columns, how="semi").height
    assert [(one.code, one.rows) for one in prepared.warnings] == [("duplicates_across_parts", expected)]
    assert expected > 0


def test_the_same_values_at_another_time_are_another_row(tmp_path: Path) -> None:
    day = pl.lit(at("2024-01-01")) + pl.duration(days=pl.int_range(2 * ROWS))
    table = pl.concat([frame(), frame()]).drop("label").with_columns(sold=day)

    assert warnings(tmp_path, table, SplitPlan("y", "regression", "time", time_column="sold")) == []


def test_twins_beyond_the_bound_are_estimated() -> None:
    twins = Twins(["v"], bound=500)
    values = pl.DataFrame({"v": range(20_000)})
    for start in range(0, 20_000, 1_000):
        twins.add(values.slice(start, 1_000), np.zeros(1_000, dtype=np.int8))
        twins.add(values.slice(start, 1_000), np.ones(1_000, dtype=np.int8))

    assert twins.halved > 0
    assert twins.rows == pytest.approx(20_000, rel=0.25)


def test_an_entity_among_the_features_is_warned_of(tmp_path: Path) -> None:
    table = frame(shop=pl.format("shop {}", pl.int_range(ROWS) % 40)).drop("label")
    plan = SplitPlan("y", "regression", "entity", entity_column="shop", features=("x", "shop"))

    assert ("entity_as_feature", "shop") in warnings(tmp_path, table, plan)


def test_few_rows_prove_nothing_but_a_copy(tmp_path: Path) -> None:
    table = frame(line=pl.col("y") * 2).drop("label").head(leakage.FEWEST_ROWS - 1)

    assert warnings(tmp_path, table, REGRESSION) == []
    assert warnings(tmp_path, table.with_columns(leak=pl.col("y")), REGRESSION) == [("target_copied", "leak")]


@pytest.mark.parametrize("rows", [12, ROWS])
def test_a_copy_that_looks_like_an_identifier_is_a_copy(tmp_path: Path, rows: int) -> None:
    """And not the sum of itself."""
    table = frame(y=pl.int_range(ROWS) * 3 + 5, leak=pl.int_range(ROWS) * 3 + 5).drop("label").head(rows)

    assert warnings(tmp_path, table, REGRESSION) == [("target_copied", "leak")]


def test_an_identifier_that_is_the_target_times_a_weight_is_no_sum(tmp_path: Path) -> None:
    numbers = pl.Series(np.random.default_rng(8).permutation(ROWS))
    table = frame(y=pl.lit(numbers) * 2.5 + 1, leak=numbers).drop("label")

    assert warnings(tmp_path, table, REGRESSION) == [("id_like", "leak"), ("target_told", "leak")]


@pytest.mark.parametrize("strategy", ["random", "time"])
def test_an_entity_that_the_split_ignores_is_warned_of(tmp_path: Path, strategy: Any) -> None:
    day = pl.lit(at("2024-01-01")) + pl.duration(days=pl.int_range(ROWS))
    table = frame(shop=pl.format("shop {}", pl.int_range(ROWS) % 40), day=day).drop("label")
    plan = SplitPlan("y", "regression", strategy, entity_column="shop", time_column="day")

    found = warnings(tmp_path, table, plan)

    assert ("entity_ignored", "shop") in found
    entity = SplitPlan("y", "regression", "entity", entity_column="shop", features=("x",))
    assert "entity_ignored" not in [code for code, _ in warnings(tmp_path, table, entity)]


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "microseconds"])
@pytest.mark.parametrize("counted", [("sold",), ("delivered",), ("sold", "delivered")], ids=str)
def test_a_later_time_that_is_counted_since_1970_is_warned_of(tmp_path: Path, unit: str, counted: tuple[str, ...]) -> None:
    size = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}[unit]
    sold = pl.lit(at("2024-01-01")) + pl.duration(days=pl.int_range(ROWS) * 7 % ROWS)
    table = frame(sold=sold, delivered=sold + pl.duration(days=2), paid=sold - pl.duration(days=1)).drop("label")
    price = pl.Series(np.random.default_rng(2).integers(0, 10**10, ROWS))
    table = table.with_columns(pl.col(*counted).to_physical() // size, price=pl.lit(price))

    found = warnings(tmp_path, table, SplitPlan("y", "regression", "time", time_column="sold"))

    assert [column for code, column in found if code == "time_travel"] == ["delivered"]


def test_many_warnings_of_one_kind_are_one(tmp_path: Path) -> None:
    table = frame(**{f"c{number:03}": pl.lit(number) for number in range(293)}, nothing=pl.lit(None, dtype=pl.Float64)).drop("label")

    prepared, _ = cut(tmp_path, parquet(tmp_path, table), REGRESSION)

    many, one = prepared.warnings
    assert (many.code, many.column, many.rows, one.code) == ("constant_feature", None, ROWS, "empty_feature")
    assert many.message == "293 columns have the same value in every row."
    assert many.examples == ("c000", "c001", "c002", "c003", "c004")


def test_a_feature_of_the_same_moment_is_no_later_one(tmp_path: Path) -> None:
    start = at("2024-01-01")
    table = frame(sold=pl.Series([start + timedelta(hours=hour) for hour in range(ROWS)])).drop("label").with_columns(seen=pl.col("sold"))

    assert warnings(tmp_path, table, SplitPlan("y", "regression", "time", time_column="sold")) == []
