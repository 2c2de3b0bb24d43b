"""Promise 1 where it begins: whatever bytes reach the socket, and however clients leave, the server goes on as if they had not been."""

import random
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.torture.installation import Installation
from tests.torture.storms import Storm, times, together

pytestmark = pytest.mark.torture
NewStorm = Callable[..., Storm]
REQUEST = b"POST /api/v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEADERS = (
    b"X-A: \xff\xfe\x80", b"X-A: \xc3\xa9", b"X-Request-ID: " + b"\xe2\x82" * 40, b"Accept: " + b"a/b;q=," * 900,
    b"Cookie: sessionid=\xff; csrftoken=", b"Cookie: " + b"a=b; " * 1500, b"Content-Length: 0\r\nTransfer-Encoding: chunked",
    b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 1e3",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity", b"Expect: 100-continue\r\nContent-Length: 2",
    b"Expect: nonsense", b"Host: a\r\nHost: b", b"Host: \xff", b"X_Underscore: 1", b"Content_Length: 9",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings", b"Authorization: Bearer \xff\xff", b"Authorization: Basic " + b"A" * 6000,
    b"Authorization: Bearer ty_\xc3\x28", b"Authorization: ", b"Idempotency-Key: \xff", b"If-Match: \"\xff\"",
    b"If-Match: " + b"W/" * 500, b"Content-Type: application/json; charset=\xff", b"Content-Type: multipart/form-data; boundary=\xff",
    b"Content-Type: multipart/form-data; boundary=" + b"b" * 5000, b"X-Forwarded-For: \x01", b"X-Forwarded-Proto: \xff",
    b"Range: bytes=0-", b"A" * 9000 + b": b", b": empty", b" folded: x", b"X: a\r\n b", b"Forwarded: for=\"[::1\"",
    b"Accept-Language: " + b"x-" * 3000, b"Origin: null", b"Referer: http://[", b"Host:", b"Host: localhost:99999999", b"Host: [::1",
    b"Host: a b",
)  # fmt: skip
TARGETS = (
    b"/", b"*", b"http://localhost/api/v1/me", b"http://evil.example/api/v1/me", b"//evil.example/", b"/%", b"/%zz", b"/%ff%fe",
    b"/\xff\xfe", b"/api/v1/me?\xff=\xfe", b"/api/v1/jobs?page=%ff", b"/" + b"a" * 60000, b"/api/v1/models/" + b"%f0%9f%98%80" * 500,
    b"/api/v1/models/%2e%2e/%2e%2e/x", b"/?" + b"a=b&" * 12000, b"/api/v1/models/a%00b", b"/static/../../etc/passwd",
    b"/static/%2e%2e/%2e%2e/manage.py", b"/static/%00", b"/static/" + b"x" * 5000, b"/api/v1/models;a=b", b"/admin/login/?next=//evil",
    b"/health?x=\xff",
)  # fmt: skip
BODIES = (
    b"", b"{}", b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"zz\r\n{}\r\n", b"ffffffffffffffff\r\n{}", b"2\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
    b"-1\r\n", b"2;ext=" + b"x" * 5000 + b"\r\n{}\r\n0\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 500,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"FOO", b"get", b"M" * 200)
VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"")


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[Installation]:
    """What the server does with bytes is the same on both databases."""
    with Installation("sqlite") as made:
        yield made


def made_up(chance: random.Random) -> bytes:
    head = b" ".join((chance.choice(METHODS), chance.choice(TARGETS), chance.choice(VERSIONS)))
    headers = [b"Host: localhost", *chance.sample(HEADERS, chance.randint(0, 4))]
    content = b"\r\n".join([head, *headers, b"", b""]) + chance.choice(BODIES)
    if chance.random() < 0.1:
        spot = chance.randrange(len(content))
        content = content[:spot] + chance.randbytes(chance.randint(1, 20)) + content[spot:]
    return content


def exchange(port: int, content: bytes, *, patience: float = 0.5) -> bytes:
    """What is answered to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.settimeout(patience)
        found = b""
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                found += part
        except OSError:
            pass
    return found


def statuses(found: bytes) -> list[int]:
    return [int(line[9:12]) for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.") and line[9:12].isdigit()]


def test_no_bytes_on_the_wire_are_answered_by_a_5xx_or_end_the_server(on_sqlite: Installation, storm: NewStorm) -> None:
    raging = storm("1 · bytes on the wire", on="sqlite")
    on_sqlite.up("web")
    before = {one.pid for one in on_sqlite.processes("web")}

    def send(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(times(2_500, least=50)):
            content = made_up(chance)
            found = exchange(on_sqlite.port(), content)
            raging.count("requests")
            raging.count("answers", len(statuses(found)))
            for status in statuses(found):
                # 501 and 505 say that the request, not the server, is at fault, and are hyper's own.
                raging.expect(status < 500 or status in (501, 505), f"{status}: {content[:400]!r}")

    together([lambda seed=seed: send(seed) for seed in range(4)])

    raging.expect({one.pid for one in on_sqlite.processes("web")} == before, "a process died: of the web server")
    raging.expect(on_sqlite.caller().get("/health").status == 200, "no health: afterwards")
    raging.expect(not on_sqlite.tracebacks("web"), f"a traceback: {on_sqlite.tracebacks('web')[:1]}")
    raging.assert_kept(requests=4 * times(2_500, least=50), answers=1)


def leave(port: int, key: str, chance: random.Random) -> None:
    """Begin a request and go at some moment: in the headers, in the body, before the answer, within it; by FIN or by RST."""
    body = b'{"name": "' + b"x" * chance.choice((5, 200, 40_000, 90_000)) + b'"}'
    length = len(body) + chance.choice((0, 0, 10))
    head = REQUEST + b"Authorization: Bearer " + key.encode() + b"\r\n"
    content = head + b"Content-Length: %d\r\n\r\n" % length + body
    if chance.random() < 0.4:
        content = b"GET /api/v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + key.encode() + b"\r\n\r\n"
    elif chance.random() < 0.3:
        content = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n" + chance.choice((b"", b"0\r\n\r\n"))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        if chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # leave by RST
        try:
            connection.sendall(content[: chance.choice((len(content), len(content), chance.randrange(len(content))))])
            if chance.random() < 0.5:
                time.sleep(chance.random() * 0.02)
            if chance.random() < 0.2:
                connection.recv(10)
        except OSError:
            return


def test_clients_that_leave_take_no_place_with_them(on_sqlite: Installation, storm: NewStorm) -> None:
    """With a single place for Django, one that got lost would leave none: everything would be 503 from then on."""
    raging = storm("1 · clients that leave", on="sqlite")
    key = on_sqlite.shop("Leavers").keys["ml_manager"]
    on_sqlite.up("web", WEB_THREADS="3", UPLOAD_GRACE_SECONDS="1")

    def go(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(times(1_250, least=40)):
            leave(on_sqlite.port(), key, chance)
            raging.count("clients")

    together([lambda seed=seed: go(seed) for seed in range(8)])
    time.sleep(2)

    caller = on_sqlite.caller(key)
    answers = [caller.try_once("GET", "/api/v1/me") for _ in range(50)]
    raging.expect({one.status for one in answers} == {200}, f"afterwards: {[one.status for one in answers]}")
    written = caller.post("/api/v1/models", {"name": f"after_{time.monotonic_ns()}"})
    raging.expect(written.status == 201, f"afterwards: {written}")
    raging.expect(not list((on_sqlite.folder / "tmp").iterdir()), "files left: in tmp")
    raging.expect(not on_sqlite.tracebacks("web"), f"a traceback: {on_sqlite.tracebacks('web')[:1]}")
    raging.note(f"afterwards, the slowest of 50 answers: {max(one.seconds for one in answers) * 1000:.0f} ms")
    raging.assert_kept(clients=8 * times(1_250, least=40))
