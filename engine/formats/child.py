"""Start a disposable child, wait for it within limits, take its answer, and leave nothing of it behind."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MAX_ANSWER_BYTES = 16 << 20
MAX_COMPLAINT_BYTES = 16 << 10
KEPT_VARIABLES = ("LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class Outcome:
    """`answer` is None unless the child ended well with one JSON object.

    `ended`: ok, timed_out, too_much_output, garbled, memory, cpu_time, or the signal or status it died with.
    """

    answer: dict[str, Any] | None
    ended: str
    complaint: str
    seconds: float


def run_child(script: Path, spec: dict[str, Any], *, pass_fds: tuple[int, ...], wall_seconds: float) -> Outcome:
    """Run `python -I script SPEC`. Must be called from a thread that lives as long as the child: the child dies with it.

    The child leads a process group of its own, which is killed whole in every case, so that nothing it forked survives it.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", str(script), json.dumps(spec)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_small_environment(),
        cwd="/",
        pass_fds=pass_fds,
        start_new_session=True,
    )
    try:
        output, complaint, ended = _listen(process, deadline=started + wall_seconds)
    finally:
        _end_group(process)
    told = complaint.decode("utf-8", "replace")
    seconds = time.monotonic() - started
    if ended is None and process.returncode != 0:
        ended = _cause_of_death(process.returncode, told)
    if ended is not None:
        return Outcome(None, ended, told, seconds)
    try:
        answer = json.loads(output)
    except ValueError:
        return Outcome(None, "garbled", told, seconds)
    return Outcome(answer, "ok", told, seconds) if isinstance(answer, dict) else Outcome(None, "garbled", told, seconds)


def _small_environment() -> dict[str, str]:
    """No secrets, one thread per numeric library; two for Polars, so that it can still overlap reading and decoding."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # Polars' allocator keeps the addresses of freed memory, which would count against the limit on address space for ever.
    frugal = {"_RJEM_MALLOC_CONF": "retain:false,dirty_decay_ms:0,muzzy_decay_ms:0"}
    return {
        **kept,
        **threads,
        **frugal,
        "POLARS_MAX_THREADS": "2",
        "MALLOC_ARENA_MAX": "2",
        "LANG": "C.UTF-8",
        "JOBLIB_MULTIPROCESSING": "0",
    }


def _listen(process: subprocess.Popen[bytes], *, deadline: float) -> tuple[bytes, bytes, str | None]:
    """Read both pipes until they close. The third value says why listening stopped early."""
    output, complaint = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, kept in ((process.stdout, output), (process.stderr, complaint)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, kept)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return bytes(output), bytes(complaint), "timed_out"
            for key, _ in selector.select(remaining):
                part = os.read(key.fd, 1 << 16)
                if not part:
                    selector.unregister(key.fileobj)
                elif key.data is complaint:
                    complaint += part[: max(0, MAX_COMPLAINT_BYTES - len(complaint))]
                else:
                    output += part
                    if len(output) > MAX_ANSWER_BYTES:
                        return b"", bytes(complaint), "too_much_output"
    try:  # both pipes are closed, the process itself may linger
        process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return bytes(output), bytes(complaint), "timed_out"
    return bytes(output), bytes(complaint), None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # nobody of the group may be left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        _close(stream)


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        stream.close()


def _cause_of_death(returncode: int, complaint: str) -> str:
    if "memory allocation of" in complaint or "MemoryError" in complaint or "bad_alloc" in complaint:
        return "memory"
    if returncode == -signal.SIGXCPU:
        return "cpu_time"
    if returncode < 0:
        try:
            return signal.Signals(-returncode).name
        except ValueError:
            return f"signal {-returncode}"
    return f"exit {returncode}"
