"""Have a foreign table cut into parts by a disposable child. The only door for such files in a serving, web or worker process."""

import os
import stat
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from engine.formats.child import Outcome, run_child
from engine.formats.trial import UnsafeFile
from engine.frames.problems import FrameError, FrameProblem
from engine.tabular.columns import PARTS, PartName
from engine.tabular.preparing import Prepared
from engine.tabular.sources import Format, TableLimits
from engine.tabular.splitting import SplitPlan

TABLE_CHILD = Path(__file__).with_name("_table_child.py")


@dataclass(frozen=True)
class ChildLimits:
    """Hard limits on one child; `read` holds the finer ones that come back as readable problems."""

    memory_bytes: int = 4 << 30
    cpu_seconds: int = 1_800
    wall_seconds: float = 1_800.0
    output_bytes: int = 8 << 30
    """Of each part."""
    read: TableLimits = field(default_factory=TableLimits)


@dataclass(frozen=True)
class Cut:
    """Three Parquet files that we wrote ourselves."""

    files: dict[PartName, Path]
    prepared: Prepared
    peak_memory_bytes: int


def cut_safely(source: Path, folder: Path, plan: SplitPlan, *, kind: Format = "auto", limits: ChildLimits | None = None) -> Cut:
    """`engine.tabular.preparing.prepare` in a child, the parts as files in `folder`.

    Raises FrameError with every problem of the file, UnsafeFile where the file broke, overfilled or outlasted the child; the folder then
    holds no part.
    """
    limits = limits or ChildLimits()
    files = {part: folder / f"{part}.parquet" for part in PARTS}
    try:
        answer = _answer(source, files, plan, kind, limits)
        prepared = Prepared.from_json(answer["prepared"])
        _check_written(files, prepared)
    except BaseException:
        for path in files.values():
            path.unlink(missing_ok=True)
        raise
    return Cut(files, prepared, int(answer["peak_memory_bytes"]))


def _answer(source: Path, files: dict[PartName, Path], plan: SplitPlan, kind: Format, limits: ChildLimits) -> dict[str, Any]:
    with ExitStack() as opened:
        source_fd = _open(source, opened)
        outputs = {}
        for part, path in files.items():
            outputs[part] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, outputs[part])
        by_descriptor = Path("/proc/self/fd").is_dir()
        spec = {
            "source_fd": source_fd,
            "source": f"/proc/self/fd/{source_fd}" if by_descriptor else str(source.resolve()),
            "outputs": outputs,
            "output_bytes": limits.output_bytes,
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
            "plan": plan.to_json(),
            "kind": kind,
            "limits": asdict(limits.read),
        }
        outcome = run_child(TABLE_CHILD, spec, pass_fds=(source_fd, *outputs.values()), wall_seconds=limits.wall_seconds)
        answer = _checked(outcome)
        for descriptor in outputs.values():
            os.fsync(descriptor)
        return answer


def _open(source: Path, opened: ExitStack) -> int:
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise FrameError([FrameProblem("no_file", f"The file cannot be opened: {error.strerror}.")]) from error
    opened.callback(os.close, descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FrameError([FrameProblem("no_file", "This is no regular file.")])
    return descriptor


def _checked(outcome: Outcome) -> dict[str, Any]:
    answer = outcome.answer
    reason = outcome.ended if answer is None else answer.get("broken")
    if answer is None or reason is not None:
        told = {"memory": "needs more memory than reading a table may use", "timed_out": "took too long", "cpu_time": "took too long"}
        known = {"memory": "memory", "timed_out": "timed_out", "cpu_time": "timed_out"}
        shown = told.get(str(reason), f"broke the program that read it ({reason})")
        raise UnsafeFile(known.get(str(reason), "crashed"), f"The file {shown}; it was refused.")
    if "problems" in answer:
        raise FrameError(FrameProblem.from_json(problem) for problem in answer["problems"])
    return answer


def _check_written(files: dict[PartName, Path], prepared: Prepared) -> None:
    """The child's word is not enough: each file must hold the rows and the columns it is said to."""
    schema = {column.name: column.dtype for column in prepared.columns}
    for part, path in files.items():
        try:
            lazy = pl.scan_parquet(path, glob=False)
            found, rows = dict(lazy.collect_schema()), lazy.select(pl.len()).collect().item()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UnsafeFile("crashed", "A part was not written completely; the file was refused.") from error
        if found != schema or rows != prepared.parts[part]:
            raise UnsafeFile("crashed", "A part does not agree with what was said of it; the file was refused.")
