"""The canonical panel file."""

from pathlib import Path

import polars as pl
import pytest

from engine.frames.mapping import Mapping
from engine.frames.panel import COLUMNS, REQUIRED, Panel
from engine.frames.reading import read_panel
from engine.frames.storing import PanelFileError, load_panel, panel_facts, write_panel
from tests.engine.frames.samples import LONG, SINGLE, days, long_csv, single_csv, write


def stored(panel: Panel, mapping: Mapping, path: Path) -> Path:
    with path.open("wb") as stream:
        write_panel(panel, mapping, stream)
    return path


def test_panel_survives_its_file(tmp_path: Path) -> None:
    rows = [f"{day},A,x,{index},1" for index, day in enumerate(days(40))] + [f"{day},B,,3,0" for day in days(30, days(11)[-1])]
    mapping = Mapping("long", "date", "units", ("item",), ("dept",), ("dept",), known=("snap",))
    panel, report = read_panel(write(tmp_path / "d.csv", "date,item,dept,units,snap\n" + "\n".join(rows)), mapping)

    path = stored(panel, mapping, tmp_path / "panel.parquet")
    loaded, facts = load_panel(path), panel_facts(path)

    assert loaded.frame.equals(panel.frame)
    assert loaded.series.equals(panel.series)
    assert (loaded.keys, loaded.segments, loaded.known) == (panel.keys, panel.segments, panel.known)
    assert (facts.mapping, facts.rows, facts.attributes, facts.last_day) == (mapping, report.panel_rows, ("dept",), report.last_day)


def test_panel_without_keys_survives_its_file(tmp_path: Path) -> None:
    panel, _ = read_panel(write(tmp_path / "d.csv", single_csv(40)), SINGLE)

    loaded = load_panel(stored(panel, SINGLE, tmp_path / "panel.parquet"))

    assert loaded.frame.equals(panel.frame)
    assert loaded.series.equals(panel.series)


def test_a_file_has_every_column_and_a_panel_those_with_something_in_them(tmp_path: Path) -> None:
    priced = Mapping("long", "date", "units", price="price")
    rows = [f"{day},1,{2.5 if index == 7 else ''}" for index, day in enumerate(days(40))]
    panel, _ = read_panel(write(tmp_path / "d.csv", "date,units,price\n" + "\n".join(rows)), priced)

    path = stored(panel, priced, tmp_path / "panel.parquet")

    assert dict(pl.read_parquet_schema(path)) == COLUMNS
    assert pl.read_parquet(path)["stock"].null_count() == 40
    assert load_panel(path).frame.columns == [*REQUIRED, "price"]
    assert load_panel(path).frame.equals(panel.frame)


def test_panel_file_is_ordinary_parquet(tmp_path: Path) -> None:
    panel, _ = read_panel(write(tmp_path / "d.csv", long_csv(40)), LONG)

    plain = pl.read_parquet(stored(panel, LONG, tmp_path / "panel.parquet"))

    assert plain.filter(pl.col("key.store").cast(pl.String) == "South").height == 80


def test_other_files_are_no_panel_files(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "foreign.parquet")
    write(tmp_path / "text.parquet", "date,units\n")

    for name in ("foreign.parquet", "text.parquet", "absent.parquet"):
        with pytest.raises(PanelFileError):
            load_panel(tmp_path / name)


def test_real_retail_panel_knows_closed_and_unoffered_days() -> None:
    from tests.engine.frames.samples import shared_data

    mapping = Mapping(
        "long", "date", "units_sold", ("store_id", "item_id"), ("dept_id",), ("dept_id",), price="sell_price", unpriced="not_offered"
    )

    panel, report = read_panel(shared_data() / "retail_daily_sales.parquet", mapping)

    christmas = panel.frame.filter((pl.col("date").dt.month() == 12) & (pl.col("date").dt.day() == 25))
    assert christmas["closed"].all()
    assert report.closed_days == 50
    assert (report.rows_read, report.left_out) == (535_640, {"before_first_target": 81_193})
    assert panel.frame["closed"].sum() == christmas.height
