"""Starting a program beside a keeper: it ends when it is told to, or when this process is gone, however it went."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")
# A signal and the seconds to wait after it. The keeper kills what is left after the last.
StopSteps = tuple[tuple[signal.Signals, float], ...]
POLITE: StopSteps = ((signal.SIGTERM, 8.0),)


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A pipe that no other process may write to: whoever reads its end of file knows that this process is gone."""

    reader: int
    writer: int
    held: tuple[int, ...] = field(default=())

    @classmethod
    def open(cls, *held: int) -> "Lifeline":
        """A new lifeline. Keepers also hold the descriptors `held`, so that a lock outlives this process until they are through."""
        reader, writer = os.pipe()
        return cls(reader=reader, writer=writer, held=held)

    def cut(self) -> None:
        """Let go: every keeper on this line ends its program."""
        os.close(self.writer)
        os.close(self.reader)


def start_kept(
    command: Sequence[str],
    *,
    lifeline: Lifeline,
    stop: StopSteps = POLITE,
    user: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command beside its keeper and return the keeper, which answers as described in `keeper.py`.

    `output` takes both of its streams; None leaves it this process's own.
    """
    descriptors = (lifeline.reader, *lifeline.held)
    steps = ",".join(f"{number.name.removeprefix('SIG')}:{seconds:g}" for number, seconds in stop)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(KEEPER), ",".join(map(str, descriptors)), steps, user, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=None if env is None else dict(env),
        cwd=cwd,
        pass_fds=descriptors,
        # A session of its own: the terminal's Ctrl-C and hang-up reach the supervisor alone, which then stops all in order.
        start_new_session=True,
    )
