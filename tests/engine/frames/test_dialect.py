"""CSV as it comes: delimiters, encodings, compression; every one either read rightly or refused."""

import csv
import gzip
import io
import zlib
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.problems import FrameError, Report
from engine.frames.proposing import propose
from engine.frames.reading import read_panel
from tests.engine.frames.samples import FIRST, SINGLE, days, refused, single_csv, write

ITEMS = Mapping("long", "date", "units", ("item",))


def items_csv(name: str, separator: str = ",") -> str:
    return "\n".join([separator.join(("date", "item", "units")), *[separator.join((str(day), name, "3")) for day in days(40)]]) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_delimiter_is_found(tmp_path: Path, separator: str) -> None:
    _, report = read_panel(write(tmp_path / "d.csv", items_csv("ale", separator)), ITEMS)

    assert report.source["delimiter"] == separator


@pytest.mark.parametrize(
    ("encoding", "warned"), [("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("latin-1", True), ("cp1252", True)]
)
def test_encoding_is_found_and_told(tmp_path: Path, encoding: str, warned: bool) -> None:
    panel, report = read_panel(write(tmp_path / "d.csv", items_csv("Bücher à la crème"), encoding), ITEMS)

    assert panel.series["item"].to_list() == ["Bücher à la crème"]
    assert ("not_utf8" in {problem.code for problem in report.problems}) is warned


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (items_csv("Bücher").encode("utf-16-le"), "binary_file"),
        (items_csv("Bücher").encode("utf-32"), "unknown_encoding"),
        (b"PK\x03\x04 sheet", "unknown_format"),
        (b"\x80\x04\x95 pickle", "unknown_format"),
        (items_csv("Bücher").encode() + "2024-05-01,Bücher,3\n".encode("latin-1"), "mixed_encodings"),
        (gzip.compress(single_csv().encode())[:-12], "damaged_gzip"),
        (b"\x1f\x8b\x08\x00 not really", "damaged_gzip"),
        (b"PAR1 not really PAR1", "damaged_parquet"),
    ],
)
def test_unreadable_bytes_are_refused_by_name(tmp_path: Path, data: bytes, code: str) -> None:
    (tmp_path / "d.csv").write_bytes(data)

    assert refused(tmp_path / "d.csv", ITEMS).codes == (code,)


def test_gzip_members_are_read_one_after_another(tmp_path: Path) -> None:
    first, second = single_csv(60).encode()[:300], single_csv(60).encode()[300:]
    (tmp_path / "d.csv").write_bytes(gzip.compress(first) + gzip.compress(second))

    panel, report = read_panel(tmp_path / "d.csv", SINGLE)

    assert panel.frame.height == 60
    assert report.source["compressed"] is True


def test_gzip_bomb_is_refused_while_it_unpacks(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(b"date,units\n") + b"".join(packer.compress(b"0" * (1 << 20)) for _ in range(64)) + packer.flush()
    (tmp_path / "d.csv").write_bytes(bomb)

    with pytest.raises(FrameError) as caught:
        read_panel(tmp_path / "d.csv", SINGLE, limits=ReadLimits(max_text_bytes=8 << 20))

    assert len(bomb) < 100_000
    assert caught.value.codes == ("too_large",)


def test_decimal_comma_and_thousands_are_read(tmp_path: Path) -> None:
    rows = [f"{day};1.234,5;{index},25" for index, day in enumerate(days(40))]

    panel, _ = read_panel(
        write(tmp_path / "d.csv", "date;units;price\n" + "\n".join(rows)), Mapping("long", "date", "units", price="price", decimal=",")
    )

    assert panel.frame.select("target", "price").row(1) == (1234.5, 1.25)


NUMBERED = "\n".join(["date,1001,1002,1003", *[f"{day},4,0,{index}" for index, day in enumerate(days(40))]])


def test_numbered_columns_above_days_are_a_header(tmp_path: Path) -> None:
    mapping = propose(write(tmp_path / "d.csv", NUMBERED)).mapping

    assert mapping is not None
    assert (mapping.shape, mapping.date, mapping.items) == ("wide", "date", ("1001", "1002", "1003"))
    assert read_panel(tmp_path / "d.csv", mapping)[0].series["item"].to_list() == ["1001", "1002", "1003"]


@pytest.mark.parametrize("first", ["2024-01-01,4,0,7", "date,4,4,7", "date,4.5,0,7", "1001,4,0,7"])
def test_a_line_that_may_be_data_is_no_header(tmp_path: Path, first: str) -> None:
    with pytest.raises(FrameError) as caught:
        propose(write(tmp_path / "d.csv", NUMBERED.replace("date,1001,1002,1003", first)))

    assert "no_header" in caught.value.codes


@pytest.mark.parametrize("items", [("1.5", "2", "2024"), ()])
def test_a_mapping_says_what_the_header_is(tmp_path: Path, items: tuple[str, ...]) -> None:
    path = write(tmp_path / "d.csv", NUMBERED.replace("1001,1002,1003", "1.5,2,2024"))

    panel, _ = read_panel(path, Mapping("wide", "date", items=items))

    assert panel.series["item"].to_list() == ["1.5", "2", "2024"]


def told_of(report: Report, code: str) -> list[str]:
    return [problem.message for problem in report.problems if problem.code == code]


def numbers_of(path: Path, values: tuple[str, ...], *, separator: str, beside: str = "3") -> tuple[list[float], Report]:
    """The units that a file's proposal reads out of these values, beside a column of one price."""
    rows = [separator.join((str(day), f'"{values[index % len(values)]}"', f'"{beside}"')) for index, day in enumerate(days(40))]
    write(path, "\n".join([separator.join(("date", "units", "price")), *rows]))
    mapping = propose(path).mapping
    assert mapping is not None
    panel, report = read_panel(path, mapping)
    return panel.frame["target"].to_list()[: len(values)], report


@pytest.mark.parametrize("separator", [";", ",", "\t"])
@pytest.mark.parametrize(("values", "read"), [(("0,574", "0,250"), [0.574, 0.25]), (("1574,250", "1,574"), [1574.25, 1.574]),
                                              (("1.574,250", "1,574"), [1574.25, 1.574]), (("0.574", "1.574"), [0.574, 1.574]),
                                              (("1,234,567", "1,574"), [1234567.0, 1574.0])])  # fmt: skip
def test_one_value_that_can_be_read_in_one_way_alone_tells_the_decimal_sign(
    tmp_path: Path, separator: str, values: tuple[str, ...], read: list[float]
) -> None:
    found, report = numbers_of(tmp_path / "d.csv", values, separator=separator)

    assert found == read
    assert told_of(report, "ambiguous_numbers") == []


@pytest.mark.parametrize(
    ("value", "separator", "beside", "read", "other"),
    [
        ("1,574", ";", "3", 1.574, "1574"),
        ("1,574", ",", "3", 1574.0, "1.574"),
        ("1,574", ";", "2.50", 1574.0, "1.574"),
        ("1,574", ",", "2,50", 1.574, "1574"),
        ("1.574", ";", "3", 1.574, "1574"),
        ("1.574", ";", "2,50", 1574.0, "1.574"),
    ],
)
def test_numbers_that_can_be_read_in_two_ways_are_read_as_the_rest_of_the_file_and_told(
    tmp_path: Path, value: str, separator: str, beside: str, read: float, other: str
) -> None:
    found, report = numbers_of(tmp_path / "d.csv", (value,), separator=separator, beside=beside)

    assert found == [read]
    (told,) = told_of(report, "ambiguous_numbers")
    assert (f"read as {read:g}" in told, other in told) == (True, True)


@pytest.mark.parametrize(("separator", "beside"), [(",", "3"), (";", "2.50")])
def test_a_decimal_point_where_nothing_speaks_against_it_is_not_told(tmp_path: Path, separator: str, beside: str) -> None:
    found, report = numbers_of(tmp_path / "d.csv", ("1.574",), separator=separator, beside=beside)

    assert (found, told_of(report, "ambiguous_numbers")) == ([1.574], [])


def test_a_group_never_begins_with_a_zero(tmp_path: Path) -> None:
    rows = [f"{day};0,574" for day in days(40)]

    error = refused(write(tmp_path / "d.csv", "date;units\n" + "\n".join(rows)), SINGLE)

    assert error.codes == ("not_a_number",)


def test_wide_cells_that_can_be_read_in_two_ways_are_told(tmp_path: Path) -> None:
    rows = [f"{day};1,574;3" for day in days(40)]

    _, report = read_panel(write(tmp_path / "d.csv", "date;ale;bun\n" + "\n".join(rows)), Mapping("wide", "date", decimal=","))

    assert len(told_of(report, "ambiguous_numbers")) == 1


def test_quoted_thousands_are_read(tmp_path: Path) -> None:
    rows = [f'{day},"1,234.5"' for day in days(40)]

    panel, _ = read_panel(write(tmp_path / "d.csv", "date,units\n" + "\n".join(rows)), SINGLE)

    assert panel.frame["target"][0] == 1234.5


def test_separator_line_of_spreadsheets_and_carriage_returns_are_skipped(tmp_path: Path) -> None:
    text = "sep=;\n" + single_csv(40, header="date;units", separator=";")

    panel, _ = read_panel(write(tmp_path / "d.csv", text.replace("\n", "\r\n")), SINGLE)
    old, _ = read_panel(write(tmp_path / "e.csv", single_csv(40).replace("\n", "\r")), SINGLE)

    assert (panel.frame.height, old.frame.height) == (40, 40)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda name: bool(name.strip())
)


@given(name=names, values=st.lists(st.integers(0, 10**9), min_size=28, max_size=40), separator=st.sampled_from(",;\t|"))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_quoted_name_and_number_survives_reading(tmp_path: Path, name: str, values: list[int], separator: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerow(["date", "item", "units"])
    writer.writerows([[FIRST + timedelta(days=index), name, value] for index, value in enumerate(values)])

    mapping = Mapping("long", "date", "units", ("item",), closed_days="keep")

    panel, _ = read_panel(write(tmp_path / "d.csv", out.getvalue()), mapping)

    assert panel.series["item"].to_list() == [name.strip()]
    assert panel.frame["target"].to_list() == [float(value) for value in values]


@given(data=st.binary(min_size=1, max_size=300))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused_and_nothing_else(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "d.csv").write_bytes(b"date,units\n" + data)

    assert refused(tmp_path / "d.csv", SINGLE).problems
