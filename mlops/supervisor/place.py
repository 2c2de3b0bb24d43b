"""The state folder and the address: made ready before anything starts, or refused with a reason a person can act on."""

import errno
import fcntl
import os
import secrets
import socket
import time
from pathlib import Path

PREDECESSOR_S = 12.0


class Refused(Exception):
    """We cannot start here; the message says why and what to do."""


def open_state_folder(var_dir: Path) -> None:
    """Create the folder with its logs, for this user alone. Raises Refused where that is not possible."""
    try:
        (var_dir / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        var_dir.chmod(0o700)
    except OSError as error:
        raise Refused(f"The state folder {var_dir} cannot be used: {error.strerror}. Set VAR_DIR to another one.") from error


def lock(var_dir: Path, *, patience_s: float = PREDECESSOR_S) -> int:
    """Take the folder's lock and return its descriptor; it is ours as long as that, or a keeper's copy of it, is open.

    The keepers of a supervisor that was killed hold its lock until their programs are gone: that is waited for. Raises Refused when
    another supervisor is alive and well.
    """
    descriptor = os.open(var_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            if _alive(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                raise Refused(
                    f"Another supervisor (process {holder or 'unknown'}) runs on {var_dir}. Stop it first, or set another VAR_DIR."
                ) from None
            time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def secret_key(var_dir: Path) -> str:
    """The key kept in this folder, made on first use. Written aside and renamed, so that no half of one is ever read."""
    path = var_dir / "secret_key"
    if not path.exists():
        draft = var_dir / f"secret_key.{os.getpid()}"
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(64))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    return path.read_text().strip()


def keep_address(var_dir: Path, address: str) -> None:
    """Tell commands in other shells where the web process listens. Written aside first, so that no half of it is ever read."""
    draft = var_dir / f"address.{os.getpid()}"
    draft.write_text(f"{address}\n")
    draft.rename(var_dir / "address")


def check_address(host: str, port: str) -> None:
    """Raises Refused when nothing can listen there: taken, not ours, or not an address."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Refused(f"PORT={port} is not a port number (1 to 65535).")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise Refused(f"HOST={host} is not an address of this machine: {error.strerror}.") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refused(f"Port {port} on {host} is already in use. Stop what listens there, or choose another: PORT=8001.") from error
        raise Refused(f"Cannot listen on {host}:{port}: {error.strerror}.") from error


def _alive(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
