"""Real processes, real signals: what the supervisor starts, restarts, and never leaves behind."""

import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="counts processes by /proc")


@dataclass
class Stand:
    """A supervisor process under test; `mark` is in the environment of everything it starts."""

    folder: Path
    mark: str
    process: subprocess.Popen[str]

    def pid_of(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def left(self) -> set[int]:
        return {pid for pid in processes_marked(self.mark) if pid != self.process.pid}

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output


def processes_marked(mark: str) -> set[int]:
    """Processes alive with this mark in their environment, zombies excepted."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def start_standin(scenario: str, folder: Path, *, terminal: int | None = None) -> Stand:
    mark, output = uuid.uuid4().hex, subprocess.PIPE if terminal is None else terminal
    env = {**os.environ, "TILTYARD_MARK": mark, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.supervisor.standin", scenario, str(folder)]
    process = subprocess.Popen(command, env=env, cwd=ROOT, text=True, stdin=terminal, stdout=output, stderr=subprocess.STDOUT)
    return Stand(folder=folder, mark=mark, process=process)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    running = start_standin("steady", tmp_path)
    wait_until((tmp_path / "up").exists, what="the stand-ins", seconds=20)
    wait_until((tmp_path / "second.pid").exists, what="the second stand-in", seconds=20)
    yield running
    running.process.kill()
    running.process.communicate()
    wait_until(lambda: not running.left(), what="everything to be gone", seconds=10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_that_dies_is_started_again_and_its_orphans_are_gone(stand: Stand, number: signal.Signals) -> None:
    before, all_before = stand.pid_of("second"), stand.left()

    os.kill(before, number)

    wait_until(lambda: stand.pid_of("second") != before, what="a second second", seconds=10)
    wait_until(lambda: len(stand.left()) == len(all_before), what="as many processes as before", seconds=10)


def test_a_program_that_keeps_dying_stops_everything_and_is_named(tmp_path: Path) -> None:
    stand = start_standin("broken", tmp_path)

    output, _ = stand.process.communicate(timeout=30)

    assert stand.process.returncode == 1
    assert "failed: crasher ended with exit code 7, 5 times in a row; last words: ['the cat ate it'" in output
    assert stand.left() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(stand: Stand, number: signal.Signals) -> None:
    code, output = stand.end(number)

    assert (code, stand.left()) == (0, set())
    assert f"asked by {number.name}" in output
    assert (stand.folder / "stopped").read_text().split() == ["second", "first"]


def test_a_terminal_that_is_closed_stops_everything_even_if_nobody_passes_the_signal_on(tmp_path: Path) -> None:
    terminal, ours = pty.openpty()
    stand = start_standin("steady", tmp_path, terminal=ours)
    os.close(ours)
    wait_until((tmp_path / "up").exists, what="the stand-ins", seconds=20)
    wait_until((tmp_path / "second.pid").exists, what="the second stand-in", seconds=20)

    os.close(terminal)  # without a session on it, the kernel signals nobody

    stand.process.wait(20)
    assert stand.left() == set()
    assert (stand.folder / "stopped").read_text().split() == ["second", "first"]


def test_a_program_that_ignores_the_request_is_killed_in_time(tmp_path: Path) -> None:
    stand = start_standin("stubborn", tmp_path)
    wait_until((tmp_path / "stubborn.pid").exists, what="the stubborn one", seconds=20)

    code, _ = stand.end(signal.SIGTERM)

    assert (code, stand.left()) == (0, set())


def test_nothing_outlives_a_supervisor_killed_by_sigkill(stand: Stand) -> None:
    stand.process.kill()
    stand.process.wait(5)

    wait_until(lambda: not stand.left(), what="children and grandchildren to be gone", seconds=5)


def test_a_program_does_not_outlive_its_keeper_either(stand: Stand) -> None:
    program, before = stand.pid_of("second"), stand.left()
    keeper = int(Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[1])

    os.kill(keeper, signal.SIGKILL)

    wait_until(lambda: stand.pid_of("second") != program, what="a second second", seconds=10)
    wait_until(lambda: len(stand.left()) == len(before), what="as many processes as before", seconds=5)


def test_a_second_supervisor_is_refused_while_the_first_lives(stand: Stand) -> None:
    second = start_standin("steady", stand.folder)

    output, _ = second.process.communicate(timeout=20)

    assert second.process.returncode == 1
    assert f"Another supervisor (process {stand.process.pid}) runs on" in output


def test_a_successor_of_a_killed_supervisor_waits_for_its_programs_to_end(stand: Stand) -> None:
    before = stand.left()
    stand.process.kill()
    stand.process.wait(5)
    (stand.folder / "up").unlink()

    successor = start_standin("steady", stand.folder)
    wait_until((stand.folder / "up").exists, what="the successor", seconds=20)

    overlap = stand.left() & before
    assert overlap == set()
    assert successor.end(signal.SIGTERM)[0] == 0


def test_warnings_are_shown_and_everything_is_logged(stand: Stand) -> None:
    log = stand.folder / "logs" / "first.log"
    wait_until(lambda: log.exists() and "speaks" in log.read_text(), what="the log", seconds=10)

    _, output = stand.end(signal.SIGTERM)

    assert "first | WARNING: first speaks" in output


def test_a_full_disk_ends_nothing_and_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("first", "second"):
        (tmp_path / "logs" / f"{name}.log").symlink_to("/dev/full")
    stand = start_standin("steady", tmp_path)
    wait_until((tmp_path / "up").exists, what="the stand-ins", seconds=20)
    wait_until((tmp_path / "second.pid").exists, what="the second stand-in", seconds=20)

    before = stand.pid_of("second")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: stand.pid_of("second") != before, what="a second second", seconds=10)
    code, output = stand.end(signal.SIGTERM)

    assert (code, stand.left(), output.count("No space left on device")) == (0, set(), 1)
    assert "first | WARNING: first speaks" in output
