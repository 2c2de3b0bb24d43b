"""Values from anywhere: canonical, or refused with feature and row."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest

from engine.tabular.columns import MOMENT, Column
from engine.tabular.inputs import canonical, from_records
from engine.tabular.problems import MOST_TOLD, PredictError

SIZE, TOWN = Column("size", "numeric"), Column("town", "categorical")
GARDEN, SOLD = Column("garden", "boolean"), Column("sold", "datetime")


def refusal(frame: pl.DataFrame, *columns: Column) -> list[tuple[str, int | None]]:
    with pytest.raises(PredictError) as caught:
        canonical(frame, columns)
    return [(problem.feature, problem.row) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        ([1, None, 3], SIZE, [1.0, None, 3.0]),
        ([1.5, float("nan")], SIZE, [1.5, None]),
        ([" 12 ", "", None, "1e3"], SIZE, [12.0, None, None, 1000.0]),
        (["Ulm", None], TOWN, ["Ulm", None]),
        ([7, 8], TOWN, ["7", "8"]),
        ([7.0, None], TOWN, ["7", None]),
        ([1, 0, None], GARDEN, [True, False, None]),
        (["True", "false", ""], GARDEN, [True, False, None]),
        ([date(2024, 5, 1)], SOLD, [datetime(2024, 5, 1)]),  # noqa: DTZ001 - canonical moments have no zone
        (["2024-05-01T12:00:00+02:00", "2024-05-01"], SOLD, [datetime(2024, 5, 1, 10), datetime(2024, 5, 1)]),  # noqa: DTZ001
        ([datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))], SOLD, [datetime(2024, 5, 1, 10)]),  # noqa: DTZ001
        ([None, None], SIZE, [None, None]),
    ],
)
def test_values_become_canonical(values: list[Any], column: Column, expected: list[Any]) -> None:
    read = canonical(pl.DataFrame({column.name: values}), (column,))

    assert read[column.name].to_list() == expected
    assert read.schema[column.name] == (pl.Float64 if column is SIZE else column.dtype)


@pytest.mark.parametrize(
    ("values", "column", "rows"),
    [
        (["1", "abc", "x"], SIZE, [1, 2]),
        ([1.0, float("inf")], SIZE, [1]),
        (["inf"], SIZE, [0]),
        ([True], SIZE, [None]),
        ([1.5], TOWN, [0]),
        ([True], TOWN, [None]),
        ([0, 2], GARDEN, [1]),
        (["yes"], GARDEN, [0]),
        ([date(2024, 1, 1)], GARDEN, [None]),
        (["2024-13-01", "soon"], SOLD, [0, 1]),
        (["0001-01-01T00:00:00+05:00"], SOLD, [0]),
        ([20240101], SOLD, [None]),
    ],
)
def test_values_of_a_wrong_type_are_named(values: list[Any], column: Column, rows: list[int | None]) -> None:
    assert refusal(pl.DataFrame({column.name: values}), column) == [(column.name, row) for row in rows]


def test_absent_features_are_all_named() -> None:
    assert refusal(pl.DataFrame({"other": [1]}), SIZE, TOWN) == [("size", None), ("town", None)]


def test_problems_told_are_bounded() -> None:
    assert len(refusal(pl.DataFrame({"size": ["x"] * 500}), SIZE)) == MOST_TOLD


def test_records_become_a_frame_and_extra_names_are_told() -> None:
    records = [
        {"size": 3, "town": "Ulm", "garden": True, "sold": "2024-05-01T00:00:00Z", "zip": 1},
        {"size": None, "town": None, "garden": 0, "sold": None, "area": 2},
    ]

    frame, extra = from_records(records, (SIZE, TOWN, GARDEN, SOLD))

    assert frame.rows() == [(3.0, "Ulm", True, datetime(2024, 5, 1)), (None, None, False, None)]  # noqa: DTZ001
    assert frame.dtypes == [pl.Float64, pl.String, pl.Boolean, MOMENT]
    assert extra == ("area", "zip")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (SIZE, "3"), (SIZE, True), (SIZE, [1]), (SIZE, float("inf")), (SIZE, 10**400), (TOWN, 1.5), (TOWN, True), (TOWN, {}),
        (GARDEN, "yes"), (GARDEN, "1"), (GARDEN, 2), (GARDEN, 1.0), (SOLD, 5), (SOLD, "yesterday"), (SOLD, True),
    ],
)  # fmt: skip
def test_record_of_a_wrong_type_names_its_row(column: Column, value: object) -> None:
    with pytest.raises(PredictError) as caught:
        from_records([{column.name: None}, {column.name: value}], (column,))

    assert [(problem.feature, problem.row) for problem in caught.value.problems] == [(column.name, 1)]


def test_record_without_a_feature_is_refused_though_null_is_missing() -> None:
    with pytest.raises(PredictError, match="row 1, size: The feature is missing"):
        from_records([{"size": None}, {}], (SIZE,))


def test_moment_with_a_zone_is_taken_to_utc() -> None:
    frame, _ = from_records([{"sold": datetime(2024, 1, 1, tzinfo=UTC).isoformat()}], (SOLD,))

    assert frame["sold"][0] == datetime(2024, 1, 1)  # noqa: DTZ001
