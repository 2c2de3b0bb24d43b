"""Tables as files, and what becomes of them."""

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.frames.problems import FrameError, FrameProblem
from engine.tabular.columns import PARTS, PartName
from engine.tabular.preparing import Prepared, prepare
from engine.tabular.splitting import SplitPlan

REGRESSION = SplitPlan("y", "regression", seed=7)
CLASSIFICATION = SplitPlan("y", "classification", seed=7)


def cut(folder: Path, content: bytes | str | Path, plan: SplitPlan = REGRESSION, **options: Any) -> tuple[Prepared, dict[PartName, bytes]]:
    """Prepare a file in this process; the report, and the bytes of the parts."""
    path = content if isinstance(content, Path) else folder / "table"
    if not isinstance(content, Path):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    streams = {part: io.BytesIO() for part in PARTS}
    prepared = prepare(path, plan, streams, **options)
    return prepared, {part: stream.getvalue() for part, stream in streams.items()}


def frames(parts: dict[PartName, bytes]) -> dict[PartName, pl.DataFrame]:
    """The parts, read as anybody would read them."""
    return {part: pl.read_parquet(content) for part, content in parts.items()}


def problems(folder: Path, content: bytes | str | Path, plan: SplitPlan = REGRESSION, **options: Any) -> tuple[FrameProblem, ...]:
    """The errors that a file ends with."""
    with pytest.raises(FrameError) as caught:
        cut(folder, content, plan, **options)
    return tuple(problem for problem in caught.value.problems if problem.severity == "error")


def codes(folder: Path, content: bytes | str | Path, plan: SplitPlan = REGRESSION, **options: Any) -> list[str]:
    """Codes of the errors that a file ends with."""
    return [problem.code for problem in problems(folder, content, plan, **options)]


def at(text: str) -> datetime:
    """A moment as canonical tables hold it: without a zone."""
    return datetime.fromisoformat(text)


def table(rows: int = 40) -> str:
    """A regression of two features."""
    return "x,color,y\n" + "".join(f"{number * 7 % 23}.5,{'red' if number % 3 else 'blue'},{number * 11 % 31}\n" for number in range(rows))


def parquet(folder: Path, frame: pl.DataFrame, name: str = "table.parquet") -> Path:
    """The frame as a file."""
    frame.write_parquet(folder / name)
    return folder / name
