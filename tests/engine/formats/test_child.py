"""The disposable child: whatever it does, the parent goes on and nothing is left behind."""

import os
import textwrap
import time
from pathlib import Path

import pytest

from engine.formats.child import run_child

ROOT = Path(__file__).resolve().parents[3]
FENCED = f"""
import os, sys, json, socket, time
sys.path.insert(0, {str(ROOT)!r})
from engine.formats._confine import confine
held = confine(memory_bytes=1 << 30, cpu_seconds=5, file_bytes=0, open_files=64)
"""


def script(tmp_path: Path, body: str, *, fenced: bool = False) -> Path:
    path = tmp_path / "child.py"
    path.write_text((FENCED if fenced else "import os, sys, json, time\n") + textwrap.dedent(body))
    return path


def test_answer_comes_back(tmp_path: Path) -> None:
    outcome = run_child(script(tmp_path, "print(sys.argv[1])"), {"a": 1}, pass_fds=(), wall_seconds=10)

    assert (outcome.answer, outcome.ended) == ({"a": 1}, "ok")


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("sys.exit(3)", "exit 3"),
        ("print('no json')", "garbled"),
        ("print('[1]')", "garbled"),
        ("while True: sys.stdout.write('x' * 1000000)", "too_much_output"),
        ("time.sleep(60)", "timed_out"),
        ("os.close(1); os.close(2); time.sleep(60)", "timed_out"),
    ],
)
def test_every_bad_end_has_a_name(tmp_path: Path, body: str, ended: str) -> None:
    outcome = run_child(script(tmp_path, body), {}, pass_fds=(), wall_seconds=1.0)

    assert (outcome.answer, outcome.ended) == (None, ended)


def test_forked_grandchildren_are_killed_with_the_group(tmp_path: Path) -> None:
    body = """
    grandchild = os.fork()
    if grandchild == 0:
        os.close(1); os.close(2)
        time.sleep(60)
    print(json.dumps({"pid": grandchild}))
    """

    outcome = run_child(script(tmp_path, body), {}, pass_fds=(), wall_seconds=10)

    assert outcome.answer is not None
    assert _is_gone(outcome.answer["pid"])


def _is_gone(pid: int) -> bool:
    for _ in range(50):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_secrets_of_the_environment_stay_with_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")

    outcome = run_child(script(tmp_path, "print(json.dumps(dict(os.environ)))"), {}, pass_fds=(), wall_seconds=10)

    assert outcome.answer is not None
    assert "SECRET_KEY" not in outcome.answer
    assert outcome.answer["POLARS_MAX_THREADS"] == "2"


def test_only_given_descriptors_reach_the_child(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)

    outcome = run_child(script(tmp_path, "print(json.dumps({'fds': os.listdir('/proc/self/fd')}))"), {}, pass_fds=(write,), wall_seconds=10)

    os.close(read)
    os.close(write)
    assert outcome.answer is not None
    assert str(read) not in outcome.answer["fds"]
    assert str(write) in outcome.answer["fds"]


def test_confined_child_cannot_write_read_connect_or_execute(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    body = f"""
    def told(deed):
        try:
            deed()
        except OSError as error:
            return type(error).__name__
        return "done"

    answers = {{
        "create": told(lambda: os.open({str(tmp_path / "new")!r}, os.O_CREAT | os.O_WRONLY)),
        "read": told(lambda: open({str(secret)!r}).read()),
        "connect": told(lambda: socket.create_connection(("127.0.0.1", 9), 1)),
        "execute": told(lambda: os.execv("/bin/true", ["true"])),
        "parent": told(lambda: open(f"/proc/{{os.getppid()}}/environ", "rb").read()),
    }}
    print(json.dumps({{"held": held, "answers": answers}}))
    """

    outcome = run_child(script(tmp_path, body, fenced=True), {}, pass_fds=(), wall_seconds=10)

    assert outcome.answer is not None, outcome.complaint
    if not outcome.answer["held"]["files"]:
        pytest.skip("this kernel has no Landlock")
    assert "done" not in outcome.answer["answers"].values()
    assert not (tmp_path / "new").exists()


def test_confined_child_runs_out_of_memory_and_time_alone(tmp_path: Path) -> None:
    memory = run_child(script(tmp_path, "x = bytearray(2 << 30)", fenced=True), {}, pass_fds=(), wall_seconds=10)
    assert memory.ended == "memory"

    body = FENCED.replace("cpu_seconds=5", "cpu_seconds=1") + "while True: pass\n"
    path = tmp_path / "loop.py"
    path.write_text(body)
    assert run_child(path, {}, pass_fds=(), wall_seconds=20).ended == "cpu_time"
