"""What is found in foreign tables: dialects, types, and everything that is wrong with them."""

import gzip
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.frames.problems import Findings, FrameError
from engine.tabular import records
from engine.tabular.sources import TableLimits, open_source
from engine.tabular.splitting import SplitPlan
from engine.tabular.tables import Converter, read_columns
from tests.engine.tabular.samples import CLASSIFICATION, REGRESSION, at, codes, cut, parquet, problems, table

LIMITS = TableLimits()


def read(
    folder: Path, content: bytes | str | Path, *, kind: Any = "auto", limits: TableLimits = LIMITS
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """All of a table in canonical types, and how it was found to be written."""
    path = content if isinstance(content, Path) else folder / "table"
    if not isinstance(content, Path):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    findings = Findings()
    source = open_source(path, kind=kind, limits=LIMITS, findings=findings)
    converter = Converter(source, read_columns(source, findings=findings))
    frame = pl.concat(list(converter.batches()))
    return frame, source.describe() | {"warnings": [problem.code for problem in findings.problems]}


@pytest.mark.parametrize(
    ("values", "dtype", "read_as"),
    [
        (["1", "-2", "+3"], pl.Int64(), [1, -2, 3]),
        (["1", "2.5", ""], pl.Float64(), [1.0, 2.5, None]),
        (["1e3", "NA", "n/a"], pl.Float64(), [1000.0, None, None]),
        (["123456789012345678", "1", "2"], pl.Int64(), [123456789012345678, 1, 2]),
        (["true", "False", ""], pl.Boolean(), [True, False, None]),
        (["yes", "no", "yes"], pl.String(), ["yes", "no", "yes"]),
        (["NA", "None", "?"], pl.String(), ["NA", "None", None]),
        (["007", "012", "3"], pl.String(), ["007", "012", "3"]),
        (["12345678901234567890", "1", "2"], pl.String(), ["12345678901234567890", "1", "2"]),
        (["=1+1", "+cmd|' /C calc'!A0", "@SUM(1)"], pl.String(), ["=1+1", "+cmd|' /C calc'!A0", "@SUM(1)"]),
        (["2024-01-31", "2024-02-01", ""], pl.Datetime("us"), [at("2024-01-31"), at("2024-02-01"), None]),
        (["2024-01-31 10:30", "2024-02-01 00:00", "NA"], pl.Datetime("us"), [at("2024-01-31 10:30"), at("2024-02-01"), None]),
        (["2024-01-31T10:30:00+02:00", "2024-01-31T10:30:00Z", ""], pl.Datetime("us"),
         [at("2024-01-31 08:30"), at("2024-01-31 10:30"), None]),
        (["31.12.2024", "01.01.2025", "02.01.2025"], pl.Datetime("us"), [at("2024-12-31"), at("2025-01-01"), at("2025-01-02")]),
        (["2024-01-31", "soon", "later"], pl.String(), ["2024-01-31", "soon", "later"]),
        (["", "", ""], pl.String(), [None, None, None]),
    ],
)  # fmt: skip
def test_text_is_read_as_what_every_row_of_it_is(tmp_path: Path, values: list[str], dtype: pl.DataType, read_as: list[Any]) -> None:
    frame, _ = read(tmp_path, "a,n\n" + "".join(f'"{value}",{number}\n' for number, value in enumerate(values)))

    assert frame.schema["a"] == dtype
    assert frame["a"].to_list() == read_as


def test_a_value_in_the_last_row_decides_the_type(tmp_path: Path) -> None:
    rows = "".join(f"{number},1\n" for number in range(200_000))

    frame, told = read(tmp_path, f"a,b\n{rows}abc,1\n")

    assert (frame.schema["a"], frame.height) == (pl.String(), 200_001)
    assert told["warnings"] == ["mostly_numbers"]


@pytest.mark.parametrize(
    ("content", "encoding", "delimiter"),
    [
        ("name,y\nZoë,1\n".encode(), "utf-8", ","),
        (b"\xef\xbb\xbf" + "name;y\nZoë;1\n".encode(), "utf-8-sig", ";"),
        ("name\ty\nZoë\t1\n".encode("latin-1"), "cp1252", "\t"),
        ("name|y\nZoë|1\n".encode("utf-16"), "utf-16", "|"),
        (gzip.compress("name,y\nZoë,1\n".encode()), "utf-8", ","),
        ("sep=;\nname;y\nZoë;1\n".encode(), "utf-8", ";"),
        ("name,y\rZoë,1\r".encode(), "utf-8", ","),
    ],
    ids=["utf-8", "mark", "latin-1", "utf-16", "gzip", "sep", "old mac"],
)
def test_a_dialect_is_found_and_said(tmp_path: Path, content: bytes, encoding: str, delimiter: str) -> None:
    frame, told = read(tmp_path, content)

    assert (told["encoding"], told["delimiter"], told["header"]) == (encoding, delimiter, True)
    assert frame.to_dicts() == [{"name": "Zoë", "y": 1}]


def test_decimal_commas_and_line_breaks_in_quotes_are_read(tmp_path: Path) -> None:
    frame, _ = read(tmp_path, 'price;"a\nnote"\n3,5;"one\ntwo"\n1.234,25;x\n')

    assert frame.to_dict(as_series=False) == {"price": [3.5, 1234.25], "a\nnote": ["one\ntwo", "x"]}


def test_dates_that_two_formats_read_differently_are_warned_of(tmp_path: Path) -> None:
    _, told = read(tmp_path, "d,y\n01/02/2024,1\n02/02/2024,2\n03/02/2024,3\n")

    assert told["warnings"] == ["ambiguous_dates"]


def test_every_type_of_a_parquet_file_becomes_a_canonical_one(tmp_path: Path) -> None:
    moment = at("2024-05-01 12:30")
    frame = pl.DataFrame(
        {
            "small": pl.Series([1, 2], dtype=pl.Int8),
            "huge": pl.Series([2**64 - 1, 1], dtype=pl.UInt64),
            "single": pl.Series([1.5, float("nan")], dtype=pl.Float32),
            "money": pl.Series(["1.10", "2.20"]).cast(pl.Decimal(10, 2)),
            "flag": [True, None],
            "color": pl.Series(["red", ""], dtype=pl.Categorical),
            "day": [date(2024, 1, 1), None],
            "zoned": pl.Series([moment, moment]).dt.replace_time_zone("Europe/Berlin"),
            "fine": pl.Series([moment, moment]).cast(pl.Datetime("ns")),
            "span": [timedelta(seconds=90), None],
            "nothing": pl.Series([None, None], dtype=pl.Null),
        }
    )

    found, told = read(tmp_path, parquet(tmp_path, frame))

    assert told["format"] == "parquet"
    assert found.to_dicts()[0] == {
        "small": 1, "huge": float(2**64 - 1), "single": 1.5, "money": 1.1, "flag": True, "color": "red", "day": at("2024-01-01"),
        "zoned": at("2024-05-01 10:30"), "fine": moment, "span": 90.0, "nothing": None,
    }  # fmt: skip
    assert found.row(1, named=True) | {"small": 0, "huge": 0, "money": 0, "zoned": 0, "fine": 0} == dict.fromkeys(found.columns) | {
        "small": 0, "huge": 0, "money": 0, "zoned": 0, "fine": 0,
    }  # fmt: skip


def test_lists_and_bytes_of_a_parquet_file_are_left_out_and_said(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(20), "list": [[1]] * 20, "bytes": [b"1"] * 20, "y": range(20)})

    prepared, _ = cut(tmp_path, parquet(tmp_path, frame))

    assert prepared.features == ("x",)
    assert prepared.reading["left_out"] == ["bytes", "list"]
    assert "nested_column" in [warning.code for warning in prepared.warnings]


def test_records_keep_their_types_and_dates_in_them_are_found(tmp_path: Path) -> None:
    rows = [{"n": 1, "code": "12", "day": "2024-01-01", "ok": True}, {"n": 2.5, "code": "13", "day": None, "late": 1}]

    frame, told = read(tmp_path, json.dumps(rows), kind="records")

    assert told["format"] == "records"
    assert frame.to_dicts() == [
        {"n": 1.0, "code": "12", "day": at("2024-01-01"), "ok": True, "late": None},
        {"n": 2.5, "code": "13", "day": None, "ok": None, "late": 1},
    ]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([{"y": 1}, {"y": "one"}], "mixed_types"),
        ([{"y": 1}, {"y": True}], "mixed_types"),
        ([{"y": [1]}], "nested_value"),
        ([{"y": {}}], "nested_value"),
        ([], "empty_file"),
        ([1], "unreadable_records"),
        ({"y": 1}, "unreadable_records"),
        ([{"": 1}], "unusable_name"),
        ([{"x" * 201: 1}], "unusable_name"),
    ],
)
def test_records_that_are_no_table_are_refused(tmp_path: Path, given: Any, code: str) -> None:
    assert codes(tmp_path, json.dumps(given), kind="records") == [code]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("lines", [True, False])
def test_a_file_of_json_is_read_as_its_records_are(tmp_path: Path, lines: bool, mark: str) -> None:
    rows: list[dict[str, Any]] = [{"n": 1, "code": "12", "day": "2024-01-01"}, {"n": 2.5, "code": "é]", "day": None, "late": 1}]
    written = "\r\n".join(json.dumps(one, ensure_ascii=False) for one in rows) + "\n" if lines else json.dumps(rows, indent=1)

    frame, told = read(tmp_path, mark + written)

    assert told["format"] == "json"
    assert frame.equals(read(tmp_path, json.dumps(rows), kind="records")[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"x": 1, "y": 2},', "no JSON"),
        ('{"x": 1, "y": 2}\n{"x": 1, "y": 2},\n', "Line 2 is no JSON object"),
        ('{\n "x": [1],\n "y": [2]}', "Line 1 is no JSON object"),
        ('{"x": 1}\n[1]\n', "list of JSON objects"),
        ('[{"x": 1, "x": 2}]', "'x' twice"),
        ('[{"x": NaN}]', "NaN is no JSON"),
        ('[{"x": ' + "[" * 100_000, "recursion"),
    ],
)
def test_json_that_is_no_table_is_refused_with_the_place(tmp_path: Path, content: str, said: str) -> None:
    (problem,) = problems(tmp_path, content)

    assert problem.code == "unreadable_records"
    assert said in problem.message


def test_json_that_takes_too_much_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = "[" + ",".join(["{}"] * 20_000) + "," + json.dumps({f"c{number}": 1 for number in range(1_001)}) + "]"

    assert codes(tmp_path, sparse) == ["too_large"]
    monkeypatch.setattr(records, "LARGEST_FILE", 1_000)
    assert codes(tmp_path, sparse) == ["too_large"]


@pytest.mark.parametrize(("header", "positions"), [("column_2,,y", "2"), (",x,y", "1"), ('x,y," "', "3"), (",,y", "1, 2")])
def test_columns_without_a_name_are_refused_with_their_places(tmp_path: Path, header: str, positions: str) -> None:
    (problem,) = problems(tmp_path, f"{header}\n" + "".join(f"{n},{n % 3},{n % 7}\n" for n in range(20)))

    assert problem.code == "unusable_name"
    assert f"by position: {positions}." in problem.message


BAD: dict[str, tuple[bytes | str, str]] = {
    "empty": (b"", "empty_file"),
    "excel": (b"PK\x03\x04" + b"0" * 100, "unknown_format"),
    "pickle": (b"\x80\x04\x95\x00\x00", "unknown_format"),
    "pdf": (b"%PDF-1.7 hello", "unknown_format"),
    "not parquet": (b"PAR1" + b"garbage" * 100, "damaged_parquet"),
    "binary": (b"a,b\n1,\x00\n", "binary_file"),
    "html": (b"<html><body>not found</body></html>", "one_column"),
    "one column": ("y\n1\n2\n", "one_column"),
    "no header": ("1,2\n3,4\n", "no_header"),
    "columns twice": ("x,y,x\n1,2,3\n", "duplicate_columns"),
    "ragged": ("x,y\n1,2\n3\n4,5,6\n", "ragged_rows"),
    "open quote": ('x,y\n1,"2\n3,4\n', "unbalanced_quotes"),
    "mixed encodings": (b"x,y\n" + "é,1\n".encode() + "é,2\n".encode("latin-1"), "mixed_encodings"),
    "cut gzip": (gzip.compress(table(5_000).encode())[:-30], "damaged_gzip"),
    "damaged gzip": (b"\x1f\x8b\x08\x00garbagegarbage", "damaged_gzip"),
    "too many columns": (",".join(f"c{n}" for n in range(10_000)) + "\n" + ",".join("1" for n in range(10_000)), "too_many_columns"),
    "too many features": (",".join(f"c{n}" for n in range(2_001)) + ",y\n1" + ",1" * 2_001 + "\n", "too_many_features"),
    "infinite": (table() + "inf,red,3\n", "infinite_values"),
    "no such target": ("x,z\n1,2\n", "no_column"),
    "text for a regression": ("x,y\n1,high\n2,low\n", "target_not_numeric"),
    "header alone": ("x,y\n", "no_rows"),
    "one row": ("x,y\n1,2\n", "too_few_rows"),
    "two rows": ("x,y\n1,2\n2,3\n", "too_few_rows"),
    "constant target": ("x,y\n" + "1,5\n" * 10, "constant_target"),
    "no target at all": ("x,y,z\n" + "1,,2\n" * 10, "no_target"),
    "features all missing": ("x,y\n" + "".join(f",{n}\n" for n in range(10)), "no_features"),
    "only a target and a time": ("y,t\n", "no_rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str) -> None:
    content, code = BAD[name]

    assert codes(tmp_path, content) == [code]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("x,y\n" + "".join(f"{n},a\n" for n in range(9)), "constant_target"),
        ("x,y\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(20)) + "1,c\n", "single_member"),
        ("x,y\n" + "".join(f"{n},{n % 201}\n" for n in range(1_500)), "too_many_classes"),
        ("x,y\n" + "".join(f"{n},2024-01-{n + 1:02d}\n" for n in range(9)), "target_is_a_time"),
        ("x,y\n1,a\n2,b\n3,a\n4,b\n", "empty_part"),
    ],
)
def test_classes_that_cannot_be_split_are_refused(tmp_path: Path, content: str, code: str) -> None:
    assert codes(tmp_path, content, CLASSIFICATION) == [code]


def test_a_target_that_is_mostly_numbers_shows_what_is_not(tmp_path: Path) -> None:
    found = problems(tmp_path, "x,y\n" + "".join(f"{n},{n}\n" for n in range(50)) + "1,n.a.\n")

    assert [(one.code, one.column) for one in found] == [("target_not_numeric", "y")]


def test_infinite_values_of_a_parquet_file_are_counted_per_column(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1.0, float("inf"), float("-inf")] * 10, "y": range(30)})

    found = problems(tmp_path, parquet(tmp_path, frame))

    assert [(one.code, one.column, one.rows) for one in found] == [("infinite_values", "x", 20)]


def test_moments_that_no_calendar_has_are_refused(tmp_path: Path) -> None:
    far = pa.table({"t": pa.array([0, 2**62] * 20, pa.timestamp("ms")), "x": range(40), "y": range(40)})
    pq.write_table(far, tmp_path / "far.parquet")

    assert codes(tmp_path, tmp_path / "far.parquet") == ["impossible_dates"]


def test_columns_of_the_same_name_in_a_parquet_file_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["y", "y"]), tmp_path / "twice.parquet")

    assert codes(tmp_path, tmp_path / "twice.parquet") == ["duplicate_columns"]


def test_a_parquet_bomb_is_refused_while_it_goes_off(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    million = pa.table({"y": pa.array([0] * 1_000_000, pa.int64()), "x": pa.array([1.0] * 1_000_000)})
    with pq.ParquetWriter(path, million.schema) as writer:
        for _ in range(10):
            writer.write_table(million)
    limits = TableLimits(max_rows=2_000_000)

    assert path.stat().st_size < 100_000
    assert codes(tmp_path, path, limits=limits) == ["too_many_rows"]


def test_a_file_that_decodes_to_far_more_than_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.tabular.sources.FREE_BYTES", 1 << 20)
    frame = pl.DataFrame({"x": ["the same text " * 20] * 20_000, "y": [1, 2] * 10_000})

    assert codes(tmp_path, parquet(tmp_path, frame)) == ["decompression_bomb"]


def test_a_gzip_bomb_is_refused_while_it_unpacks(tmp_path: Path) -> None:
    content = gzip.compress(b"x,y\n" + b"1,2\n" * 2_000_000)

    assert codes(tmp_path, content, limits=TableLimits(max_text_bytes=4 << 20)) == ["too_large"]


def test_a_row_longer_than_blocks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.tabular.sources.LINE_BYTES", 1 << 16)

    assert codes(tmp_path, b"x,y\n1,2\n" + b"z" * (1 << 18) + b",1\n") == ["unreadable_text"]


def test_a_file_larger_than_allowed_is_refused_unread(tmp_path: Path) -> None:
    assert codes(tmp_path, table(), limits=TableLimits(max_file_bytes=10)) == ["too_large"]


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    plan = SplitPlan("price", "regression", "time", time_column="sold", features=("x", "size"))

    found = problems(tmp_path, table(), plan)

    assert [(one.code, one.column) for one in found] == [("no_column", "price"), ("no_column", "sold"), ("no_column", "size")]


def test_only_the_columns_asked_for_are_kept(tmp_path: Path) -> None:
    prepared, _ = cut(tmp_path, table(), SplitPlan("y", "regression", features=("color",)))

    assert [column.name for column in prepared.columns] == ["color", "y"]
    assert prepared.features == ("color",)


def test_text_in_a_column_of_time_is_read_even_in_a_typed_file(tmp_path: Path) -> None:
    days = [f"2024-01-{day:02d}" for day in range(1, 31)]
    frame = pl.DataFrame({"t": days, "x": range(30), "y": range(30)})

    prepared, _ = cut(tmp_path, parquet(tmp_path, frame), SplitPlan("y", "regression", "time", time_column="t"))

    assert prepared.boundaries["train"] == {"first": "2024-01-01T00:00:00Z", "last": "2024-01-21T00:00:00Z"}


def test_a_source_gives_the_same_batches_twice(tmp_path: Path) -> None:
    path = parquet(tmp_path, pl.DataFrame({"y": range(150_000), "x": range(150_000)}))
    source = open_source(path, limits=LIMITS, findings=Findings())

    first, again = (pl.concat(list(source.batches())) for _ in range(2))

    assert first.equals(again)
    assert first["y"].to_list() == list(range(150_000))


def test_nothing_is_read_of_a_column_nobody_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="no column 'nope'"):
        cut(tmp_path, table(), SplitPlan("nope", REGRESSION.task))
