"""The registry at 200 and 20,000 versions of one model, over HTTP, beside an MLflow server on the same PostgreSQL.

Run: .venv/bin/python -m benchmarks.registry [--repeats 7] [--sizes 200 20000]

Both servers have one worker process and one keep-alive client; they take turns of some calls, and have to see the same versions. For some
there is a third one, the least that Django can do (`benchmarks.bare_django`): what it needs, no answer of Django's can save. Printed
are medians of the time a client waits: for the first call of a turn, when the other server has had the processor and its caches, and for
those that follow in a row. Then the mean CPU time that the server's processes spend on one of these (PostgreSQL's own is not in it),
which other work on the machine disturbs less. MLflow goes into an environment of its own under VAR_DIR, made on demand; where it cannot be
installed only our side is measured, and the output says so.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from tests.servers import DATABASE, LOGIN, PostgresServer

ROOT = Path(__file__).resolve().parents[1]
MLFLOW = "mlflow~=3.17.0"
STATE = Path(os.environ.get("VAR_DIR", ROOT / "var")) / "benchmarks"
NEEDLES = 20
IDLE = 2.0
IN_A_ROW = 20
METRICS = {"mae": 11.2, "mape": 0.14, "wape": 0.09, "rmse": 17.5, "bias_pct": -0.8, "coverage": 0.9, "tier": "gold"}
PARAMETERS = {"rounds": 200, "learning_rate": 0.05, "num_leaves": 63, "objective": "tweedie"}


@dataclass
class Client:
    """One keep-alive connection."""

    connection: http.client.HTTPConnection
    headers: dict[str, str]
    used: float = 0.0

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises RuntimeError for anything but success."""
        if time.monotonic() - self.used > IDLE:
            self.connection.close()  # the server may have hung up; http.client connects again by itself
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, {"Content-Type": "application/json", **self.headers})
        response = self.connection.getresponse()
        answer = response.read()
        self.used = time.monotonic()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {answer[:500]!r}")
        return json.loads(answer or b"{}")


@dataclass(frozen=True)
class Side:
    """One product's calls. Each takes the model's name and the repetition, and answers the version numbers it saw."""

    name: str
    process: int
    calls: dict[str, Callable[[str, int], list[int]]]


@dataclass(frozen=True)
class Turn:
    """Calls of one side in a row, in milliseconds: the first and the others as a client waits for them, and the server's CPU for each."""

    first: float
    row: list[float]
    cpu: float


@dataclass(frozen=True)
class Cost:
    """Of one call, in milliseconds: the medians of what the client waits, and the mean CPU time of the server's processes in a row."""

    first: float
    row: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 20_000])
    arguments = parser.parse_args()
    began = time.perf_counter()
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(durable=True))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiltyard-benchmark-")))
        sides = [stack.enter_context(tiltyard(postgres, folder, arguments.sizes))]
        python = mlflow_environment()
        if python is None:
            print(f"MLflow could not be installed ({MLFLOW}; see {STATE / 'mlflow.log'}): our side alone.\n")
        else:
            sides.append(stack.enter_context(mlflow(python, postgres, folder, arguments.sizes)))
        for database in (DATABASE, "mlflow")[: len(sides)]:
            postgres.execute("VACUUM ANALYZE", database=database)
        sides.append(stack.enter_context(bare_django(postgres, folder)))
        measured = measure(sides, arguments.sizes, arguments.repeats)
    show(measured, [side.name for side in sides], arguments.sizes)
    print(f"{arguments.repeats} repetitions each; whole run {time.perf_counter() - began:.0f} s")


def model_name(size: int) -> str:
    """The model with this many versions."""
    return f"model-of-{size}"


def measure(sides: list[Side], sizes: list[int], repeats: int) -> dict[int, dict[str, dict[str, Cost]]]:
    """What each call costs each side that has it. Sides and sizes take turns, so that a busy moment hits all of them."""
    found: dict[int, dict[str, dict[str, Cost]]] = {size: {} for size in sizes}
    for call in sides[0].calls:
        asked = [side for side in sides if call in side.calls]
        turns: dict[tuple[int, str], list[Turn]] = {(size, side.name): [] for size in sizes for side in asked}
        settle(sides)
        for repetition in range(-3, repeats):
            for size in sizes:
                seen = []
                for side in asked:
                    turn, answer = take_turn(side, call, size, repetition)
                    seen.append(answer)
                    if repetition >= 0:
                        turns[size, side.name].append(turn)
                if any(other != seen[0] for other in seen):
                    raise AssertionError(f"{call} of {model_name(size)}: the answers differ: {[one[:5] for one in seen]}")
        for size in sizes:
            found[size][call] = {side.name: cost_of(turns[size, side.name]) for side in asked}
    return found


def take_turn(side: Side, call: str, size: int, repetition: int) -> tuple[Turn, list[list[int]]]:
    """Some calls of one side in a row, each for a version of its own: what they cost, and the versions that they saw."""
    times, answers, cpu = [], [], 0.0
    for step in range(IN_A_ROW):
        number = size - 1 - (repetition * IN_A_ROW + step) % (size // 2)
        if step == 1:
            cpu = cpu_seconds(side.process)
        start = time.perf_counter()
        answers.append(side.calls[call](model_name(size), number))
        times.append(1000 * (time.perf_counter() - start))
    return Turn(times[0], times[1:], 1000 * (cpu_seconds(side.process) - cpu) / (IN_A_ROW - 1)), answers


def cost_of(turns: list[Turn]) -> Cost:
    """What a call costs, from the turns of one side."""
    rows = [time for turn in turns for time in turn.row]
    return Cost(statistics.median(turn.first for turn in turns), statistics.median(rows), statistics.mean(turn.cpu for turn in turns))


def settle(sides: list[Side], *, idle: float = 0.01, patience: float = 60.0) -> None:
    """Wait until no server computes anything any more: some go on starting up long after they take connections."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = [cpu_seconds(side.process) for side in sides]
        time.sleep(0.5)
        if all(cpu_seconds(side.process) - was < idle for side, was in zip(sides, before, strict=True)):
            return


def cpu_seconds(process: int) -> float:
    """CPU time of a process and its children so far, by Linux's clock of each process (clock_getcpuclockid(3)), to the nanosecond."""
    return sum(time.clock_gettime((~one << 3) | 2) for one in [process, *children_of(process)])


@cache
def children_of(process: int) -> list[int]:
    """Processes below this one; they are the same from the first call to the last."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
    below = [child for child, parent in parents.items() if parent == process]
    return below + [further for one in below for further in children_of(one)]


def show(measured: dict[int, dict[str, dict[str, Cost]]], names: list[str], sizes: list[int]) -> None:
    """Three tables: what the client waits, and what the server computes. A line per call, with how often ours fits into theirs."""
    first, last = sizes[0], sizes[-1]
    peer = names[1] if "mlflow" in names else None
    for title, cost in (("p50 in a row, ms", "row"), ("p50 of the first", "first"), ("server CPU, ms", "cpu")):
        print(f"{title:16}" + "".join(f"{f'{name} {size:,}':>19}" for name in names for size in sizes), end="")
        print(f"{'growth':>9}" + "".join(f"{f'ratio {size:,}':>14}" for size in sizes if peer))
        for call, sides in measured[first].items():
            of = {(name, size): getattr(measured[size][call][name], cost) for name in sides for size in sizes}
            cells = "".join(f"{of[name, size]:19.2f}" if name in sides else f"{'':19}" for name in names for size in sizes)
            ratios = "".join(f"{of[peer, size] / of[names[0], size]:13.1f}x" for size in sizes if peer)
            print(f"{call:16}{cells}{of[names[0], last] / of[names[0], first]:8.2f}x{ratios}")
        print()


@contextmanager
def tiltyard(postgres: PostgresServer, folder: Path, sizes: list[int]) -> Iterator[Side]:
    """Our server as a user has it: granian, one worker, a manager's API key."""
    environment = {"DATABASE_URL": postgres.url, "VAR_DIR": str(folder / "var"), "SECRET_KEY": "only-for-this-benchmark-" + "x" * 40}
    environment |= {"THROTTLE_PER_MINUTE": "1000000", "LOG_LEVEL": "WARNING", "DJANGO_SETTINGS_MODULE": "mlops.settings"}
    os.environ.update(environment)
    subprocess.run([sys.executable, str(ROOT / "manage.py"), "migrate", "-v", "0"], check=True, timeout=300, cwd=ROOT)
    secret = fill_tiltyard(sizes)
    port = free_port()
    options = ["--interface", "rsgi", "--workers", "1", "--no-ws", "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "granian", *options, "mlops.rsgi:door"]
    with running(command, folder / "tiltyard.log", port) as (connection, process):
        client = Client(connection, {"Authorization": f"Bearer {secret}"})
        base = "/api/v1/models"

        def numbers(path: str) -> list[int]:
            return [row["number"] for row in client.call("GET", path)["results"]]

        def promoted(model: str, number: int) -> list[int]:
            answer = client.call("POST", f"{base}/{model}/promote/v{number}", {"reason": "benchmark"})
            return [int(answer["version"].removeprefix("v"))]

        yield Side(
            "tiltyard",
            process,
            {
                "get version": lambda model, number: [client.call("GET", f"{base}/{model}/versions/v{number}")["number"]],
                "list 100": lambda model, number: numbers(f"{base}/{model}/versions?limit=100"),
                "set champion": promoted,
                "get model": lambda model, number: [int(client.call("GET", f"{base}/{model}")["champion"]["version"].removeprefix("v"))],
                "search versions": lambda model, number: numbers(f"{base}/{model}/versions?search=needle&limit=100"),
                "search models": lambda model, number: [len(client.call("GET", f"{base}?search={model}")["results"])],
            },
        )


def fill_tiltyard(sizes: list[int]) -> str:
    """A customer with a model for each size; returns an API key."""
    import django

    django.setup()
    from django.db import transaction

    from mlops.tenancy.principals import acting
    from mlops.tenancy.roles import Role, system
    from mlops.tenancy.services import create_api_key, create_customer
    from registry.models import ModelVersion, RegisteredModel

    now = datetime.now(UTC)
    customer = create_customer(name="Benchmark", at=now)
    _, secret = create_api_key(customer=customer, role=Role.ML_MANAGER, name="benchmark", user=None, at=now)
    common = {"metrics": METRICS, "hyperparameters": PARAMETERS, "created_by": "benchmark", "created_at": now, "status_changed_at": now}
    for size in sizes:
        with transaction.atomic(), acting(system(customer.pk)):
            name = model_name(size)
            counters = {"last_version_number": size, "last_label_number": size, "status_counts": {"candidate": size}}
            model = RegisteredModel.objects.create(name=name, created_by="benchmark", created_at=now, **counters)
            versions = []
            for number in range(1, size + 1):
                notes = "needle" if is_needle(number, size) else ""
                versions.append(ModelVersion(model=model, model_name=name, version=f"v{number}", number=number, notes=notes, **common))
            ModelVersion.objects.bulk_create(versions, batch_size=2000)
    return secret


def is_needle(number: int, size: int) -> bool:
    """Whether a search should find this version: as many in every size, spread over all of them."""
    return number % (size // NEEDLES) == 0


def mlflow_environment() -> Path | None:
    """The Python of an environment with MLflow, made if it is not there; None if it cannot be."""
    python = STATE / "mlflow" / "bin" / "python"
    if (python.parent / "mlflow").exists():
        return python
    STATE.mkdir(parents=True, exist_ok=True)
    print(f"installing {MLFLOW} …", flush=True)
    with (STATE / "mlflow.log").open("w") as log:
        made = subprocess.run([sys.executable, "-m", "venv", str(STATE / "mlflow")], stdout=log, stderr=log, check=False, timeout=120)
        install = [str(python), "-m", "pip", "install", "--quiet", MLFLOW, "psycopg2-binary"]
        done = made.returncode == 0 and subprocess.run(install, stdout=log, stderr=log, check=False, timeout=480).returncode == 0
    return python if done else None


@contextmanager
def mlflow(python: Path, postgres: PostgresServer, folder: Path, sizes: list[int]) -> Iterator[Side]:
    """MLflow's server on a database of its own in the same cluster."""
    postgres.execute(f"CREATE DATABASE mlflow OWNER {LOGIN}")
    postgres.execute(f"ALTER SCHEMA public OWNER TO {LOGIN}", database="mlflow")
    store = f"postgresql+psycopg2://{LOGIN}@/mlflow?host={quote(str(postgres.folder), safe='')}"
    port = free_port()
    command = [str(python.parent / "mlflow"), "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--default-artifact-root", str(folder / "mlruns")]
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
    with running(command, folder / "mlflow.log", port) as (connection, process):
        client = Client(connection, {})
        base = "/api/2.0/mlflow"
        for size in sizes:
            name = model_name(size)
            client.call("POST", f"{base}/registered-models/create", {"name": name})
            client.call("POST", f"{base}/model-versions/create", {"name": name, "source": "s3://benchmark/model", "tags": []})
            fill_mlflow(postgres, name, size)

        def search(text: str) -> list[int]:
            query = urlencode({"filter": text, "max_results": 100, "order_by": "version_number DESC"})
            rows = client.call("GET", f"{base}/model-versions/search?{query}").get("model_versions", [])
            return [int(row["version"]) for row in rows]

        def crowned(model: str, number: int) -> list[int]:
            client.call("POST", f"{base}/registered-models/alias", {"name": model, "alias": "champion", "version": str(number)})
            return [number]

        def got(model: str, number: int) -> list[int]:
            query = urlencode({"name": model, "version": number})
            return [int(client.call("GET", f"{base}/model-versions/get?{query}")["model_version"]["version"])]

        def champion(model: str, number: int) -> list[int]:
            found = client.call("GET", f"{base}/registered-models/get?{urlencode({'name': model})}")["registered_model"]
            return [int(alias["version"]) for alias in found["aliases"]]

        def models(model: str, number: int) -> list[int]:
            query = urlencode({"filter": f"name LIKE '%{model}%'"})
            return [len(client.call("GET", f"{base}/registered-models/search?{query}")["registered_models"])]

        yield Side(
            "mlflow",
            process,
            {
                "get version": got,
                "list 100": lambda model, number: search(f"name='{model}'"),
                "set champion": crowned,
                "get model": champion,
                "search versions": lambda model, number: search(f"name='{model}' and tags.note = 'needle'"),
                "search models": models,
            },
        )


@contextmanager
def bare_django(postgres: PostgresServer, folder: Path) -> Iterator[Side]:
    """The least that Django can do, on our rows, as a login that no row policy binds."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--workers", "1", "--no-ws", "--host", "127.0.0.1"]
    command += ["--port", str(port), "benchmarks.bare_django:application"]
    os.environ["DATABASE_URL"] = postgres.url_of("postgres")
    with running(command, folder / "bare.log", port) as (connection, process):
        client = Client(connection, {})

        def numbers(path: str) -> list[int]:
            return [row["number"] for row in client.call("GET", path)["results"]]

        def crowned(model: str, number: int) -> list[int]:
            return [int(client.call("POST", f"/{model}/promote/v{number}")["version"].removeprefix("v"))]

        yield Side(
            "bare Django",
            process,
            {
                "get version": lambda model, number: [client.call("GET", f"/{model}/versions/v{number}")["number"]],
                "list 100": lambda model, number: numbers(f"/{model}/versions"),
                "set champion": crowned,
            },
        )


def fill_mlflow(postgres: PostgresServer, name: str, size: int) -> None:
    """Copy the version that MLflow made itself, whatever columns it has; the API would take minutes."""
    with psycopg.connect(host=str(postgres.folder), user=LOGIN, dbname="mlflow") as connection:
        query = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s"
        columns = [row[0] for row in connection.execute(query, ["model_versions"])]
        taken = ", ".join("number" if column == "version" else column for column in columns)
        copied = f"INSERT INTO model_versions ({', '.join(columns)}) SELECT {taken} FROM model_versions, generate_series(2, %s) AS number"
        connection.execute(f"{copied} WHERE name = %s AND version = 1".encode(), [size, name])
        tags = [row[0] for row in connection.execute(query, ["model_version_tags"])]
        values = {"name": "v.name", "version": "v.version", "key": "'note'", "value": "'needle'"}
        given = ", ".join(values.get(column, f"v.{column}") for column in tags)
        tagged = f"INSERT INTO model_version_tags ({', '.join(tags)}) SELECT {given} FROM model_versions v WHERE v.name = %s"
        connection.execute(f"{tagged} AND v.version %% %s = 0".encode(), [name, size // NEEDLES])


@contextmanager
def running(command: list[str], log: Path, port: int) -> Iterator[tuple[http.client.HTTPConnection, int]]:
    """A connection to the server once it takes one, and the server's process."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while not takes_connections(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not start: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        yield connection, process.pid
        connection.close()
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def takes_connections(port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
