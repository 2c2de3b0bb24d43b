"""The real server on a database of its own, for tests of what only a socket shows."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.supervisor.programs import ROOT, tiltyard

SET_UP = """
import django, json
django.setup()
from django.core.management import call_command
from django.utils import timezone
from mlops.tenancy import services
from mlops.tenancy.roles import Role
call_command("migrate", verbosity=0)
now = timezone.now()
customer = services.create_customer(name="Corner Shops", at=now)
roles = {role: services.create_api_key(customer=customer, role=Role(role), name=role, user=None, at=now)[1] for role in ("viewer", "admin")}
print(json.dumps(roles))
"""


@dataclass(frozen=True)
class Served:
    """A server that answers. `keys` are API keys by role."""

    port: int
    keys: dict[str, str]
    folder: Path

    def get(self, path: str, *, role: str = "", seconds: float = 10.0) -> tuple[int, float]:
        """Status, and seconds until it was there."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("GET", path, headers=self._credential(role))
            status = connection.getresponse().status
        finally:
            connection.close()
        return status, time.monotonic() - began

    def post(self, path: str, body: Any, headers: dict[str, str], *, role: str = "") -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of a POST; an iterable body goes in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", path, body=body, headers={**self._credential(role), **headers})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, dict(answer.getheaders()), json.loads(content) if content else None

    def begin(self, path: str, *, role: str = "", length: int | None = 1000, first: bytes = b"", **headers: str) -> socket.socket:
        """A POST whose body has only begun."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        named = {**self._credential(role), "Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        lines = [f"POST {path} HTTP/1.1", size, *(f"{name}: {value}" for name, value in named.items())]
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + first)
        return connection

    def _credential(self, role: str) -> dict[str, str]:
        return {"Host": f"localhost:{self.port}", **({"Authorization": f"Bearer {self.keys[role]}"} if role else {})}


def status_of(connection: socket.socket) -> int:
    """The status of what is answered on a connection; 0 when it is closed without an answer."""
    first = connection.recv(4096)
    return int(first.split(b" ", 2)[1]) if first else 0


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Served]:
    """Start the web program as the supervisor does, on SQLite in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"SECRET_KEY": "only-for-tests-0123456789abcdefghijklmnopqrstuvwxyz", "VAR_DIR": str(folder), "PORT": str(port)}
    env = {**os.environ, **given, "DJANGO_SETTINGS_MODULE": "mlops.settings", **settings}
    env.pop("DATABASE_URL", None)
    made = subprocess.run([sys.executable, "-c", SET_UP], cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=120)
    web = next(program for program in tiltyard(host="127.0.0.1", port=str(port)) if program.name == "web")
    with (folder / "web.log").open("wb") as log, subprocess.Popen(web.command, cwd=ROOT, env=env, stdout=log, stderr=log) as process:
        try:
            served = Served(port, json.loads(made.stdout.splitlines()[-1]), folder)
            _wait_for(served, process)
            yield served
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(served: Served, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if served.get("/health", seconds=2)[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError((served.folder / "web.log").read_text()[-3000:])
