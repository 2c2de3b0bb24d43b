"""The loop that keeps programs running: starts them stage by stage, restarts what dies, and stops all in the opposite order."""

import contextlib
import os
import select
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from mlops.supervisor import keeper
from mlops.supervisor.keeping import POLITE, Lifeline, StopSteps, start_kept
from mlops.supervisor.logs import LogFile, loud
from mlops.supervisor.screen import Screen

# A run this long counts as a good start; dying sooner this often in a row is a program that cannot run here.
SETTLED_S = 10.0
QUICK_DEATHS = 5
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 8.0
# Beyond a program's own stop steps: for its keeper to sweep up and leave.
KEEPER_S = 6.0
TICK_S = 0.2
REPEAT_S = 1.0
_KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Program:
    """One thing to run. Lower stages start first and stop last; `probe` tells when it is of use, without it that is at once."""

    name: str
    command: tuple[str, ...]
    stage: int = 0
    stop: StopSteps = POLITE
    probe: Callable[[], bool] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""
    meant: tuple[str, ...] = ()  # parts of warnings that we know and that tell the person nothing
    to_terminal: bool = False  # it speaks to the person itself; nothing is kept in a log


class ProgramFailed(Exception):
    """A program ended, for good, that should not have; the message names it, `tail` holds its last lines."""

    def __init__(self, program: Program, how: int | str, log: LogFile | None) -> None:
        super().__init__(f"{program.name} {how if isinstance(how, str) else _manner(how)}")
        self.log = None if log is None else log.path
        self.tail = [] if log is None else list(log.tail)


class StopRequested(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class _Child:
    program: Program
    log: LogFile | None
    keeper: subprocess.Popen[bytes] | None = None
    output: int | None = None
    started_at: float = 0.0
    ready: bool = False
    quick_deaths: int = 0
    restart_at: float | None = None


class Supervisor:
    """Owns the child processes of one run. For one thread, the main one: it installs signal handlers for as long as it is entered."""

    def __init__(self, *, env: Mapping[str, str], logs: Path, screen: Screen, held: Sequence[int] = (), cwd: Path | None = None) -> None:
        self._env, self._logs, self._screen, self._cwd = dict(env), logs, screen, cwd
        self._held = held
        self._children: list[_Child] = []  # kept running
        self._steps: list[_Child] = []  # run once
        self._asked: list[tuple[int, float]] = []  # signal and moment
        self._stopping = False
        self._logs_fail = False

    def __enter__(self) -> "Supervisor":
        keeper.adopt_orphans()
        self._lifeline = Lifeline.open(*self._held)
        self._selector = selectors.DefaultSelector()
        self._wake, self._wake_write = socket.socketpair()
        self._wake.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        self._handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)}
        for number, handler in self._handlers.items():
            if (number, handler) != (signal.SIGHUP, signal.SIG_IGN):  # `nohup` means it
                signal.signal(number, self._note)
        self._terminal = _watch_terminal()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_all()
        self._lifeline.cut()
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._selector.close()
        self._wake.close()
        self._wake_write.close()

    def step(self, program: Program) -> None:
        """Run a program to its end. Raises ProgramFailed unless it ends well, StopRequested on a signal."""
        child = _Child(program, self._log(program))
        self._steps.append(child)
        started = self._launch(child)
        while started.poll() is None:
            self._turn()
        self._steps.remove(child)
        if code := self._bury(child):
            raise ProgramFailed(program, code, child.log)

    def start(self, programs: Sequence[Program], *, within_s: float = 90.0) -> None:
        """Start programs, stage after stage, and return when all are ready.

        Raises ProgramFailed when one keeps dying or is not ready within the time, StopRequested on a signal.
        """
        ordered = sorted(programs, key=lambda program: program.stage)
        for _, stage in groupby(ordered, key=lambda program: program.stage):
            fresh = [_Child(program, self._log(program)) for program in stage]
            self._children += fresh
            for child in fresh:
                self._launch(child)
            deadline = time.monotonic() + within_s
            while late := [child for child in fresh if not child.ready]:
                if time.monotonic() > deadline:
                    raise ProgramFailed(late[0].program, f"was not ready after {within_s:.0f} s", late[0].log)
                self._turn()

    def wait(self, condition: Callable[[], bool], *, within_s: float) -> bool:
        """Keep everything running until the condition holds; False if it does not in time."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._turn()
        return True

    def watch(self) -> None:
        """Keep everything running. Ends only by ProgramFailed or StopRequested."""
        while True:
            self._turn()

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self._asked.append((number, time.monotonic()))

    def _log(self, program: Program) -> LogFile | None:
        return None if program.to_terminal else LogFile(self._logs / f"{program.name}.log")

    def _launch(self, child: _Child) -> subprocess.Popen[bytes]:
        reader, writer = (None, None) if child.log is None else os.pipe()
        try:
            started = start_kept(
                child.program.command,
                lifeline=self._lifeline,
                stop=child.program.stop,
                env={**self._env, **child.program.env},
                cwd=self._cwd,
                output=writer,
            )
        finally:
            if writer is not None:
                os.close(writer)
        if reader is not None:
            os.set_blocking(reader, False)
            self._selector.register(reader, selectors.EVENT_READ, child)
        child.keeper, child.output, child.started_at, child.ready, child.restart_at = started, reader, time.monotonic(), False, None
        return started

    def _turn(self, timeout: float = TICK_S) -> None:
        """Wait for something to happen, for a tick at most, and deal with it."""
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
            else:
                self._read(key.data)
        if self._terminal is not None and self._terminal.poll(0):
            self._terminal = None
            self._asked.append((signal.SIGHUP, time.monotonic()))
        if self._stopping:
            return
        if self._asked:
            raise StopRequested(self._asked[0][0])
        for child in list(self._children):
            self._tend(child)

    def _tend(self, child: _Child) -> None:
        if child.keeper is None:
            if child.restart_at is not None and time.monotonic() >= child.restart_at:
                self._launch(child)
        elif child.keeper.poll() is not None:
            self._mourn(child)
        elif not child.ready and (child.program.probe is None or child.program.probe()):
            child.ready = True
            self._screen.done(child.program.name, child.program.detail, seconds=time.monotonic() - child.started_at)

    def _mourn(self, child: _Child) -> None:
        """Note that a program died, and when to start it again. Raises ProgramFailed when it did so too often, too soon."""
        code = self._bury(child)
        if code != _KILLED:  # SIGKILL comes from outside and says nothing about the program
            settled = child.ready and time.monotonic() - child.started_at >= SETTLED_S
            child.quick_deaths = 1 if settled else child.quick_deaths + 1
        if child.quick_deaths >= QUICK_DEATHS:
            raise ProgramFailed(child.program, f"{_manner(code)}, {QUICK_DEATHS} times in a row", child.log)
        delay = min(FIRST_DELAY_S * 2 ** max(child.quick_deaths - 1, 0), LONGEST_DELAY_S)
        child.restart_at = time.monotonic() + delay
        self._screen.warn(f"{child.program.name} {_manner(code)}; it starts again in {delay:.1f} s")

    def _bury(self, child: _Child) -> int:
        """Take the last of a dead program's output; its exit code."""
        code = 0 if child.keeper is None else child.keeper.wait()
        while self._read(child):
            pass
        self._hang_up(child)
        child.keeper = None
        self._sweep()
        return 128 - code if code < 0 else code

    def _sweep(self) -> None:
        """Kill what fell to us because its keeper was killed: every child of ours that is no keeper."""
        kept = {child.keeper.pid for child in self._running() if child.keeper is not None}
        while strays := set(keeper.children()) - kept:  # each kill may hand us the next generation
            for stray in strays:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(stray, signal.SIGKILL)
                    os.waitpid(stray, 0)

    def _stop_all(self) -> None:
        """Stop what runs, the highest stage first, within the bounds of each; a second signal makes it a kill."""
        self._stopping = True
        began = time.monotonic()
        for stage in sorted({child.program.stage for child in self._running()}, reverse=True):
            self._stop([child for child in self._running() if child.program.stage == stage], began=began)
        for child in (*self._children, *self._steps):
            if child.log is not None:
                child.log.close()

    def _stop(self, children: Sequence[_Child], *, began: float) -> None:
        bound = max(sum(seconds for _, seconds in child.program.stop) for child in children) + KEEPER_S
        deadline, hurried = time.monotonic() + bound, False
        for child in children:
            _signal(child, signal.SIGTERM)
        while alive := [child for child in children if child.keeper is not None and child.keeper.poll() is None]:
            self._turn()
            if not hurried and self._hurry(began):
                hurried = True
                for child in alive:
                    _signal(child, signal.SIGQUIT)
            if time.monotonic() > deadline:
                for child in alive:  # the keeper itself hangs: with it, the kernel ends its program
                    _signal(child, signal.SIGKILL)
        for child in children:
            self._bury(child)

    def _hurry(self, began: float) -> bool:
        # One `kill` of a process group reaches us twice when `make` passes it on: only a signal well after the first counts.
        return any(moment > began + REPEAT_S for _, moment in self._asked)

    def _running(self) -> list[_Child]:
        return [child for child in (*self._steps, *self._children) if child.keeper is not None]

    def _read(self, child: _Child) -> bool:
        """Take over what a program has written; False at the end of its output."""
        if child.output is None or child.log is None:
            return False
        try:
            data = os.read(child.output, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            self._hang_up(child)
            return False
        failing = child.log.failure
        lines = child.log.write(data)
        self._tell_of_failure(child.log, failing)
        for line in lines:
            if (text := loud(line)) and not any(part in text for part in child.program.meant):
                self._screen.line(child.program.name, text)
        return True

    def _tell_of_failure(self, log: LogFile, before: str | None) -> None:
        """Say once that logs cannot be written, until one can be again: they share a disk, and programs go on without."""
        if log.failure is None:
            self._logs_fail = self._logs_fail and before is None
        elif not self._logs_fail:
            self._logs_fail = True
            self._screen.line("logs", f"{log.path} cannot be written ({log.failure}). Programs go on; their lines are lost meanwhile.")

    def _hang_up(self, child: _Child) -> None:
        if child.output is not None:
            self._selector.unregister(child.output)
            os.close(child.output)
            child.output = None


def _watch_terminal() -> "select.poll | None":
    """Tells when our terminal has gone. A hang-up is signalled to the session's first process alone, which may be a `make` that waits."""
    terminal = next((descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)), None)
    if terminal is None:
        return None
    poll = select.poll()
    poll.register(terminal, 0)  # a hang-up is always reported, and nothing else is asked for
    return poll


def _signal(child: _Child, number: signal.Signals) -> None:
    if child.keeper is not None:
        child.keeper.send_signal(number)


def _manner(code: int) -> str:
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(code - 128).name}"
    return f"ended with exit code {code}"
