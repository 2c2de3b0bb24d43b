"""Keeps one program, and everything that program starts, from outliving whoever started it.

Runs as `python -I -S keeper.py FDS STOP USER COMMAND…`, with the standard library alone, so that it is up in some 30 ms:

- FDS: inherited descriptors, comma-separated. The first is the read end of a pipe whose write end only the starter holds: its end
  of file means that the starter is gone, even by SIGKILL. The others are held open while this keeper lives (a lock, say).
- STOP: how to ask the program to end, as `TERM:8,QUIT:3` (signal and seconds to wait); then it is killed.
- USER: the system user to run it as, or an empty word.

SIGTERM, SIGINT and SIGHUP ask the program to end; SIGQUIT kills it at once. Whenever it ends, all that it left behind is killed:
on Linux the keeper is a "subreaper", so grandchildren fall to it whatever process group they moved to. Were the keeper itself
killed, the kernel would kill the program (PR_SET_PDEATHSIG). The exit code is the program's, 128 + n for a death by signal n.
"""

import contextlib
import ctypes
import os
import pwd
import select
import signal
import sys
import time
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ORPHAN_GRACE_S = 2.0
SWEEP_S = 5.0
Step = tuple[int, float]


def main(arguments: list[str]) -> int:
    """Run the program to its end and clean up behind it."""
    descriptors = [int(word) for word in arguments[0].split(",")]
    steps = [_step(word) for word in arguments[1].split(",")]
    user, command = arguments[2], arguments[3:]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    asked: list[int] = []
    wake = _listen(asked)
    adopt_orphans()
    child = _spawn(command, user)
    status = _watch(child, starter=descriptors[0], wake=wake, asked=asked, steps=steps)
    _sweep(child)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _step(word: str) -> Step:
    name, _, seconds = word.partition(":")
    return signal.Signals[f"SIG{name}"].value, float(seconds)


def _listen(asked: list[int]) -> int:
    wake, wake_write = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda received, _frame: asked.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _spawn(command: list[str], user: str) -> int:
    keeper = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and an exec would hand that on
            signal.signal(number, signal.SIG_DFL)
        if user:
            entry = pwd.getpwnam(user)
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which would clear it
        if os.getppid() == keeper:
            os.execvp(command[0], command)  # noqa: S606 - no shell is what is wanted
    except (OSError, KeyError) as error:
        os.write(2, f"{command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _watch(child: int, *, starter: int, wake: int, asked: list[int], steps: list[Step]) -> int:
    plan: Iterator[Step] | None = None
    hurried = False
    deadline: float | None = None
    while True:
        status = _reap(child)
        if status is not None:
            return status
        waiting = None if deadline is None else max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select([wake] if plan is not None else [wake, starter], [], [], waiting)
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
        if plan is None and (asked or starter in readable):
            plan = iter(steps if asked else [(steps[0][0], min(steps[0][1], ORPHAN_GRACE_S))])
            deadline = time.monotonic()
        if signal.SIGQUIT in asked and not hurried:
            hurried, plan, deadline = True, iter(()), time.monotonic()
        if plan is not None and deadline is not None and time.monotonic() >= deadline:
            number, seconds = next(plan, (int(signal.SIGKILL), SWEEP_S))
            os.kill(child, number)  # not yet reaped, so the number is still its own
            deadline = time.monotonic() + seconds


def _reap(child: int) -> int | None:
    """Collect everything that has ended; the child's wait status once it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, ended = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == child:
                status = ended
    return status


def _sweep(child: int) -> None:
    """Kill what the program left behind: each kill hands the next generation to this process, until there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    deadline = time.monotonic() + SWEEP_S
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        for orphan in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
        time.sleep(0.01)


def adopt_orphans() -> None:
    """Make this process the parent of whatever its descendants leave behind; without effect outside Linux."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """The pids of this process's children, by /proc; none where there is no /proc and the process group has to do."""
    me, found = str(os.getpid()), []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208 - pathlib would double the start-up time
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as stat:  # noqa: PTH123 - as above
                if stat.read().rpartition(")")[2].split()[1] == me:
                    found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
