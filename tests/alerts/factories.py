"""Rows of the inbox for tests. Call them inside a customer's scope and, on PostgreSQL, a transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from alerts.models import Channel, MLAlert
from alerts.rules import Finding
from alerts.services import channels, inbox
from alerts.states import AlertType, Severity
from mlops.tenancy.context import required
from mlops.tenancy.roles import Principal, Role

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def finding(**values: Any) -> Finding:
    """A drift, unless told otherwise."""
    given: dict[str, Any] = {
        "alert_type": AlertType.DRIFT_DETECTED,
        "severity": Severity.WARNING,
        "title": "demand_forecast v2 drifts in FOODS_3",
        "message": "Errors are beyond the baseline.",
        "cause": "drift_detected:demand_forecast:1",
        "model_name": "demand_forecast",
    }
    return Finding(**(given | values))


def make_alert(*, at: datetime = NOON, **values: Any) -> MLAlert:
    """An alert raised as subscribers raise it."""
    alert = inbox.raise_alert(finding=finding(**values), at=at)
    assert alert is not None
    return alert


def admin_of(principal: Callable[..., Principal]) -> Principal:
    """An administrator."""
    return principal("admin", "root@example.com")


def system_admin() -> Principal:
    """An administrator's key, without a person."""
    return Principal(kind="key", name="key:admin", role=Role.ADMIN, customer_id=required())


def make_webhook(url: str, *, at: datetime = NOON, name: str = "ops", **wishes: Any) -> tuple[Channel, str]:
    """A webhook that hears of everything, and its secret."""
    made = channels.create_channel(kind="webhook", name=name, target=url, by=system_admin(), at=at)
    channels.subscribe(channel_id=made.channel.pk, by=system_admin(), at=at, **({"min_severity": "info"} | wishes))
    return made.channel, made.secret


@dataclass
class Clock:
    """Time that stands still until it is told to go on."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> datetime:
        """Later by that much."""
        self.now += timedelta(**span)
        return self.now


@dataclass
class Receiver:
    """A webhook's other end: keeps what it got, answers what it is told to."""

    url: str
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers; afterwards 204."""


@contextmanager
def receiving(*answers: int) -> Iterator[Receiver]:
    """A real HTTP server on the loopback."""
    receiver = Receiver("", answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
