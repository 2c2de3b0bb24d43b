"""What the programs write: kept in files of bounded size, with the lines a person should see picked out."""

import json
import os
import re
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from errno import ENOSPC
from io import FileIO
from pathlib import Path

FILE_BYTES = 5 * 1024 * 1024
OLD_FILES = 2
TAIL_LINES = 12
LINE_BYTES = 64 * 1024
_LOUD_WORD = re.compile(r"(?:^|[\s\[:|])(WARNING|WARN|ERROR|CRITICAL|FATAL)(?=[\s\]:/|])")
_LOUD_LEVELS = {"warning", "error", "critical"}
# Django warns of every 4xx answer. That is the client's news; the log file has it.
_CLIENTS_MISTAKES = ("django.request", "django_structlog.")
_HIDDEN_FIELDS = {"event", "level", "timestamp", "logger", "exception"}


class LogFile:
    """One program's log: appended to `NAME.log`, moved to `.1`, `.2` when it grows beyond FILE_BYTES. Not thread-safe.

    It never raises for what cannot be written, on a full disk say: that is lost, and the log tells how much once it can be written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.failure: str | None = None
        """Why the latest of what the program wrote could not be kept."""
        self._file: FileIO | None = None
        self._lost_bytes = self._lost_lines = 0
        self._rest = b""
        self._keep(b"")  # whoever follows the file finds it before the program speaks

    def write(self, data: bytes) -> list[str]:
        """Append what a program wrote, if that is possible, and return the lines that are now complete."""
        self._keep(data)
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES:  # a program that never ends its line must not fill our memory
            complete, self._rest = [*complete, self._rest], b""
        lines = [line.decode(errors="replace").rstrip() for line in complete]
        self.tail.extend(line for line in lines if line)
        return lines

    def close(self) -> None:
        """Close the file; the last lines stay readable in `tail`."""
        if self._rest:
            self.tail.append(self._rest.decode(errors="replace"))
        self._keep(b"")
        self._shut()

    def _keep(self, data: bytes) -> None:
        left = data
        try:
            file = self._opened()
            if self._lost_bytes:
                self._tell_of_loss(file)
            while left:
                left = left[file.write(left) :]
            if file.tell() > FILE_BYTES:
                self._rotate()
        except OSError as failure:
            self._lost_bytes += len(left)
            self._lost_lines += left.count(b"\n")
            self.failure = failure.strerror or str(failure)
            self._shut()  # what cannot be written to may be gone: opened anew, it need not be
        else:
            self.failure = None

    def _opened(self) -> FileIO:
        if self._file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = FileIO(self.path, "a")  # without a buffer, in which lost bytes would come back
        return self._file

    def _tell_of_loss(self, file: FileIO) -> None:
        told = {"event": "log.lines_lost", "level": "warning", "lines": self._lost_lines, "bytes": self._lost_bytes, "why": self.failure}
        line = json.dumps({**told, "timestamp": datetime.now(UTC).isoformat()}).encode()
        wanted = b"\n" + line + b"\n"  # the last that was written may have ended within a line
        if file.write(wanted) < len(wanted):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        self._lost_bytes = self._lost_lines = 0

    def _shut(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def _rotate(self) -> None:
        self._shut()
        for number in range(OLD_FILES, 0, -1):
            source = self.path if number == 1 else self.path.with_name(f"{self.path.name}.{number - 1}")
            if source.exists():
                source.replace(self.path.with_name(f"{self.path.name}.{number}"))
        self._opened()


def loud(line: str) -> str | None:
    """A warning or worse as one readable line; None for everything else. Understands our JSON events and the usual plain formats."""
    if line.startswith("{"):
        try:
            event = json.loads(line)
        except ValueError:
            return None
        if not isinstance(event, dict) or event.get("level") not in _LOUD_LEVELS:
            return None
        if event["level"] == "warning" and str(event.get("logger", "")).startswith(_CLIENTS_MISTAKES):
            return None
        fields = " ".join(f"{name}={value}" for name, value in event.items() if name not in _HIDDEN_FIELDS)
        last_of_trace = str(event.get("exception", "")).strip().rpartition("\n")[2]
        words = " ".join((str(event["level"]).upper(), str(event.get("event", "")), fields, last_of_trace))
        return " ".join(words.split())
    return line if _LOUD_WORD.search(line) else None
