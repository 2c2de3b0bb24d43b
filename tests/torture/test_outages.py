"""Promises 4, 7 and 8: database restarts and brokers that are down, slow or silent, under acknowledged writes."""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from mlops import broker
from tests.servers import wait_until
from tests.torture.calling import GONE, Answer, Caller
from tests.torture.installation import Installation, Shop
from tests.torture.storms import Storm, percentile, times, together
from tests.torture.test_killed_web import COUNT, LATER, Writer, begin, judge

pytestmark = pytest.mark.torture
NewStorm = Callable[..., Storm]
RESTARTS = 50
GREEN_S = 2.0
OUTAGE = ("django.db.utils.OperationalError", "django.db.utils.InterfaceError", "psycopg_pool.PoolTimeout")
"""What the log may tell of while the database is away."""
ACCEPT_S = 0.2
ACCEPTS = 500
READS = (
    "/api/v1/me",
    "/api/v1/models",
    "/api/v1/models/killed_0",
    "/api/v1/models/killed_0/versions",
    "/api/v1/jobs",
    "/admin/login/",
    "/ready",
    "/health",
)


def judge_outage(answer: Answer, raging: Storm, what: str) -> None:
    """While the database is away: an answer, or 503 with Retry-After; never 500."""
    if answer.status == 503:
        raging.count("answers 503")
        raging.expect("retry-after" in answer.headers, f"503 without Retry-After: {what} {answer}")
        return
    raging.expect(answer.status not in (GONE, 500, 502, 504), f"{answer.status}: {what} {answer}")
    raging.count("answers")


class Watched(Caller):
    """A client whose every answer is judged."""

    raging: Storm

    def try_once(self, *given: object, **named: object) -> Answer:
        """As always; the answer is judged."""
        answer = super().try_once(*given, **named)  # type: ignore[arg-type]  # handed on as it came
        judge_outage(answer, self.raging, str(given[:2]))
        return answer


def test_restarts_of_the_database_are_503_and_lose_nothing(on_postgresql: Installation, storm: NewStorm) -> None:
    raging = storm("4, 8 · database restarts", on="postgresql")
    shop = on_postgresql.shop("Restarted")
    on_postgresql.up("web", "relay")
    writers = begin(on_postgresql, shop)
    for writer in writers:
        writer.caller = watched = Watched(on_postgresql.port(), shop.keys["ml_manager"], seconds=60)
        watched.raging = raging
    over = Event()
    green: list[float] = []

    def write(writer: Writer) -> None:
        while not over.is_set():
            writer.write()

    def read() -> None:
        caller, chance = on_postgresql.caller(shop.keys["viewer"], seconds=60), random.Random(8)
        while not over.is_set():
            path = chance.choice(READS)
            answer = caller.try_once("GET", path)
            judge_outage(answer, raging, path)
            raging.expect(path != "/health" or answer.status == 200, f"no health: {answer}")

    def restart() -> None:
        chance = random.Random(8)
        try:
            for _ in range(times(RESTARTS, least=3)):
                time.sleep(0.3 + chance.random())
                _restart(on_postgresql, chance)
                green.append(on_postgresql.seconds_until_ready())
                raging.count("restarts")
        finally:
            over.set()

    together([restart, read, *(lambda one=one: write(one) for one in writers)])
    on_postgresql.ask(LATER, shop=shop.id)
    together([lambda one=one: one.finish(within=60) for one in writers])

    judge(writers, on_postgresql.ask(COUNT, shop=shop.id), raging)
    raging.faults.extend(odd for writer in writers for odd in writer.odd)
    raging.note(f"green after {percentile(green, 0.5):.2f} s in the middle, {max(green):.2f} s at most")
    raging.expect(max(green) <= GREEN_S, f"green late: {max(green):.2f} s after the database was back")
    strange = [one for one in on_postgresql.tracebacks("web") if not _raised(one).startswith(OUTAGE)]
    raging.expect(not strange, f"a traceback: {strange[:1]}")
    raging.assert_kept(**{"restarts": times(RESTARTS, least=3), "acknowledged versions": 6})


def _raised(traceback: str) -> str:
    """What a logged traceback ends with; further lines of its message are indented, as the traceback's own are."""
    return [line for line in traceback.rstrip('"}').split("\\n") if not line.startswith((" ", "\\t"))][-1]


def _restart(installation: Installation, chance: random.Random) -> None:
    server = installation.server
    assert server is not None
    server.stop()
    time.sleep(chance.choice((0.0, 0.2, 1.5)))
    server.start()


@contextlib.contextmanager
def in_its_place(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """Something else that listens where the broker did."""
    path.unlink(missing_ok=True)
    over = Event()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen(200)
        door.settimeout(0.2)

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    serve(door.accept()[0])

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(5)
            path.unlink(missing_ok=True)


def slowly(to: Path, seconds: float) -> Callable[[socket.socket], None]:
    """Passes everything on to the broker, each piece after a while."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                time.sleep(seconds)
                target.sendall(part)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve(connection: socket.socket) -> None:
        beyond = socket.socket(socket.AF_UNIX)
        beyond.connect(str(to))
        for pair in ((connection, beyond), (beyond, connection)):
            threading.Thread(target=pump, args=pair, daemon=True).start()

    return serve


def accepts(installation: Installation, shop: Shop, raging: Storm, state: str) -> None:
    """Requests whose work the broker carries: news in the outbox, and jobs."""
    caller, seconds = installation.caller(shop.keys["ml_manager"]), []
    data = installation.folder / "data" / "sales.csv"
    data.write_text("date,item,units\n" + "".join(f"2026-01-{day:02d},a,{day}\n" for day in range(1, 29)))
    count = times(ACCEPTS, least=60)
    for number in range(count):
        answer = caller.post("/api/v1/models/accepted/versions", {})
        raging.expect(answer.status == 201, f"not accepted: broker {state}, {answer}")
        moved = caller.post(f"/api/v1/models/accepted/promote/{answer.json()['version']}", {})
        raging.expect(moved.status == 200, f"not accepted: broker {state}, {moved}")
        job = caller.post("/api/v1/models/accepted/retrain", {"data_dir": str(data)})
        raging.expect(job.status in (202, 409), f"not accepted: broker {state}, {job}")
        seconds += [answer.seconds, moved.seconds, job.seconds]
        raging.count("accepts", 3)
        raging.count("jobs", job.status == 202)
        if job.status == 202 and number < count - 1:  # one at a time; the last one waits for the broker
            stopped = caller.post(job.headers["location"] + "/cancel")
            raging.expect(stopped.status == 200, f"not accepted: broker {state}, {stopped}")
    p99 = percentile(seconds, 0.99)
    raging.note(f"broker {state}: p99 {p99 * 1000:.0f} ms, in the middle {percentile(seconds, 0.5) * 1000:.0f} ms")
    raging.expect(p99 <= ACCEPT_S, f"p99 {p99 * 1000:.0f} ms: broker {state}, {ACCEPT_S * 1000:.0f} ms allowed")


LEFT = """
from mlops.jobs.models import Job
from mlops.outbox.models import Message
messages = Message.objects.filter(customer_id=given["shop"])
jobs = Job.objects.filter(customer_id=given["shop"])
said = {"waiting": messages.filter(handled_at=None).count(), "dead": messages.exclude(dead_at=None).count(), "messages": messages.count(),
        "open": jobs.filter(state__in=("queued", "running")).count(), "jobs": jobs.count(),
        "last": list(messages.filter(handled_at=None).values_list("last_error", flat=True)[:3])}
"""


def test_a_broker_in_any_state_delays_nobody_and_everything_runs_afterwards(installation: Installation, storm: NewStorm) -> None:
    raging = storm("7 · broker down, slow, silent")
    shop = installation.shop("Brokered")
    server = installation.broker
    assert server is not None
    installation.up("web", "relay", "events", "jobs")
    first = installation.caller(shop.keys["ml_manager"])
    assert first.post("/api/v1/models", {"name": "accepted"}).status == 201
    path = broker.socket_path(installation.folder)
    accepts(installation, shop, raging, "up")
    server.kill()
    accepts(installation, shop, raging, "down")
    silent: list[socket.socket] = []
    with in_its_place(path, silent.append):
        accepts(installation, shop, raging, "silent")
    for one in silent:
        one.close()
    server.start()
    hidden = path.with_name("real.sock")
    path.rename(hidden)
    with in_its_place(path, slowly(hidden, 0.3)):
        accepts(installation, shop, raging, "slow")
    server.kill()
    server.start()
    left: dict[str, object] = {}

    def all_done() -> bool:
        left.clear()
        left.update(installation.ask(LEFT, shop=shop.id))
        return not left["waiting"] and not left["open"]

    began = time.monotonic()
    with contextlib.suppress(RuntimeError):
        wait_until(all_done, seconds=300, what="everything to run", every=2)
    raging.note(f"{time.monotonic() - began:.0f} s after the broker was back: {left}")
    raging.expect(not left["waiting"] and not left["open"] and not left["dead"], f"left undone: {left}")
    raging.expect(not installation.tracebacks("web"), f"a traceback: {installation.tracebacks('web')[:1]}")
    raging.assert_kept(accepts=4 * 3 * times(ACCEPTS, least=60), jobs=4)
