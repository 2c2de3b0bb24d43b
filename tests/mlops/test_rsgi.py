"""The server's door without a server: what a socket cannot be made to show."""

import errno
import tempfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops import rsgi
from mlops.rsgi import INTAKE, Answer, Door
from tests.mlops.helpers import on_a_loop
from tests.mlops.served import serving


class Sender:
    """A connection that sends one chunk and keeps what it is answered."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.answer: Answer | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content

    def response_bytes(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.answer = Answer(status, headers, content)


class FullDisk(BytesIO):
    def write(self, _: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        """What is left in a file's buffer is written once more."""
        super().close()
        raise OSError(errno.ENOSPC, "No space left on device")


def posted(size: int) -> SimpleNamespace:
    headers = {"content-length": str(size), "content-type": "multipart/form-data; boundary=x"}
    told = {"server": "localhost:80", "client": "192.0.2.1:5", "authority": "localhost", "scheme": "http", "http_version": "1.1"}
    return SimpleNamespace(method="POST", path="/v1/splits", query_string="", headers=headers, **told)


def no_folder(**_: Any) -> Any:
    raise FileNotFoundError(errno.ENOENT, "No such file or directory")


@pytest.mark.parametrize(("make", "code"), [(lambda **_: FullDisk(), "storage_full"), (no_folder, "storage_unavailable")])
def test_a_file_for_which_the_disk_has_no_place_is_503_with_a_code(monkeypatch: pytest.MonkeyPatch, make: Any, code: str) -> None:
    def wants_the_file(environ: dict[str, Any]) -> Answer:
        environ[INTAKE].want(limit=1_000_000, sender="somebody", most=1, into_file=True)
        return Answer(100)

    monkeypatch.setattr(rsgi, "_called", wants_the_file)
    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    sender = Sender(b"x" * 100_000)

    async def answer() -> None:
        await Door().__rsgi__(posted(100_000), sender)

    on_a_loop(answer())

    assert sender.answer is not None
    assert (sender.answer.status, f'"code": "{code}"'.encode() in sender.answer.content) == (503, True)


def test_a_header_that_the_server_does_not_hand_over_is_400(tmp_path: Path) -> None:
    """Shown on the real server, which tells the name and keeps the value."""
    body = b'{"name": "shop"}'
    with serving(tmp_path) as server:
        answers = []
        for name, value in (("Idempotency_Key", "schl\u00fcssel-1"), ("If_Match", "\u00e9"), ("Idempotency_Key", "key-1")):
            with server.begin("/api/v1/models", role="admin", length=len(body), first=body, **{name: value}) as connection:
                answers.append(connection.recv(4096))

    assert [int(answer.split(b" ", 2)[1]) for answer in answers] == [400, 400, 201]
    assert b"ASCII characters only: idempotency-key." in answers[0]
