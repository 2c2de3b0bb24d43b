"""Long panels: what is read, what is refused and how it is told."""

from dataclasses import replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.problems import FrameError, Report
from engine.frames.proposing import propose
from engine.frames.reading import read_panel
from tests.engine.frames.samples import LONG, SINGLE, days, long_csv, refused, single_csv, write


def with_lines(text: str, *lines: str) -> str:
    return text + "\n".join(lines) + "\n"


def test_long_file_becomes_one_row_per_series_and_day(tmp_path: Path) -> None:
    panel, report = read_panel(write(tmp_path / "d.csv", long_csv(40)), LONG)

    assert panel.frame.height == 160
    assert panel.series.rows() == [(0, "North", "ale"), (1, "North", "bun"), (2, "South", "ale"), (3, "South", "bun")]
    assert panel.frame.select("series", "date").rows() == sorted(panel.frame.select("series", "date").rows())
    assert (report.rows_read, report.rows_kept, report.series, report.days) == (160, 160, 4, 40)


def test_file_without_keys_is_a_single_series(tmp_path: Path) -> None:
    panel, _ = read_panel(write(tmp_path / "d.csv", single_csv(40)), SINGLE)

    assert panel.series.to_dict(as_series=False) == {"series": [0]}
    assert panel.frame["target"].to_list() == [float(value) for value in range(1, 41)]
    assert panel.frame.columns == ["series", "date", "target", "closed"]


@pytest.mark.parametrize(("missing_days", "expected"), [("zero", 0.0), ("unknown", None)])
def test_missing_days_mean_what_the_mapping_says(tmp_path: Path, missing_days: str, expected: float | None) -> None:
    lines = single_csv(40).splitlines()
    del lines[10]

    panel, report = read_panel(
        write(tmp_path / "d.csv", "\n".join(lines)), Mapping.from_json({**SINGLE.to_json(), "missing_days": missing_days})
    )

    assert panel.frame.filter(pl.col("date") == date(2024, 1, 10))["target"].to_list() == [expected]
    assert (report.rows_read, report.panel_rows) == (39, 40)


@pytest.mark.parametrize("missing_days", ["zero", "unknown"])
@pytest.mark.parametrize("apart", [2, 7, 30])
def test_days_between_dates_that_are_not_daily_are_told(tmp_path: Path, missing_days: Literal["zero", "unknown"], apart: int) -> None:
    rows = [f"{day},{item},5" for item in "AB" for day in days(40 * apart)[::apart]]
    mapping = Mapping("long", "date", "units", ("item",), missing_days=missing_days, closed_days="keep")

    _, report = read_panel(write(tmp_path / "d.csv", "date,item,units\n" + "\n".join(rows)), mapping)

    (told,) = [problem for problem in report.problems if problem.code == "not_daily"]
    assert told.rows == report.filled_days == 2 * 39 * (apart - 1)
    assert (f"{apart} days apart" in told.message, f"{told.rows} days" in told.message, missing_days in told.message) == (True, True, True)


@pytest.mark.parametrize("weekdays", [range(7), range(5)])
def test_daily_dates_with_gaps_are_not_told(tmp_path: Path, weekdays: range) -> None:
    rows = [f"{day},{item},5" for item in "AB" for day in days(120) if day.weekday() in weekdays and (item == "A" or day.day % 3)]

    _, report = read_panel(
        write(tmp_path / "d.csv", "date,item,units\n" + "\n".join(rows)), Mapping("long", "date", "units", ("item",), closed_days="keep")
    )

    assert (report.filled_days > 0, [problem.code for problem in report.problems if problem.code == "not_daily"]) == (True, [])


def test_series_that_ends_early_is_filled_to_the_panels_last_day(tmp_path: Path) -> None:
    rows = [f"{day},A,5" for day in days(40)] + [f"{day},B,5" for day in days(20)]

    panel, _ = read_panel(write(tmp_path / "d.csv", "date,item,units\n" + "\n".join(rows)), Mapping("long", "date", "units", ("item",)))

    assert panel.frame.filter(pl.col("series") == 1)["target"].to_list() == [5.0] * 20 + [0.0] * 20


@pytest.mark.parametrize("missing_days", ["zero", "unknown"])
@pytest.mark.parametrize(
    ("without", "filled"), [((), 0), (("2024-01-10,North,ale",), 1), (("2024-01-10,North,ale", "2024-01-12,South,bun"), 2)]
)
def test_days_of_a_series_without_a_row_are_counted(tmp_path: Path, missing_days: str, without: tuple[str, ...], filled: int) -> None:
    lines = [line for line in long_csv(40).splitlines() if not line.startswith(without or ("none",))]

    _, report = read_panel(write(tmp_path / "d.csv", "\n".join(lines)), replace(LONG, missing_days=missing_days))

    assert report.filled_days == filled
    assert Report.from_json(report.to_json()) == report


def test_days_on_which_a_place_is_always_shut_are_not_filled(tmp_path: Path) -> None:
    header, *lines = long_csv(120).splitlines()
    open_days = [line for line in lines if "North" not in line or date.fromisoformat(line[:10]).weekday() != 6]

    panel, report = read_panel(write(tmp_path / "d.csv", "\n".join([header, *open_days])), LONG)

    assert (report.filled_days, panel.frame["closed"].sum()) == (0, len(lines) - len(open_days))


def test_blank_target_in_a_given_row_is_unknown(tmp_path: Path) -> None:
    text = single_csv(40).replace("2024-01-05,5\n", "2024-01-05,\n").replace("2024-01-06,6\n", "2024-01-06,NaN\n")

    panel, _ = read_panel(write(tmp_path / "d.csv", text), SINGLE)

    assert panel.frame["target"].to_list()[3:7] == [4.0, None, None, 7.0]


def test_item_without_price_and_sales_was_not_offered(tmp_path: Path) -> None:
    rows = [f"{day},{index % 3},{'' if index % 3 == 0 else 2.5}" for index, day in enumerate(days(40))]
    mapping = Mapping("long", "date", "units", price="price", unpriced="not_offered")

    panel, report = read_panel(write(tmp_path / "d.csv", "date,units,price\n" + "\n".join(rows)), mapping)

    assert panel.frame["target"].to_list()[:5] == [1.0, 2.0, None, 1.0, 2.0]
    assert report.left_out == {"before_first_target": 1, "after_last_target": 1}


def test_every_problem_is_reported_at_once_with_rows_and_examples(tmp_path: Path) -> None:
    text = with_lines(long_csv(40), "soon,North,ale,5", "2024-02-20,North,ale,many", "2024-02-21,North,ale,-4", "2024-02-22,,ale,4",
                      "2024-02-23,North,ale,inf", "2924-02-23,North,ale,3", "2024-01-01,North,ale,4")  # fmt: skip

    error = refused(write(tmp_path / "d.csv", text), LONG)

    found = {problem.code: problem for problem in error.problems}
    assert set(found) == {"unparsable_dates", "not_a_number", "negative_target", "missing_key", "not_finite", "implausible_dates",
                          "duplicate_days"}  # fmt: skip
    assert found["duplicate_days"].examples == ("2024-01-01 North ale (2 rows)",)
    assert found["unparsable_dates"].examples == ("row 162: soon",)
    assert found["not_a_number"].examples == ("row 163: many",)
    assert found["negative_target"].rows == 1
    assert found["missing_key"].column == "store"


@pytest.mark.parametrize("number", ["1e308", "1e300", "-2e15", "1000000000000001"])
@pytest.mark.parametrize("column", ["units", "price"])
def test_numbers_beyond_what_anything_counts_are_refused_with_their_rows(tmp_path: Path, number: str, column: str) -> None:
    rows = [{"date": str(day), "units": "1e15", "price": "2.5"} for day in days(40)]
    rows[4][column] = number
    pl.DataFrame(rows).write_csv(tmp_path / "d.csv")

    error = refused(tmp_path / "d.csv", replace(SINGLE, price="price", negatives="zero"))

    found = next(problem for problem in error.problems if problem.code == "implausible_numbers")
    assert (found.column, found.rows, found.examples) == (column, 1, (f"row 6: {number}",))


def test_numbers_beyond_what_anything_counts_are_refused_in_wide_files(tmp_path: Path) -> None:
    rows = [f"{day},3,{'1e308' if index == 4 else 5}" for index, day in enumerate(days(40))]

    error = refused(write(tmp_path / "d.csv", "date,ale,bun\n" + "\n".join(rows)), Mapping("wide", "date"))

    assert [(problem.code, problem.column, problem.examples) for problem in error.problems] == [
        ("implausible_numbers", "bun", ("row 6: 1e308",))
    ]


def test_one_of_a_kind_is_told_in_the_singular_and_sentences_end_once(tmp_path: Path) -> None:
    bad = ("soon,North,ale,5", "2024-02-20,North,ale,many", "2024-02-21,North,ale,-4", "2024-02-22,,ale,4", "2024-01-01,North,ale,4")

    told = str(refused(write(tmp_path / "d.csv", with_lines(long_csv(40), *bad)), LONG))

    assert told == (
        "1 value of 'date' is no date. 1 value of 'units' is no number. 1 value of 'units' is negative. If they are returns, say whether "
        "such days count as zero or unknown. 1 row has no 'store'. 1 day of a series has more than one row. Add the missing key column, "
        "or choose to sum them (shape “transactions” for order lines)."
    )


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "d.csv", "date,Units,b\n2024-01-01,1,2\n"), LONG)

    assert [(problem.code, problem.column) for problem in error.problems] == [
        ("missing_column", "units"), ("missing_column", "store"), ("missing_column", "item"),
    ]  # fmt: skip
    assert "Did you mean 'Units'?" in str(error)


def test_two_rows_of_a_series_and_day_are_refused_or_summed(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", with_lines(long_csv(40), "2024-01-01,North,ale,4"))

    error = refused(path, LONG)
    panel, _ = read_panel(path, Mapping.from_json({**LONG.to_json(), "duplicates": "sum"}))

    assert error.codes == ("duplicate_days",)
    assert error.problems[0].examples == ("2024-01-01 North ale (2 rows)",)
    assert panel.frame["target"][0] == 15.0


@pytest.mark.parametrize(("negatives", "expected"), [("zero", 0.0), ("unknown", None)])
def test_negative_targets_are_taken_as_the_mapping_says(tmp_path: Path, negatives: str, expected: float | None) -> None:
    path = write(tmp_path / "d.csv", single_csv(40).replace("2024-01-05,5\n", "2024-01-05,-5\n"))

    panel, report = read_panel(path, Mapping.from_json({**SINGLE.to_json(), "negatives": negatives}))

    assert panel.frame["target"][4] == expected
    assert "negative_target" in {problem.code for problem in report.problems}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("%d.%m.%Y", "%d.%m.%Y"),
        ("%m/%d/%Y", "%m/%d/%Y"),
        ("%Y%m%d", "%Y%m%d"),
        ("%d %b %Y", "%d %b %Y"),
        ("%Y-%m-%dT00:00:00Z", "%Y-%m-%dT%H:%M:%SZ"),
    ],
)
def test_date_format_is_found(tmp_path: Path, pattern: str, found: str) -> None:
    panel, report = read_panel(write(tmp_path / "d.csv", single_csv(40, pattern=pattern)), SINGLE)

    assert panel.last_day == days(40)[-1]
    assert report.source["date_format"] == found


@pytest.mark.parametrize("clock", ["%Y-%m-%d 00:00:00{}", "%Y-%m-%dT00:00:00{}", "%Y-%m-%d 23:30:00.5{}", "%Y-%m-%dT23:30{}"])
@pytest.mark.parametrize("offset", ["+00:00", "+02:00", "-0500", "+00", "-05"])
def test_dates_with_an_offset_count_as_they_are_written(tmp_path: Path, clock: str, offset: str) -> None:
    path = write(tmp_path / "d.csv", single_csv(40, pattern=clock.format(offset)))
    mapping = propose(path).mapping
    assert mapping is not None

    found, told = read_panel(path, SINGLE)[0], read_panel(path, mapping)[0]

    assert found.frame.select("date", "target").rows() == [(day, float(number)) for number, day in enumerate(days(40), start=1)]
    assert told.frame.equals(found.frame)


def test_offsets_may_change_with_the_season_and_be_zero(tmp_path: Path) -> None:
    wanted = days(60, date(2024, 3, 1))
    offsets = ["+01:00" if day < date(2024, 3, 31) else "Z" if day.day == 1 else "+02:00" for day in wanted]
    rows = [f"{day}T00:30:00{offset},3" for day, offset in zip(wanted, offsets, strict=True)]

    panel, _ = read_panel(write(tmp_path / "d.csv", "date,units\n" + "\n".join(rows)), SINGLE)

    assert (panel.frame["date"].to_list(), panel.frame["target"].unique().to_list()) == (wanted, [3.0])


def test_dates_that_fit_two_formats_are_read_without_gaps_and_told(tmp_path: Path) -> None:
    rows = [f"{day.strftime('%m/%d/%Y')},3" for day in days(12)] + [f"{day.strftime('%m/%d/%Y')},3" for day in days(12, date(2024, 2, 1))]

    panel, report = read_panel(write(tmp_path / "d.csv", "date,units\n" + "\n".join(rows)), SINGLE)

    assert (panel.first_day, panel.last_day) == (date(2024, 1, 1), date(2024, 2, 12))
    assert "ambiguous_dates" in {problem.code for problem in report.problems}


def test_mixed_date_formats_are_refused_with_rows(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "d.csv", with_lines(single_csv(40), "25.03.2024,3")), SINGLE)

    assert error.codes == ("mixed_date_formats",)
    assert error.problems[0].examples == ("row 42: 25.03.2024",)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty_file"),
        ("date,units\n", "no_rows"),
        ("date\n2024-01-01\n", "one_column"),
        ("date,units,units\n2024-01-01,1,2\n", "duplicate_columns"),
        ("1,2\n3,4\n", "no_header"),
        ('date,units\n2024-01-01,"1\n2024-01-02,2\n', "unbalanced_quotes"),
        ("date,units\n2024-01-01,1\n2024-01-02,1,5\n", "malformed_csv"),
        (single_csv(10), "too_few_days"),
        ("date,units\n2024-01-01,\n2024-01-02,\n", "no_target"),
        ("date,units\n\0\0,1\n", "binary_file"),
    ],
)
def test_unusable_files_are_refused_with_a_code(tmp_path: Path, text: str, code: str) -> None:
    assert code in refused(write(tmp_path / "d.csv", text), SINGLE).codes


def test_blank_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    _, report = read_panel(write(tmp_path / "d.csv", single_csv(40) + ",\n,\n"), SINGLE)

    assert report.left_out == {"blank": 2}


def test_parquet_with_typed_columns_and_flags_is_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"date": days(40), "units": range(40), "promo": [index % 2 == 0 for index in range(40)], "store": [7] * 40})
    frame.write_parquet(tmp_path / "d.parquet")

    panel, report = read_panel(tmp_path / "d.parquet", Mapping("long", "date", "units", ("store",), promotion="promo"))

    assert panel.frame["promotion"].to_list()[:3] == [1.0, 0.0, 1.0]
    assert panel.series["store"].to_list() == ["7"]
    assert report.source["format"] == "parquet"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("hour", [0, 21])
def test_moments_of_a_zone_count_for_the_day_that_its_clocks_show(tmp_path: Path, zone: str, hour: int) -> None:
    wanted = days(60, date(2024, 3, 1))  # clocks change in New York on the 10th and in Berlin on the 31st
    moments = pl.Series([datetime.combine(day, time(hour)) for day in wanted]).dt.replace_time_zone(zone)
    pl.DataFrame({"date": moments, "units": range(1, 61)}).write_parquet(tmp_path / "d.parquet")

    panel, _ = read_panel(tmp_path / "d.parquet", SINGLE)

    assert panel.frame.select("date", "target").rows() == [(day, float(number)) for number, day in enumerate(wanted, start=1)]


def test_nested_parquet_column_cannot_be_mapped(tmp_path: Path) -> None:
    pl.DataFrame({"date": days(40), "units": [[1]] * 40}).write_parquet(tmp_path / "d.parquet")

    assert refused(tmp_path / "d.parquet", SINGLE).codes == ("wrong_type",)


def test_folder_is_read_as_one_file(tmp_path: Path) -> None:
    text = single_csv(60).splitlines()
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder / "a.csv", "\n".join(text[:31]))
    write(folder / "b.csv", "\n".join([text[0], *text[31:]]))

    panel, report = read_panel(folder, SINGLE)

    assert panel.frame.height == 60
    assert report.source["files"] == 2


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_files_of_a_folder_may_order_their_columns_each_in_its_own_way(tmp_path: Path, form: str) -> None:
    whole = pl.read_csv(write(tmp_path / "whole.csv", long_csv(60)))
    folder = tmp_path / "parts"
    folder.mkdir()
    parts = [whole[:100], whole[100:].select("units", "item", "date", "store")]
    for name, part in zip("ab", parts, strict=True):
        part.write_csv(folder / f"{name}.csv") if form == "csv" else part.write_parquet(folder / f"{name}.parquet")

    found, _ = read_panel(folder, LONG)

    assert found.frame.equals(read_panel(tmp_path / "whole.csv", LONG)[0].frame)


def test_folder_of_unlike_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", single_csv(40))
    write(tmp_path / "b.csv", single_csv(40, header="date,other"))

    assert refused(tmp_path, SINGLE).codes == ("different_columns",)


def test_folder_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link.csv").symlink_to(write(tmp_path / "secret.csv", single_csv(40)))

    assert refused(tmp_path / "d", SINGLE).codes == ("empty_folder",)


def test_attribute_that_changes_is_told(tmp_path: Path) -> None:
    rows = [f"{day},A,{'x' if index < 20 else 'y'},5" for index, day in enumerate(days(40))]
    mapping = Mapping("long", "date", "units", ("item",), ("color",), ("color",))

    panel, report = read_panel(write(tmp_path / "d.csv", "date,item,color,units\n" + "\n".join(rows)), mapping)

    assert panel.series["color"].to_list() == ["y"]
    assert "attribute_varies" in {problem.code for problem in report.problems}


def test_one_wrong_year_does_not_multiply_the_panel(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", with_lines(long_csv(40), "1951-01-01,North,ale,4"))

    with pytest.raises(FrameError) as caught:
        read_panel(path, LONG, limits=ReadLimits(max_panel_rows=10_000))

    assert caught.value.codes == ("too_many_days",)


def test_key_called_series_keeps_its_content_under_another_name(tmp_path: Path) -> None:
    rows = [f"{day},tea,5" for day in days(40)]

    panel, _ = read_panel(
        write(tmp_path / "d.csv", "date,series,units\n" + "\n".join(rows)), Mapping("long", "date", "units", ("series",), (), ("series",))
    )

    assert (panel.keys, panel.segments) == (("series_name",), ("series_name",))
    assert panel.series["series_name"].to_list() == ["tea"]
