"""Try files from outside in a disposable child process. The only door for foreign model and data files in a serving or web process."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.formats.child import Outcome, run_child
from engine.formats.sniff import HEAD_BYTES, SAFE_WAYS, TAIL_BYTES, ModelFormat, UnsafeArtifact, sniff
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.problems import FrameError, FrameProblem, Report
from engine.frames.proposing import Proposal
from engine.frames.storing import PanelFileError, panel_facts

MODEL_CHILD = Path(__file__).with_name("_model_child.py")
DATA_CHILD = Path(__file__).with_name("_data_child.py")


@dataclass(frozen=True)
class TrialLimits:
    """Hard limits on one child. Below 512 MB the numeric libraries do not even load."""

    memory_bytes: int = 2 << 30
    cpu_seconds: int = 20
    wall_seconds: float = 30.0
    max_bytes: int = 512 << 20


@dataclass(frozen=True)
class DataLimits:
    """Hard limits on reading one data file; `read` holds the finer ones that come back as readable problems."""

    memory_bytes: int = 4 << 30
    cpu_seconds: int = 600
    wall_seconds: float = 900.0
    output_bytes: int = 2 << 30
    read: ReadLimits = field(default_factory=ReadLimits)


@dataclass(frozen=True)
class ModelFacts:
    """What a trial found out. `ranges` and `categories` (codes) are those of the training data where the format keeps them."""

    format: ModelFormat
    features: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]
    categories: dict[str, tuple[int, ...]]
    trees: int
    outputs: int
    objective: str
    kind: str | None
    bytes: int
    sha256: str
    """Of the bytes of the descriptor that was tried."""
    peak_memory_bytes: int
    seconds: float
    confined: dict[str, bool]
    """Which of the fences `network` and `files` the system granted."""
    signature: dict[str, Any] | None = None
    """As `Signature.to_json` writes it, from formats that keep one."""


class UnsafeFile(Exception):
    """The data file broke, overfilled or outlasted the child that read it. `reason` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def try_model(source: int | Path, *, format: ModelFormat | None = None, limits: TrialLimits | None = None) -> ModelFacts:  # noqa: A002 - the word
    """Load and score a foreign model in a child. `source`: an open descriptor (its position stays) or a path.

    Raises UnsafeArtifact with a reason: empty, too_large, pickle_refused, unknown_format, format_mismatch (it is not the `format`
    claimed), unsupported_here (no library for it), unsupported_features, malformed, not_finite, untrusted_type, too_nested, memory,
    timed_out, crashed.
    """
    limits = limits or TrialLimits()
    with _descriptor(source) as fd:
        found, digest = _identify(fd, limits)
        if format is not None and found != format:
            raise UnsafeArtifact("format_mismatch", f"The file is {found}, not {format}.")
        spec = {
            "fd": fd,
            "format": found,
            "max_bytes": limits.max_bytes,
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
        }
        outcome = run_child(MODEL_CHILD, spec, pass_fds=(fd,), wall_seconds=limits.wall_seconds)
    return _model_facts(outcome, digest)


@contextmanager
def _descriptor(source: int | Path) -> Iterator[int]:
    """The same open file throughout, so that what was digested is what is tried."""
    if isinstance(source, int):
        yield source
        return
    try:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UnsafeArtifact("unreadable", f"The file cannot be opened: {error.strerror}.") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _identify(fd: int, limits: TrialLimits) -> tuple[ModelFormat, str]:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeArtifact("unknown_format", f"This is no regular file. {SAFE_WAYS}")
    if status.st_size > limits.max_bytes:
        raise UnsafeArtifact("too_large", f"The file is larger than the {limits.max_bytes >> 20} MB allowed.")
    found = sniff(os.pread(fd, HEAD_BYTES, 0), os.pread(fd, TAIL_BYTES, max(0, status.st_size - TAIL_BYTES)))
    digest, position = hashlib.sha256(), 0
    while part := os.pread(fd, 1 << 20, position):
        digest.update(part)
        position += len(part)
    return found, digest.hexdigest()


def _model_facts(outcome: Outcome, digest: str) -> ModelFacts:
    if outcome.answer is None:
        reason = outcome.ended if outcome.ended in ("timed_out", "memory") else "crashed"
        told = {"timed_out": "took too long", "memory": "needs more memory than a trial may use"}.get(reason, f"broke ({outcome.ended})")
        raise UnsafeArtifact(reason, f"Trying the model {told}; it is not let in.")
    refused = outcome.answer.get("refused")
    if refused is not None:
        raise UnsafeArtifact(str(refused["reason"]), str(refused["message"]))
    facts: dict[str, Any] = outcome.answer["facts"]
    return ModelFacts(
        format=facts["format"],
        features=tuple(facts["features"]),
        ranges={name: (bounds[0], bounds[1]) for name, bounds in facts["ranges"].items()},
        categories={name: tuple(codes) for name, codes in facts["categories"].items()},
        trees=facts["trees"],
        outputs=facts["outputs"],
        objective=facts["objective"],
        kind=facts.get("kind"),
        bytes=facts["bytes"],
        sha256=digest,
        peak_memory_bytes=facts["peak_memory_bytes"],
        seconds=outcome.seconds,
        confined=facts["confined"],
        signature=facts.get("signature"),
    )


def propose_safely(source: Path, *, limits: DataLimits | None = None) -> Proposal:
    """`engine.frames.proposing.propose` in a child. Raises FrameError with the file's problems, UnsafeFile where it broke the child."""
    limits = limits or DataLimits()
    answer = _read_in_child(source, mapping=None, output_fd=None, limits=limits)
    return Proposal.from_json(answer["proposal"])


def canonicalize(source: Path, destination: Path, mapping: Mapping, *, limits: DataLimits | None = None) -> Report:
    """Read a foreign file or folder in a child and leave a panel file that we wrote ourselves at `destination`.

    The destination appears complete and synced, or not at all; an existing file is replaced only by a complete one. Raises
    FrameError with every problem of the file, UnsafeFile where the file broke, overfilled or outlasted the child.
    """
    limits = limits or DataLimits()
    fd, name = tempfile.mkstemp(prefix=".panel-", suffix=".tmp", dir=destination.parent)
    temporary = Path(name)
    try:
        answer = _read_in_child(source, mapping=mapping, output_fd=fd, limits=limits)
        report = Report.from_json(answer["report"])
        _check_written(temporary, report)
        os.fsync(fd)
        temporary.replace(destination)
        _sync_folder(destination.parent)
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            temporary.unlink()
    return report


def _read_in_child(source: Path, *, mapping: Mapping | None, output_fd: int | None, limits: DataLimits) -> dict[str, Any]:
    try:
        source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise FrameError([FrameProblem("no_file", f"The file cannot be opened: {error.strerror}.")]) from error
    try:
        if not (stat.S_ISREG(os.fstat(source_fd).st_mode) or stat.S_ISDIR(os.fstat(source_fd).st_mode)):
            raise FrameError([FrameProblem("no_file", "This is neither a file nor a folder.")])
        by_descriptor = Path("/proc/self/fd").is_dir()
        spec = {
            "source_fd": source_fd,
            "source": f"/proc/self/fd/{source_fd}" if by_descriptor else str(source.resolve()),
            "mapping": None if mapping is None else mapping.to_json(),
            "output_fd": output_fd,
            "output_bytes": limits.output_bytes,
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
            "limits": limits.read.to_json(),
        }
        pass_fds = (source_fd,) if output_fd is None else (source_fd, output_fd)
        outcome = run_child(DATA_CHILD, spec, pass_fds=pass_fds, wall_seconds=limits.wall_seconds)
    finally:
        os.close(source_fd)
    return _checked(outcome)


def _checked(outcome: Outcome) -> dict[str, Any]:
    answer = outcome.answer
    reason = outcome.ended if answer is None else answer.get("broken")
    if answer is None or reason is not None:
        told = {
            "memory": "needs more memory than reading a file may use",
            "timed_out": "took too long to read",
            "cpu_time": "took too long to read",
        }.get(str(reason), f"broke the program that read it ({reason})")
        known = {"memory": "memory", "timed_out": "timed_out", "cpu_time": "timed_out"}
        raise UnsafeFile(known.get(str(reason), "crashed"), f"The file {told}; it was refused.")
    if "problems" in answer:
        raise FrameError(FrameProblem.from_json(problem) for problem in answer["problems"])
    return answer


def _check_written(path: Path, report: Report) -> None:
    """The child's word is not enough: the file must say the same about itself."""
    try:
        facts = panel_facts(path)
    except PanelFileError as error:
        raise UnsafeFile("crashed", "The panel was not written completely; the file was refused.") from error
    if (facts.rows, facts.series) != (report.panel_rows, report.series):
        raise UnsafeFile("crashed", "The panel written does not agree with the report; the file was refused.")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
