"""Having a foreign data file read by a disposable child, a few at a time, and saying what is wrong with it."""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings

from engine.formats.trial import DataLimits, UnsafeFile, canonicalize, propose_safely
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping, MappingError
from engine.frames.problems import FrameError, FrameProblem, Report
from engine.frames.proposing import Proposal
from mlops.errors import Busy, DomainError, InvalidField
from mlops.storable import clean
from registry.services.dataset_files import Source

SMALL_FILE = 32 * 1024 * 1024
"""Files up to this size are read while the sender waits, larger ones by a job."""
AHEAD = timedelta(days=366)
"""Days later than this after today are mistakes."""
PROPOSING_SECONDS = 120
WAITING_SECONDS = 25
"""What the sender waits for a whole file to be read; a job goes on with one that takes longer."""
LONG_SECONDS = 900
MEMORY_BYTES = 4 * 1024**3
PATIENCE = 1.0
"""Seconds that somebody who waits for the answer, and holds a thread meanwhile, is kept waiting for a free reader."""
READERS = min(max(os.cpu_count() or 1, 1), 4)
"""Children that read at once on one machine: each may take gigabytes."""


class UnreadableFile(DomainError):
    """The file cannot be used as it is. Carries every problem found, and the mapping it was read under or that was proposed."""

    status = 400
    code = "unreadable_file"

    def __init__(self, problems: Sequence[FrameProblem], *, field: str = "file", proposal: Proposal | None = None) -> None:
        self.problems = tuple(problem for problem in problems)
        self.field, self.proposal = field, proposal
        super().__init__(" ".join(clean(problem.message) for problem in self._errors) or "The file cannot be read.")

    @property
    def took_too_long(self) -> bool:
        """Whether all that is known against the file is that there was not enough time for it."""
        return [problem.code for problem in self.problems] == ["timed_out"]

    @property
    def _errors(self) -> list[FrameProblem]:
        return [problem for problem in self.problems if problem.severity == "error"]

    def extra(self) -> dict[str, Any]:
        """`errors` as everywhere, `problems` with counts and examples, and `proposal` to correct the mapping by."""
        errors = [{"field": problem.column or self.field, "message": problem.message, "code": problem.code} for problem in self._errors]
        extra: dict[str, Any] = {"errors": errors, "problems": [problem.to_json() for problem in self.problems]}
        if self.proposal is not None:
            shown = self.proposal.to_json()
            extra["proposal"] = {"mapping": shown["mapping"], "columns": shown["columns"]}
        cleaned: dict[str, Any] = clean(extra)
        return cleaned


def parse_mapping(value: Mapping | dict[str, Any] | None) -> Mapping | None:
    """The mapping somebody sent. Raises InvalidField naming the entry at fault."""
    if value is None or isinstance(value, Mapping):
        return value
    try:
        return Mapping.from_json(value)
    except MappingError as error:
        message = str(error).removeprefix(f"{error.field}: ")
        field = "mapping" if error.field == "mapping" else f"mapping.{error.field}"
        raise InvalidField(field, f"{message[:1].upper()}{message[1:]}.") from None


def propose(source: Source, *, at: datetime, needed: bool, quick: bool) -> Proposal | None:
    """What the file's columns seem to be. Where a mapping was given (`needed` is false), an unreadable file is left for `read` to name.

    Raises UnreadableFile, or Busy where `quick` found no free reader.
    """
    try:
        with _child(source, seconds=PROPOSING_SECONDS, patience=PATIENCE if quick else float(LONG_SECONDS), at=at) as limits:
            proposal = propose_safely(source.path, limits=limits)
    except UnreadableFile as refusal:
        if needed or any(problem.code in ("memory", "crashed") for problem in refusal.problems):
            raise
        return None
    if needed and proposal.mapping is None:
        raise UnreadableFile(proposal.problems, field=source.field, proposal=proposal)
    return proposal


def read(source: Source, panel: Path, mapping: Mapping, *, at: datetime, quick: bool, proposal: Proposal | None = None) -> Report:
    """Read the whole source and leave its panel at `panel`. Raises UnreadableFile, or Busy where `quick` found no free reader."""
    if clean(mapping.to_json()) != mapping.to_json():
        problem = FrameProblem("unusable_name", "A column's name holds characters that cannot be stored; rename the column.")
        raise UnreadableFile([problem], field=source.field)
    seconds, patience = (WAITING_SECONDS, PATIENCE) if quick else (LONG_SECONDS, float(LONG_SECONDS))
    with _child(source, seconds=seconds, patience=patience, at=at, proposal=proposal) as limits:
        return canonicalize(source.path, panel, mapping, limits=limits)


@contextmanager
def _child(source: Source, *, seconds: int, patience: float, at: datetime, proposal: Proposal | None = None) -> Iterator[DataLimits]:
    """Wait for a turn, and turn what the child says into one kind of refusal."""
    read_limits = ReadLimits(max_file_bytes=settings.MAX_DATASET_BYTES, latest_day=(at + AHEAD).date())
    try:
        with turn(patience=patience):
            yield DataLimits(memory_bytes=MEMORY_BYTES, cpu_seconds=2 * seconds, wall_seconds=float(seconds), read=read_limits)
    except FrameError as error:
        raise UnreadableFile(error.problems, field=source.field, proposal=proposal) from error
    except UnsafeFile as error:
        raise UnreadableFile([FrameProblem(error.reason, str(error))], field=source.field, proposal=proposal) from error


@contextmanager
def turn(*, patience: float) -> Iterator[None]:
    """One of the machine's places for reading, held by a file lock that ends with the process. Raises Busy after `patience` seconds."""
    folder = settings.VAR_DIR / "locks"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    while True:
        for place in range(READERS):
            descriptor = os.open(folder / f"reading-{place}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            try:
                yield
            finally:
                os.close(descriptor)
            return
        if time.monotonic() >= deadline:
            raise Busy("Other files are being read just now. Try again in a moment.")
        time.sleep(0.1)
