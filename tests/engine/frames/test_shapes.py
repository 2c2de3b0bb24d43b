"""Wide files and order lines."""

from datetime import date
from pathlib import Path

import polars as pl

from engine.frames.mapping import Mapping
from engine.frames.reading import read_panel
from tests.engine.frames.samples import days, order_lines, refused, write

ORDERS = Mapping("transactions", "InvoiceDate", "Quantity", ("StockCode",), price="UnitPrice", order="InvoiceNo")


def wide_csv(count: int = 40) -> str:
    rows = [f"{day},{index},{index % 2},{2 * index}" for index, day in enumerate(days(count))]
    return "\n".join(["date,A,A_promo,B", *rows]) + "\n"


def test_wide_columns_become_items_with_their_promotions(tmp_path: Path) -> None:
    mapping = Mapping("wide", "date", promotion_suffix="_promo", segments=("item",))

    panel, report = read_panel(write(tmp_path / "d.csv", wide_csv()), mapping)

    assert panel.keys == ("item",)
    assert panel.series.rows() == [(0, "A"), (1, "B")]
    first, second = panel.frame.partition_by("series")
    assert (first["target"][3], first["promotion"][3]) == (3.0, 1.0)
    assert (second["target"][3], second["promotion"][3]) == (6.0, None)
    assert (report.rows_read, report.panel_rows) == (40, 80)


def test_wide_blank_cells_are_missing_days_and_launches(tmp_path: Path) -> None:
    rows = [f"{day},5,{'' if index < 10 or index == 20 else 7}" for index, day in enumerate(days(40))]

    panel, _ = read_panel(write(tmp_path / "d.csv", "date,A,B\n" + "\n".join(rows)), Mapping("wide", "date"))

    late = panel.frame.filter(pl.col("series") == 1)
    assert (late.height, late["date"].min()) == (30, days(40)[10])
    assert late["target"][10] == 0.0


def test_wide_problems_name_the_item_column(tmp_path: Path) -> None:
    text = wide_csv().replace("2024-01-05,4,0,8", "2024-01-05,-4,0,eight")

    error = refused(write(tmp_path / "d.csv", text), Mapping("wide", "date", items=("A", "B")))

    assert {(problem.code, problem.column) for problem in error.problems} == {("negative_target", "A"), ("not_a_number", "B")}


def test_wide_file_with_a_store_column_has_two_keys(tmp_path: Path) -> None:
    rows = [f"{day},{store},5,7" for day in days(40) for store in ("North", "South")]

    panel, _ = read_panel(write(tmp_path / "d.csv", "date,store,A,B\n" + "\n".join(rows)), Mapping("wide", "date", keys=("store",)))

    assert panel.keys == ("store", "item")
    assert panel.series.height == 4


def test_order_lines_are_summed_per_day_at_the_average_price(tmp_path: Path) -> None:
    lines = [f"{n},A,{quantity},{day} 10:0{n},{price}" for day in days(40) for n, (quantity, price) in enumerate([(1, 4.0), (3, 2.0)])]

    panel, report = read_panel(write(tmp_path / "d.csv", "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice\n" + "\n".join(lines)), ORDERS)

    assert panel.frame.select("target", "price").row(0) == (4.0, 2.5)
    assert (report.rows_read, report.panel_rows) == (80, 40)


def test_cancellations_returns_and_unusable_lines_are_left_out_and_told(tmp_path: Path) -> None:
    _, report = read_panel(write(tmp_path / "d.csv", order_lines()), ORDERS)

    assert report.left_out == {"cancelled": 1, "returned": 1, "no_item": 1, "no_price": 1}
    assert report.rows_read == report.rows_kept + 4
    assert {problem.code for problem in report.problems} >= {
        "left_out_cancelled",
        "left_out_returned",
        "left_out_no_item",
        "left_out_no_price",
    }


def test_days_without_any_order_are_closed_not_zero(tmp_path: Path) -> None:
    panel, _ = read_panel(write(tmp_path / "d.csv", order_lines()), ORDERS)

    saturdays = panel.frame.filter(pl.col("date").dt.weekday() == 6)
    assert saturdays.height >= 4 * 8
    assert saturdays["closed"].all()
    assert saturdays["target"].null_count() == saturdays.height
    assert not panel.frame.filter(pl.col("date").dt.weekday() != 6)["closed"].any()


def test_item_without_orders_on_an_open_day_sold_zero(tmp_path: Path) -> None:
    text = "\n".join(line for line in order_lines().splitlines() if not (",22423," in line and "1/10/2024" in line))

    panel, _ = read_panel(write(tmp_path / "d.csv", text), ORDERS)

    item = panel.series.filter(pl.col("StockCode") == "22423")["series"].item()
    row = panel.frame.filter((pl.col("series") == item) & (pl.col("date") == date(2024, 1, 10)))
    assert row.select("target", "price", "closed").rows() == [(0.0, 2.55, False)]
