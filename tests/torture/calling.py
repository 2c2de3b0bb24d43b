"""A client for storms: one connection that is kept, raw headers and paths, and no answer where none came."""

import contextlib
import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GONE = 0
"""The status where no answer came: the connection was refused, or broke."""


@dataclass(frozen=True)
class Answer:
    """What came back; `status` is GONE where nothing did."""

    status: int
    headers: dict[str, str]
    content: bytes
    seconds: float

    def json(self) -> Any:
        """The content."""
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The problem's code, or nothing."""
        if not self.headers.get("content-type", "").startswith("application/problem+json"):
            return ""
        return str(self.json().get("code", ""))

    def __str__(self) -> str:
        return f"{self.status} {self.content[:300]!r}"


class Caller:
    """For one thread."""

    def __init__(self, port: int, key: str = "", *, seconds: float = 30.0) -> None:
        self.port, self.key, self.seconds = port, key, seconds
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str, **headers: str) -> Answer:
        """A GET that is sent again while nobody answers."""
        return self.surely("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        """One POST of JSON."""
        return self.try_once("POST", path, body={} if body is None else body, headers=headers)

    def surely(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        within: float = 120.0,
        unready: bool = True,
    ) -> Answer:
        """Send until there is an answer; with `unready` a 503 is none. For what may be repeated."""
        deadline = time.monotonic() + within
        while True:
            answer = self.try_once(method, path, body=body, headers=headers)
            if answer.status not in ((GONE, 503) if unready else (GONE,)):
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path}: nobody has answered for {within:.0f} s, at last {answer}")
            time.sleep(0.05)

    def try_once(self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send once, on the kept connection if there is one. An idle one that the server has closed meanwhile is opened anew."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        fresh = self._connection is None
        answer = self._send(method, path, content, headers or {})
        if answer.status == GONE and not fresh and method == "GET":
            return self._send(method, path, content, headers or {})
        return answer

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        began = time.monotonic()
        named = {"Host": f"localhost:{self.port}", "Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            named["Authorization"] = f"Bearer {self.key}"
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.seconds)
            self._connection.request(method, path, content, {**named, **headers})
            response = self._connection.getresponse()
            found = response.read()
        except (OSError, http.client.HTTPException):
            with contextlib.suppress(OSError):
                self.close()
            return Answer(GONE, {}, b"", time.monotonic() - began)
        if response.will_close:
            self.close()
        lowered = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, lowered, found, time.monotonic() - began)
