"""Log files stay small, only what a person should see is picked out, and a full disk costs lines and nothing else."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlops.supervisor import logs


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"event": "drift.detected", "level": "warning", "customer": 3, "timestamp": "now"}', "WARNING drift.detected customer=3"),
        ('{"event": "it broke", "level": "error", "exception": "Traceback\\n  there\\nKeyError: 1"}', "ERROR it broke KeyError: 1"),
        ('{"event": "job.ended", "level": "info"}', None),
        ('{"event": "Not Found: /x", "level": "warning", "logger": "django.request"}', None),
        ('{"event": "Internal Server Error: /x", "level": "error", "logger": "django.request"}', "ERROR Internal Server Error: /x"),
        ('{"not": closed', None),
        ("[WARNING] too many threads", "[WARNING] too many threads"),
        ("12:M 20 Nov 2026 # WARNING Memory", "12:M 20 Nov 2026 # WARNING Memory"),
        ("[INFO] Listening at: http://127.0.0.1:8000", None),
        ("no ERRORS were found", None),
    ],
)
def test_loud_picks_warnings_and_worse_out_of_json_and_plain_lines(line: str, shown: str | None) -> None:
    assert logs.loud(line) == shown


def test_a_log_is_moved_aside_when_it_grows_and_only_so_many_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 100)
    log = logs.LogFile(tmp_path / "web.log")

    for number in range(40):
        log.write(f"line {number} {'x' * 20}\n".encode())
    log.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1", "web.log.2"]
    assert all(path.stat().st_size <= 140 for path in tmp_path.iterdir())
    assert log.tail[-1].startswith("line 39")


def test_a_line_is_given_out_once_it_is_complete_however_it_was_cut(tmp_path: Path) -> None:
    log = logs.LogFile(tmp_path / "web.log")

    first = log.write(b"half a li")
    second = log.write("ne\nünd".encode()[:-1])

    assert (first, second) == ([], ["half a line"])
    log.close()


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    log = logs.LogFile(tmp_path / "web.log")

    given = [line for _ in range(3) for line in log.write(b"x" * (logs.LINE_BYTES // 2 + 1))]

    assert [len(line) for line in given] == [2 * (logs.LINE_BYTES // 2 + 1)]
    log.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes; what is over is refused as on a full disk, in the middle of a line too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_that_cannot_be_written_are_counted_in_the_log_once_there_is_space(tmp_path: Path) -> None:
    log = logs.LogFile(tmp_path / "web.log")

    with files_of_at_most(19):
        given = [line for number in range(4) for line in log.write(f"this is line {number}\n".encode())]
        failing = log.failure
    log.write(b"there is space\n")
    log.close()

    first, half, told, last = (tmp_path / "web.log").read_text().splitlines()
    event = json.loads(told)
    assert given == [f"this is line {number}" for number in range(4)]
    assert (first, half, last) == ("this is line 0", "this", "there is space")
    assert (event["event"], event["level"], event["lines"]) == ("log.lines_lost", "warning", 3)
    assert (failing, log.failure, list(log.tail)) == ("File too large", None, [*given, "there is space"])


def test_a_log_whose_disk_is_full_from_start_to_end_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "web.log").symlink_to("/dev/full")
    log = logs.LogFile(tmp_path / "web.log")

    lines = log.write(b"one\ntwo\n")
    log.close()

    assert (lines, log.failure) == (["one", "two"], "No space left on device")


def test_a_log_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    log = logs.LogFile(tmp_path / "logs" / "web.log")

    log.write(b"one\n")
    (tmp_path / "logs").unlink()
    log.write(b"two\n")
    log.close()

    _, told, last = (tmp_path / "logs" / "web.log").read_text().splitlines()
    assert (json.loads(told)["lines"], last) == (1, "two")
