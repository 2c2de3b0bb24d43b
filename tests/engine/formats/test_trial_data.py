"""Foreign data files: a panel we wrote ourselves, or a refusal; bombs go off in the child only."""

import gzip
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from engine.formats import trial
from engine.formats.trial import DataLimits, UnsafeFile, canonicalize, propose_safely
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.problems import FrameError
from engine.frames.reading import read_panel
from engine.frames.storing import load_panel
from tests.engine.frames.samples import LONG, SINGLE, days, long_csv, shared_data, single_csv, write

SMALL = DataLimits(memory_bytes=1 << 30, cpu_seconds=20, wall_seconds=30.0)


def nothing_left(folder: Path, *expected: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(expected)


def test_canonical_file_holds_what_reading_in_place_gives(tmp_path: Path) -> None:
    source = write(tmp_path / "d.csv", long_csv(40))

    report = canonicalize(source, tmp_path / "panel.parquet", LONG)

    panel, told = read_panel(source, LONG)
    assert load_panel(tmp_path / "panel.parquet").frame.equals(panel.frame)
    assert report == told
    assert nothing_left(tmp_path, "d.csv", "panel.parquet")


def test_problems_cross_the_process_border_whole(tmp_path: Path) -> None:
    source = write(tmp_path / "d.csv", long_csv(40) + "soon,North,ale,5\n2024-02-20,North,ale,many\n")

    with pytest.raises(FrameError) as caught:
        canonicalize(source, tmp_path / "panel.parquet", LONG)

    assert caught.value.codes == ("unparsable_dates", "not_a_number")
    assert caught.value.problems[0].examples == ("row 162: soon",)
    assert nothing_left(tmp_path, "d.csv")


def test_failed_reading_leaves_the_former_panel_alone(tmp_path: Path) -> None:
    canonicalize(write(tmp_path / "d.csv", single_csv(40)), tmp_path / "panel.parquet", SINGLE)

    with pytest.raises(FrameError):
        canonicalize(write(tmp_path / "d.csv", "date,units\nx,y\n"), tmp_path / "panel.parquet", SINGLE)

    assert load_panel(tmp_path / "panel.parquet").frame.height == 40


def test_folder_is_read_by_descriptor(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder / "a.csv", single_csv(40))

    report = canonicalize(folder, tmp_path / "panel.parquet", SINGLE)

    assert report.series == 1


def test_proposal_comes_from_the_child(tmp_path: Path) -> None:
    proposal = propose_safely(write(tmp_path / "d.csv", long_csv(40)))

    assert proposal.mapping is not None
    assert proposal.mapping.keys == ("store", "item")


def test_retail_file_is_canonicalized_within_a_gigabyte(tmp_path: Path) -> None:
    mapping = Mapping(
        "long", "date", "units_sold", ("store_id", "item_id"), ("dept_id",), ("dept_id",), price="sell_price", unpriced="not_offered"
    )

    report = canonicalize(shared_data() / "retail_daily_sales.parquet", tmp_path / "panel.parquet", mapping, limits=SMALL)

    assert (report.series, report.panel_rows) == (280, 454_447)


def parquet_bomb(path: Path, rows: int) -> Path:
    """A few kilobytes that decode to gigabytes: one value, over and over."""
    small = pl.DataFrame({"date": [date(2024, 1, 1)], "units": [0], "store": ["x"]})
    small.select(pl.all().repeat_by(rows).explode()).write_parquet(path, row_group_size=rows)
    return path


def test_parquet_bomb_is_refused_in_the_child(tmp_path: Path) -> None:
    bomb = parquet_bomb(tmp_path / "bomb.parquet", 12_000_000)
    tight = DataLimits(memory_bytes=560 << 20, cpu_seconds=20, wall_seconds=30.0)

    with pytest.raises(UnsafeFile) as caught:
        canonicalize(bomb, tmp_path / "panel.parquet", Mapping("long", "date", "units", ("store",)), limits=tight)

    assert bomb.stat().st_size < 200_000
    assert caught.value.reason == "memory"
    assert nothing_left(tmp_path, "bomb.parquet")


def test_too_many_rows_are_refused_by_count(tmp_path: Path) -> None:
    bomb = parquet_bomb(tmp_path / "bomb.parquet", 200_000)

    with pytest.raises(FrameError) as caught:
        canonicalize(bomb, tmp_path / "p", SINGLE, limits=DataLimits(read=ReadLimits(max_rows=100_000)))

    assert caught.value.codes == ("too_many_rows",)


def test_gzip_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"date,units\n" + b"0" * (64 << 20)))

    with pytest.raises(FrameError) as caught:
        propose_safely(tmp_path / "d.csv.gz", limits=DataLimits(read=ReadLimits(max_text_bytes=8 << 20)))

    assert caught.value.codes == ("too_large",)


def test_ten_thousand_columns_are_refused(tmp_path: Path) -> None:
    header = ",".join(["date", *[f"item{index}" for index in range(10_000)]])
    rows = [",".join([str(day), *["1"] * 10_000]) for day in days(30)]

    with pytest.raises(FrameError) as caught:
        canonicalize(write(tmp_path / "d.csv", "\n".join([header, *rows])), tmp_path / "p", Mapping("wide", "date"))

    assert caught.value.codes == ("too_many_columns",)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    dtype: pl.DataType = pl.Int64()
    for _ in range(60):
        dtype = pl.List(dtype)
    pl.DataFrame({"date": ["2024-01-01"], "units": pl.Series([None], dtype=dtype)}).write_parquet(tmp_path / "deep.parquet")

    with pytest.raises(FrameError) as caught:
        propose_safely(tmp_path / "deep.parquet")

    assert caught.value.codes == ("too_nested",)


@pytest.mark.parametrize("text", ["", "date,units\n", "date,units\n2024-01-01,3\n", "{}", "\n\n\n", "date,units\n" + "," * 5000])
def test_tiny_and_empty_files_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FrameError):
        canonicalize(write(tmp_path / "d.csv", text), tmp_path / "p", SINGLE)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.6, 0.8, 0.98])
def test_damaged_parquet_is_read_or_refused(tmp_path: Path, share: float) -> None:
    source = tmp_path / "good.parquet"
    pl.DataFrame({"date": days(400), "units": range(400)}).write_parquet(source)
    data = source.read_bytes()
    place = int(len(data) * share)
    (tmp_path / "bad.parquet").write_bytes(data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :])

    end = reading_end(tmp_path / "bad.parquet", tmp_path / "panel.parquet")

    assert (end == "read") == (tmp_path / "panel.parquet").exists()


def reading_end(source: Path, destination: Path) -> str:
    try:
        canonicalize(source, destination, SINGLE, limits=SMALL)
    except (FrameError, UnsafeFile) as error:
        return str(error)
    return "read"


def test_output_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile):
        canonicalize(write(tmp_path / "d.csv", long_csv(40)), tmp_path / "p", LONG, limits=DataLimits(output_bytes=1_000))

    assert nothing_left(tmp_path, "d.csv")


def test_slow_reading_ends_at_the_wall_limit(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile) as caught:
        canonicalize(write(tmp_path / "d.csv", long_csv(40)), tmp_path / "p", LONG, limits=DataLimits(wall_seconds=0.01))

    assert caught.value.reason == "timed_out"


def test_absent_file_and_device_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", Path("/dev/null")):
        with pytest.raises(FrameError) as caught:
            propose_safely(path)
        assert caught.value.codes == ("no_file",)


def test_childs_word_alone_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = canonicalize(write(tmp_path / "d.csv", single_csv(40)), tmp_path / "panel.parquet", SINGLE)
    monkeypatch.setattr(trial, "_read_in_child", lambda *args, **kwargs: {"report": report.to_json()})

    with pytest.raises(UnsafeFile):
        canonicalize(tmp_path / "d.csv", tmp_path / "other.parquet", SINGLE)

    assert not (tmp_path / "other.parquet").exists()
