"""The server's door, called as granian calls it: who waits for a thread, and how long."""

import asyncio
import time
from collections.abc import AsyncIterator
from threading import Barrier, Lock
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import LazySettings

from mlops import rsgi
from mlops.rsgi import INTAKE, Answer, Door
from tests.mlops.helpers import on_a_loop

BODY = b"--x\r\n" + b"," * rsgi.ANNOUNCED + b"\r\n--x--\r\n"
SMALL_FORM, SMALL_JSON = b"--x\r\n,\r\n--x--\r\n", b"{}"
WORK_S = 0.3


class Sent:
    """A request's body, and the status of what was answered."""

    def __init__(self, body: bytes) -> None:
        self.body, self.status = body, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body

    def response_bytes(self, status: int, _headers: Any, _content: bytes) -> None:
        """Granian's own name."""
        self.status = status


def scope(body: bytes) -> Any:
    content_type = "application/json" if body == SMALL_JSON else "multipart/form-data; boundary=x"
    headers = {"content-type": content_type, "content-length": str(len(body))}
    common = {"server": "localhost:8000", "client": "127.0.0.1:9", "scheme": "http", "authority": "", "http_version": "1.1"}
    return SimpleNamespace(method="POST", path="/api/v1/datasets", query_string="", headers=headers, **common)


def working(environ: dict[str, Any]) -> Answer:
    """Wants every body that is announced as a file, and takes its time with it."""
    if not environ[INTAKE].arrived:
        environ[INTAKE].want(limit=10 * len(BODY), sender="kim", most=9, into_file=True)
        return Answer(100)
    time.sleep(WORK_S)
    return Answer(202)


async def send_together(count: int, body: bytes) -> list[int]:
    door, sent = Door(), [Sent(body) for _ in range(count)]
    await asyncio.gather(*(door.__rsgi__(scope(body), one) for one in sent))
    return sorted(one.status for one in sent)


@pytest.mark.parametrize(("body", "expected"), [(BODY, [202, 202, 202]), (SMALL_FORM, [202, 202, 202]), (SMALL_JSON, [202, 503, 503])])
def test_who_has_sent_a_whole_file_waits_longer_for_a_thread(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings, body: bytes, expected: list[int]
) -> None:
    settings.WEB_THREADS = 3
    monkeypatch.setattr(rsgi, "_called", working)
    monkeypatch.setattr(rsgi, "PATIENCE", WORK_S / 3)

    assert on_a_loop(send_together(3, body)) == expected


@pytest.mark.parametrize("body", [BODY, SMALL_FORM])
def test_forms_of_any_size_are_read_a_few_at_a_time_and_counted_for_their_sender(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(rsgi, "how_many", lambda: 2)
    reading, most, read = 0, 0, Lock()
    enough = Barrier(2)

    def called(environ: dict[str, Any]) -> Answer:
        nonlocal reading, most
        if not environ[INTAKE].arrived:
            environ[INTAKE].want(limit=10 * len(BODY), sender="kim", most=4, into_file=True)
            return Answer(100)
        with read:
            reading += 1
            most = max(most, reading)
        enough.wait(10)
        assert environ["wsgi.input"].read() == body
        with read:
            reading -= 1
        return Answer(202)

    monkeypatch.setattr(rsgi, "_called", called)

    assert on_a_loop(send_together(6, body)) == [202, 202, 202, 202, 429, 429]
    assert most == 2
