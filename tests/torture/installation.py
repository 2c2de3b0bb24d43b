"""A whole installation for the storms: its own database server, broker, and the programs that the supervisor starts, each to be killed.

The programs run under the supervisor's keepers, so they end with the test process however it ends.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from mlops.supervisor.keeping import Lifeline, start_kept
from mlops.supervisor.programs import ROOT, Program, tiltyard
from tests.servers import DATABASE, BrokerServer, PostgresServer, wait_until
from tests.torture.calling import Caller

Database = Literal["postgresql", "sqlite"]
READY_S = 90.0

PRELUDE = """
import json, sys
import django
django.setup()
from django.db import transaction
from django.utils import timezone
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Role, system
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer
from uuid import UUID
given = json.loads(sys.argv[1])
if "shop" in given:
    given["shop"] = UUID(given["shop"])
now = timezone.now()
"""
SHOP = """
made = tenancy.create_customer(name=given["name"], at=now)
def key(role, user=None):
    return tenancy.create_api_key(customer=made, role=Role(role), name=role, user=user, at=now)[1]
said = {"id": str(made.pk), "keys": {role: key(role) for role in ("viewer", "data_scientist", "ml_manager", "admin")}}
"""


@dataclass(frozen=True)
class Shop:
    """A customer of the installation, with a key for each role."""

    id: str
    keys: dict[str, str]


@dataclass
class Installation:
    """A context manager. `up` and `kill` name programs: web, web2, jobs, events, deliveries, beat, relay, broker."""

    database: Database
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ty-storm-")))
    settings: dict[str, str] = field(default_factory=dict)
    server: PostgresServer | None = None
    broker: BrokerServer | None = None
    _kept: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _lifeline: Lifeline = field(default_factory=Lifeline.open)
    _ports: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> "Installation":
        try:
            if self.database == "postgresql":
                self.server = PostgresServer().__enter__()
                # An acknowledged commit is in the log: the tests' servers are otherwise made fast at that price.
                self.server.execute(f"ALTER DATABASE {DATABASE} SET synchronous_commit TO on")
            self.broker = BrokerServer(folder=self.folder)
            self.broker.start()
            self.manage("migrate", "--no-input")
            self.manage("collectstatic", "--no-input")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._kept):
            self.kill(name)
        if self.broker is not None:
            self.broker.__exit__()
        if self.server is not None:
            self.server.__exit__()
        self._lifeline.cut()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def env(self) -> dict[str, str]:
        """What every program of it inherits."""
        given = {"SECRET_KEY": "only-for-storms-0123456789abcdefghijklmnopqrstuvwxyz", "VAR_DIR": str(self.folder), "LOG_FORMAT": "json"}
        given |= {"DJANGO_SETTINGS_MODULE": "mlops.settings", "THROTTLE_PER_MINUTE": "100000000", "PYTHONUNBUFFERED": "1"}
        given["DATABASE_URL"] = self.server.url if self.server else f"sqlite:///{self.folder / 'tiltyard.sqlite3'}"
        inherited = {name: value for name, value in os.environ.items() if name != "BROKER_URL"}
        return {**inherited, **given, **self.settings}

    def manage(self, *arguments: str) -> None:
        """Run a command of manage.py to its end."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        subprocess.run(command, cwd=ROOT, env=self.env, check=True, timeout=180, stdout=subprocess.DEVNULL)

    def ask(self, code: str, **given: Any) -> Any:
        """Run Python in the installation's own Django: `given` is there, `now` as well; what it leaves in `said` is returned."""
        script = f"{PRELUDE}\n{code}\nprint('SAID' + json.dumps(said, default=str))"
        command = [sys.executable, "-c", script, json.dumps(given)]
        made = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=900, check=False)
        if made.returncode:
            raise AssertionError(made.stderr[-4000:])
        return json.loads(next(line for line in made.stdout.splitlines() if line.startswith("SAID"))[4:])

    @contextmanager
    def talking(self, code: str, **given: Any) -> Iterator[Callable[[Any], None]]:
        """A Python process in the installation's Django that reads JSON lines; the function sends one and waits until it is done with."""
        command = [sys.executable, "-c", PRELUDE + code, json.dumps(given)]
        process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        tell_to, heard = process.stdin, process.stdout
        try:
            assert heard.readline() == "READY\n"

            def tell(what: Any) -> None:
                tell_to.write(json.dumps(what) + "\n")
                tell_to.flush()
                assert heard.readline() == "DONE\n"

            yield tell
        finally:
            process.kill()
            process.wait(20)

    def shop(self, name: str) -> Shop:
        """A new customer with its keys."""
        made = self.ask(SHOP, name=name)
        return Shop(made["id"], made["keys"])

    def port(self, name: str = "web") -> int:
        """The port of a web program, which stays the same over its restarts."""
        if name not in self._ports:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._ports[name] = free.getsockname()[1]
        return self._ports[name]

    def caller(self, key: str = "", *, web: str = "web", seconds: float = 30.0) -> Caller:
        """A client of one thread, with a connection that it keeps."""
        return Caller(self.port(web), key, seconds=seconds)

    def program(self, name: str) -> Program:
        """A program as the supervisor knows it; `web2` is a second web process."""
        web = name.startswith("web")
        found = tiltyard(host="127.0.0.1", port=str(self.port(name if web else "web")))
        return next(one for one in found if one.name == ("web" if web else name.rstrip("23")))

    def up(self, *names: str, command: Sequence[str] = (), wait: bool = True, **settings: str) -> None:
        """Start what of these does not run, and wait until the web ones answer. `command` takes the place of a program's own."""
        for name in names:
            if name in self._kept and self._kept[name].poll() is None:
                continue
            program = self.program(name)
            with (self.folder / f"{name}.log").open("ab") as log:
                self._kept[name] = start_kept(
                    command or program.command,
                    lifeline=self._lifeline,
                    stop=program.stop,
                    env={**self.env, **settings},
                    cwd=ROOT,
                    output=log.fileno(),
                )
        for name in names if wait else ():
            if name.startswith("web"):
                wait_until(self.program(name).probe or (lambda: True), seconds=READY_S, what=name)

    def kill(self, name: str) -> None:
        """End a program and all it started by SIGKILL."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            kept.send_signal(signal.SIGQUIT)  # the keeper's word for "kill it now"
            kept.wait(30)

    def stop(self, name: str) -> None:
        """End a program in order."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            kept.terminate()
            kept.wait(60)

    def down(self) -> None:
        """Kill every program; the database and the broker stay."""
        for name in list(self._kept):
            self.kill(name)

    def processes(self, name: str) -> list[psutil.Process]:
        """The processes of a program: its own first, then those that it started."""
        kept = self._kept.get(name)
        if kept is None or kept.poll() is not None:
            return []
        try:
            own = psutil.Process(kept.pid).children()
            return [*own, *(child for one in own for child in one.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def log(self, name: str) -> str:
        """What a program has written."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tracebacks(self, name: str) -> list[str]:
        """Lines of a program's log that hold one. What Django notes of a client's strange `Host` is no defect."""
        return [line[-1500:] for line in self.log(name).splitlines() if "Traceback" in line and "django.security." not in line]

    def seconds_until_ready(self, *, seconds: float = READY_S) -> float:
        """How long it takes until /ready is green."""
        began, caller = time.monotonic(), self.caller()
        wait_until(lambda: caller.try_once("GET", "/ready").status == 200, seconds=seconds, what="readiness", every=0.05)
        return time.monotonic() - began
