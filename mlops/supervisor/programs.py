"""Which programs make up Tiltyard on one machine, and how each is started, asked, and stopped."""

import http.client
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

from mlops import broker
from mlops.supervisor.supervise import Program

ROOT = Path(__file__).resolve().parents[2]
BROKER, WORKERS, DOORS = 0, 1, 2
JOB_PROCESSES = max(int(os.environ.get("JOB_PROCESSES") or 2), 1)
DELIVERY_THREADS = 8
"""They wait for receivers, so threads do: one slow receiver holds one, and a channel never has two."""
# Warm first: a task that is nearly through may end. Then cold: its message goes back to the broker. Jobs have leases in any case.
_WORKER_STOP = ((signal.SIGTERM, 5.0), (signal.SIGQUIT, 3.0))


def manage(*arguments: str) -> tuple[str, ...]:
    """A command of `manage.py`, by this interpreter."""
    return (sys.executable, str(ROOT / "manage.py"), *arguments)


def embedded_broker(var_dir: Path) -> Program | None:
    """The broker that comes along; None where files take its place."""
    command = broker.server_command(var_dir)
    if command is None:
        return None
    return Program(
        name="broker",
        command=command,
        stage=BROKER,
        stop=((signal.SIGTERM, 5.0),),
        probe=partial(broker.answers, broker.default_broker_url(var_dir)),
        detail=f"{Path(command[0]).name} on a private socket",
        meant=("Memory overcommit must be enabled",),  # ours is small, and only the machine's owner could change it
    )


def tiltyard(*, host: str, port: str) -> list[Program]:
    """Web, workers, beat and relay. Control work has a worker of its own, so that it waits behind no long job and no receiver."""
    return [
        _worker("jobs", processes=JOB_PROCESSES),
        _worker("events", processes=1),
        _worker("deliveries", threads=DELIVERY_THREADS),
        Program(name="beat", command=_celery("beat", "--pidfile="), stage=DOORS, detail="the schedules' clock"),
        Program(name="relay", command=manage("relay"), stage=DOORS, detail="carries news from the outbox to the workers"),
        _web(host=host, port=port),
    ]


def get_json(url_host: str, port: str, path: str) -> dict[str, object] | None:
    """The answer of our own web server as JSON; None while there is none."""
    connection = http.client.HTTPConnection(url_host, int(port), timeout=3)
    try:
        connection.request("GET", path, headers={"Host": f"localhost:{port}", "Accept": "application/json"})
        body = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return body if isinstance(body, dict) else None


def reachable_host(host: str) -> str:
    """Where to find on this machine what listens on `host`: a wildcard is not an address to call."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound


def _web(*, host: str, port: str) -> Program:
    # Threads are mlops.rsgi's own, WEB_THREADS of them; granian needs none. A sender of slow headers is given up after ten seconds.
    served = ("--interface", "rsgi", "--workers", "1", "--no-ws", "--http1-header-read-timeout", "10000")
    options = (*served, "--respawn-failed-workers", "--respawn-interval", "0.2", "--host", host, "--port", port)
    return Program(
        name="web",
        command=(sys.executable, "-m", "granian", *options, "mlops.rsgi:door"),
        stage=DOORS,
        probe=lambda: get_json(reachable_host(host), port, "/health") is not None,
        detail=f"{host}:{port}",
    )


def _worker(queue: str, *, processes: int = 1, threads: int = 0) -> Program:
    quiet = ("--without-mingle", "--without-gossip", "--without-heartbeat")  # they serve monitors that we do not run
    pool = ("-P", "threads", "-c", str(threads)) if threads else ("-c", str(processes))
    strength = f"{threads} threads" if threads else f"{processes} process{'es' if processes > 1 else ''}"
    return Program(
        name=queue,
        command=_celery("worker", "-Q", queue, *pool, "-n", f"{queue}@%h", *quiet),
        stage=WORKERS,
        stop=_WORKER_STOP,
        detail=f"worker of the queue {queue}, {strength}",
    )


def _celery(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", "-A", "mlops", *arguments)
