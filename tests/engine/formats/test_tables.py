"""Foreign tables are cut by a disposable child: what it leaves, and what is left when a file breaks it."""

import gzip
import hashlib
import os
import random
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.formats import tables
from engine.formats.child import Outcome
from engine.formats.tables import ChildLimits, cut_safely
from engine.formats.trial import UnsafeFile
from engine.frames.problems import FrameError
from engine.tabular.columns import PARTS
from engine.tabular.splitting import SplitPlan
from tests.engine.tabular.samples import CLASSIFICATION, REGRESSION, cut, parquet, table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the parts go."""
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder.parent / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_child_leaves_the_parts_that_this_process_would_have_made(tmp_path: Path, folder: Path) -> None:
    made = cut_safely(write(folder, table(200)), folder, REGRESSION)

    prepared, parts = cut(tmp_path, table(200))
    assert made.prepared == prepared
    assert {part: path.read_bytes() for part, path in made.files.items()} == parts
    assert {path.stat().st_mode & 0o777 for path in made.files.values()} == {0o600}
    assert made.peak_memory_bytes < 1 << 30


def test_a_file_that_cannot_be_used_leaves_no_part(folder: Path) -> None:
    with pytest.raises(FrameError, match="same target"):
        cut_safely(write(folder, "x,y\n" + "1,5\n" * 10), folder, REGRESSION)

    assert list(folder.iterdir()) == []


def test_a_tiny_file_of_long_values_ends_at_the_memory_limit(folder: Path) -> None:
    """Under 4 KB of Parquet that decode to 2 GB: one long text in a dictionary, said again and again."""
    path = folder.parent / "bomb.parquet"
    text = pa.array(["x" * 1_000_000])
    rows = pa.table({"y": pa.array([0, 1] * 1_000), "x": pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), text)})
    pq.write_table(rows, path, compression="zstd")
    limits = ChildLimits(memory_bytes=1 << 30)

    with pytest.raises((UnsafeFile, FrameError)) as caught:
        cut_safely(path, folder, SplitPlan("y", "classification"), limits=limits)

    assert path.stat().st_size < 4_000
    reason = caught.value.reason if isinstance(caught.value, UnsafeFile) else caught.value.codes[0]
    assert reason in ("memory", "decompression_bomb")
    assert list(folder.iterdir()) == []


def test_parts_larger_than_allowed_end_the_child(folder: Path) -> None:
    noise = "".join(hashlib.sha256(str(number).encode()).hexdigest() + f",{number % 50}\n" for number in range(3_000))

    with pytest.raises(UnsafeFile):
        cut_safely(write(folder, "x,y\n" + noise), folder, REGRESSION, limits=ChildLimits(output_bytes=20_000))

    assert list(folder.iterdir()) == []


def test_a_child_that_lies_about_its_parts_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, _ = cut(folder.parent, table())
    answer = {"prepared": prepared.to_json(), "confined": {}, "peak_memory_bytes": 1}

    def lying(script: Path, spec: dict[str, object], **_: object) -> Outcome:
        for part in PARTS:
            pl.DataFrame({"x": [1]}).write_parquet(folder / f"{part}.parquet")
        return Outcome(answer, "ok", "", 0.1)

    monkeypatch.setattr(tables, "run_child", lying)

    with pytest.raises(UnsafeFile, match="does not agree"):
        cut_safely(write(folder, table()), folder, REGRESSION)

    assert list(folder.iterdir()) == []


def test_a_folder_or_nothing_is_no_table(folder: Path) -> None:
    for source in (folder.parent, folder.parent / "nowhere"):
        with pytest.raises(FrameError) as caught:
            cut_safely(source, folder, REGRESSION)
        assert caught.value.codes == ("no_file",)


def test_a_larger_file_stays_small_in_memory(folder: Path) -> None:
    """150,000 rows × 12 columns."""
    frame = pl.DataFrame({f"x{number}": pl.int_range(150_000, eager=True).sin() * number for number in range(1, 12)})
    path = parquet(folder.parent, frame.with_columns(y=pl.Series([0, 1, 1]).extend_constant(0, 149_997)))

    made = cut_safely(path, folder, CLASSIFICATION)

    assert sum(made.prepared.parts.values()) == 150_000
    assert made.peak_memory_bytes < 700 << 20


MUTANTS = 2_000 if os.environ.get("TORTURE") == "1" else 2


@pytest.mark.parametrize("kind", ["parquet", "csv", "gzip"])
def test_mutated_files_are_cut_or_refused_and_never_leave_half_a_split(folder: Path, kind: str) -> None:
    """A mutant that still reads is a table like any other; all else is a readable refusal, whatever it does to the child."""
    chance = random.Random(kind)
    frame = pl.DataFrame({"x": range(200), "c": ["red", "blue"] * 100, "y": [number % 13 for number in range(200)]})
    whole = {"parquet": parquet(folder.parent, frame).read_bytes(), "csv": frame.write_csv().encode()}
    whole["gzip"] = gzip.compress(whole["csv"])
    outcomes = []
    for _ in range(MUTANTS):
        content = bytearray(whole[kind])
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        source = write(folder, bytes(content[: chance.choice([None, None, len(content) // 2])]))
        try:
            made = cut_safely(source, folder, REGRESSION, limits=ChildLimits(memory_bytes=2 << 30, wall_seconds=60, cpu_seconds=60))
        except (FrameError, UnsafeFile) as refusal:
            outcomes.append(str(refusal))
        else:
            outcomes.append("cut")
            for path in made.files.values():
                path.unlink()
        assert list(folder.iterdir()) == []
    assert len(outcomes) == MUTANTS
    assert all(outcomes)
