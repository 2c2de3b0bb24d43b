"""Mappings proposed from names and contents."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from engine.frames.mapping import Mapping
from engine.frames.problems import FrameError
from engine.frames.proposing import Proposal, propose
from engine.frames.reading import read_panel
from tests.engine.frames.samples import days, long_csv, order_lines, refused, shared_data, single_csv, write


def proposed(path: Path) -> Mapping:
    mapping = propose(path).mapping
    assert mapping is not None
    return mapping


def test_retail_panel_is_proposed_in_full() -> None:
    mapping = proposed(shared_data() / "retail_daily_sales.parquet")

    assert (mapping.shape, mapping.date, mapping.target, mapping.price) == ("long", "date", "units_sold", "sell_price")
    assert mapping.keys == ("store_id", "item_id")
    assert set(mapping.attributes) == {"dept_id", "cat_id", "state_id"}
    assert mapping.segments == ("dept_id", "store_id")
    assert (mapping.known, mapping.unpriced) == (("snap",), "not_offered")


@pytest.mark.parametrize(
    ("name", "day", "target", "known"),
    [
        ("bike_sharing_daily.csv", "dteday", "cnt", ("holiday", "workingday")),
        ("madrid_bikeshare_daily.csv", "date", "users", ()),
        ("uk_flights_daily.csv", "date", "flights", ()),
    ],
)
def test_single_series_are_proposed_without_keys(name: str, day: str, target: str, known: tuple[str, ...]) -> None:
    mapping = proposed(shared_data() / name)

    assert mapping == Mapping("long", day, target, known=known, date_format="%Y-%m-%d")


def test_columns_that_add_up_to_the_target_are_named_as_leaks() -> None:
    proposal = propose(shared_data() / "bike_sharing_daily.csv")

    assert [(problem.code, problem.examples) for problem in proposal.problems] == [("leaks_target", ("casual", "registered"))]


def test_hourly_file_is_proposed_to_be_summed() -> None:
    mapping = proposed(shared_data() / "bike_sharing_hourly.csv.gz")

    assert (mapping.shape, mapping.date, mapping.target, mapping.keys) == ("transactions", "dteday", "cnt", ())


def test_file_without_dates_has_no_proposal() -> None:
    proposal = propose(shared_data() / "adult_train.csv.gz")

    assert proposal.mapping is None
    assert [problem.code for problem in proposal.problems] == ["no_date_column"]


def test_order_lines_are_recognized(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", order_lines())

    mapping = proposed(path)

    assert (mapping.shape, mapping.date, mapping.target, mapping.price) == ("transactions", "InvoiceDate", "Quantity", "UnitPrice")
    assert (mapping.order, mapping.keys, mapping.date_format) == ("InvoiceNo", ("StockCode",), "%m/%d/%Y %H:%M")
    assert read_panel(path, mapping)[0].series.height == 4


@pytest.mark.parametrize("header", ["date,apple,apple_promo,pear,pear_promo", "date,apple,cherry,pear,fig"])
def test_wide_files_are_recognized(tmp_path: Path, header: str) -> None:
    rows = [f"{day},{index},0,{2 * index % 7},1" for index, day in enumerate(days(40))]

    mapping = proposed(write(tmp_path / "d.csv", "\n".join([header, *rows])))

    assert mapping.shape == "wide"
    assert mapping.promotion_suffix == ("_promo" if "promo" in header else None)
    assert mapping.items == (("apple", "pear") if "promo" in header else ("apple", "cherry", "pear", "fig"))


def test_proposed_long_mapping_reads_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", long_csv(40))

    mapping = proposed(path)

    assert (mapping.keys, mapping.target) == (("store", "item"), "units")
    assert read_panel(path, mapping)[0].series.height == 4


def test_numbered_stores_and_items_are_keys(tmp_path: Path) -> None:
    frame = pl.DataFrame({"date": [day for day in days(40) for _ in range(4)], "store_nbr": [1, 1, 2, 2] * 40, "family": ["a", "b"] * 80,
                          "sales": range(160), "onpromotion": [0, 1] * 80})  # fmt: skip
    frame.write_parquet(tmp_path / "d.parquet")

    mapping = proposed(tmp_path / "d.parquet")

    assert (mapping.keys, mapping.target, mapping.promotion) == (("store_nbr", "family"), "sales", "onpromotion")


@pytest.mark.parametrize("regions", [("NA", "EU"), ("NA", "none", "EU"), ("N", "NA")])
def test_a_place_may_be_called_na(tmp_path: Path, regions: tuple[str, ...]) -> None:
    rows = [f"{day},{region},{index}" for index, day in enumerate(days(40)) for region in regions]
    path = write(tmp_path / "d.csv", "\n".join(["date,region,units", *rows]))

    mapping = proposed(path)

    assert (mapping.shape, mapping.keys) == ("long", ("region",))
    assert read_panel(path, mapping)[0].series["region"].to_list() == sorted(regions)


def test_a_promotion_may_be_unknown(tmp_path: Path) -> None:
    rows = [f"{day},{index},{('yes', 'no', 'NA')[index % 3]}" for index, day in enumerate(days(40))]

    mapping = proposed(write(tmp_path / "d.csv", "\n".join(["date,units,promo", *rows])))

    assert (mapping.keys, mapping.promotion) == ((), "promo")


def test_decimal_comma_is_proposed(tmp_path: Path) -> None:
    rows = [f"{day.strftime('%d.%m.%Y')};{index},5" for index, day in enumerate(days(40))]

    mapping = proposed(write(tmp_path / "d.csv", "Datum;sales\n" + "\n".join(rows)))

    assert (mapping.date, mapping.decimal, mapping.date_format) == ("Datum", ",", "%d.%m.%Y")


def test_days_in_columns_are_told(tmp_path: Path) -> None:
    header = ",".join(["item", *[str(day) for day in days(30)]])

    proposal = propose(write(tmp_path / "d.csv", header + "\n" + ",".join(["ale", *["1"] * 30])))

    assert [problem.code for problem in proposal.problems] == ["dates_in_columns"]


def test_proposal_survives_json(tmp_path: Path) -> None:
    proposal = propose(write(tmp_path / "d.csv", single_csv(40)))

    assert Proposal.from_json(proposal.to_json()) == proposal
    assert [(column.name, column.kind, column.missing) for column in proposal.columns] == [("date", "date", 0), ("units", "number", 0)]
    assert proposal.preview[0] == ("2024-01-01", "1")


GOOD_ROWS = [f"{day},{shop},{item},{3 + number % 5}" for number, day in enumerate(days(100)) for shop in ("A", "B") for item in ("x", "y")]


@pytest.mark.parametrize(
    ("row", "code", "column", "example"),
    [
        ("32.13.2024,A,x,4", "unparsable_dates", "day", "row 9: 32.13.2024"),
        (f"{days(1)[0]},C,x,abc", "not_a_number", "units", "row 9: abc"),
        (GOOD_ROWS[8], "duplicate_days", None, "(2 rows)"),
    ],
)
def test_a_few_mistakes_hide_neither_the_mapping_nor_themselves(
    tmp_path: Path, row: str, code: str, column: str | None, example: str
) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(["day,shop,item,units", *GOOD_ROWS[:7], row, *GOOD_ROWS[7:]]))

    mapping = proposed(path)

    assert (mapping.shape, mapping.date, mapping.target, mapping.keys) == ("long", "day", "units", ("shop", "item"))
    with pytest.raises(FrameError) as refusal:
        read_panel(path, mapping)
    (problem,) = refusal.value.problems
    assert (problem.code, problem.column) == (code, column)
    assert example in problem.examples[0]


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("in_turn", [True, False])
def test_a_file_whose_every_row_is_copied_is_no_file_of_lines(tmp_path: Path, times: int, in_turn: bool) -> None:
    header, *rows = long_csv(40).splitlines()
    copied = [row for row in rows for _ in range(times)] if in_turn else rows * times
    path = write(tmp_path / "d.csv", "\n".join([header, *copied]))

    mapping = proposed(path)
    error = refused(path, mapping)

    assert (mapping.shape, mapping.keys) == ("long", ("store", "item"))
    assert [(problem.code, problem.rows, "copies" in problem.message) for problem in error.problems] == [
        ("duplicate_days", 160 * (times - 1), True)
    ]


def test_rows_of_a_day_that_differ_are_no_copies(tmp_path: Path) -> None:
    header, *rows = long_csv(40).splitlines()
    path = write(tmp_path / "d.csv", "\n".join([header, *rows, *[f"{row}5" for row in rows]]))

    mapping = proposed(path)
    error = refused(path, replace(mapping, shape="long"))

    assert (mapping.shape, "copies" in str(error)) == ("transactions", False)


def test_many_rows_of_a_day_are_lines_and_the_report_says_that_they_were_summed(tmp_path: Path) -> None:
    path = tmp_path / "lines.csv"
    path.write_text("\n".join(["day,shop,item,units", *GOOD_ROWS, *GOOD_ROWS[:40]]))

    mapping = proposed(path)
    _, report = read_panel(path, mapping)

    assert mapping.shape == "transactions"
    (told,) = [problem for problem in report.problems if problem.code == "several_rows_a_day"]
    assert (told.rows, told.examples[0]) == (80, f"{days(1)[0]} A x (2 rows)")


def dirty_rows() -> list[str]:
    """86 rows of one shop each, of which some are mistakes of every kind that one meets."""
    rows = [f"{day},{shop},{3 + index % 5},2.50" for index, day in enumerate(days(43)) for shop in ("A", "B")]
    for number in (10, 30, 50):
        rows[number] = (
            rows[number]
            .replace(",3,", ",abc,")
            .replace(",4,", ",abc,")
            .replace(",5,", ",abc,")
            .replace(",6,", ",abc,")
            .replace(",7,", ",abc,")
        )
    rows[20] = "2024-13-45,A,4,2.50"
    rows[40] = rows[40].replace(",A,", ",,")
    rows[61] = f"{days(43)[30]},B,-3,2.50"
    rows[71] = f"{days(43)[35]},B,4,much"
    return [*rows, rows[5]]


def test_one_upload_of_a_small_dirty_file_tells_every_mistake_with_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "\n".join(["date,store,units,price", *dirty_rows()]))

    mapping = proposed(path)

    assert (mapping.shape, mapping.date, mapping.target, mapping.price, mapping.keys) == ("long", "date", "units", "price", ("store",))
    with pytest.raises(FrameError) as refusal:
        read_panel(path, mapping)
    found = {(problem.code, problem.column): (problem.rows, problem.examples) for problem in refusal.value.problems}
    assert found == {
        ("unparsable_dates", "date"): (1, ("row 22: 2024-13-45",)),
        ("not_a_number", "units"): (3, ("row 12: abc", "row 32: abc", "row 52: abc")),
        ("not_a_number", "price"): (1, ("row 73: much",)),
        ("missing_key", "store"): (1, ("row 42: (empty)",)),
        ("negative_target", "units"): (1, ("row 63: -3",)),
        ("duplicate_days", None): (1, ("2024-01-03 B (2 rows)",)),
    }


def test_a_bad_cell_drops_no_item_of_a_wide_file_and_no_promotion(tmp_path: Path) -> None:
    wide = [f"{day},{index},{2 * index % 7},{index % 5}" for index, day in enumerate(days(40))]
    wide[9] = wide[9].replace(",9,", ",nine,")
    flags = [f"{day},{index},{'yes' if index % 2 else 'no'}" for index, day in enumerate(days(40))]
    flags[9] = flags[9].replace("yes", "perhaps")

    items = proposed(write(tmp_path / "w.csv", "\n".join(["date,apple,pear,fig", *wide]))).items
    promotion = proposed(write(tmp_path / "p.csv", "\n".join(["date,units,promotion", *flags]))).promotion

    assert (items, promotion) == (("apple", "pear", "fig"), "promotion")


def test_codes_of_things_stay_names_though_most_are_digits(tmp_path: Path) -> None:
    rows = [f"{day},{code},4" for day in days(40) for code in (*range(100, 119), "85123A")]

    mapping = proposed(write(tmp_path / "d.csv", "\n".join(["date,StockCode,units", *rows])))

    assert (mapping.shape, mapping.keys) == ("long", ("StockCode",))


def test_columns_refused_as_date_and_target_are_told_together_with_what_is_wrong_in_them(tmp_path: Path) -> None:
    rows = [f"{day if index % 3 else 'soon'},A,{index if index % 2 else 'abc'}" for index, day in enumerate(days(40))]

    proposal = propose(write(tmp_path / "d.csv", "\n".join(["date,store,units", *rows])))

    assert proposal.mapping is None
    told = {problem.code: problem for problem in proposal.problems}
    assert set(told) == {"unparsable_dates", "no_target_column"}
    assert (told["unparsable_dates"].rows, told["unparsable_dates"].examples[:2]) == (14, ("row 2: soon", "row 5: soon"))
    assert "14 of its 40 values" in told["unparsable_dates"].message
    assert (told["no_target_column"].column, told["no_target_column"].rows) == ("units", 20)
    assert told["no_target_column"].examples[:2] == ("row 2: abc", "row 4: abc")
