"""One POST: pinned, bounded, signed. Real sockets, on the loopback that the tests allow."""

import base64
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.test import override_settings

from mlops.outbound import backoff, client, signing
from mlops.outbound.targets import Unreachable
from tests.plugin import missing

ALLOWED = ["127.0.0.1", "receiver.test"]
Serve = Callable[[socket.socket], None]


@contextmanager
def receiver(serve: Serve) -> Iterator[int]:
    """A raw server on a free port; `serve` gets each connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    serve(connection)
                except OSError:
                    continue  # the client hung up: what several tests want to see

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def saying(text: bytes, seen: list[bytes] | None = None) -> Serve:
    """A server that reads one request and says that."""

    def serve(connection: socket.socket) -> None:
        request = connection.recv(65536)
        if seen is not None:
            seen.append(request)
        connection.sendall(text)

    return serve


def send(port: int, **options: object) -> client.Answer:
    return client.post(f"http://127.0.0.1:{port}/hook", body=b'{"a":1}', headers={"X-A": "b"}, allowed_hosts=ALLOWED, **options)  # type: ignore[arg-type]


def test_post_sends_one_whole_request_and_reads_the_status() -> None:
    seen: list[bytes] = []

    with receiver(saying(b"HTTP/1.1 204 No Content\r\n\r\n", seen)) as port:
        answer = send(port)

    assert (answer.status, answer.accepted, answer.address) == (204, True, "127.0.0.1")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}".encode() in head
    assert b"X-A: b" in head
    assert body == b'{"a":1}'


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    asked: list[bytes] = []

    with receiver(saying(b"HTTP/1.1 200 OK\r\n\r\n", asked)) as inner:
        location = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{inner}/\r\n\r\n".encode()
        with receiver(saying(location)) as port:
            answer = send(port)

    assert (answer.status, answer.accepted, asked) == (307, False, [])
    assert "not followed" in str(answer)


def test_proxy_variables_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    proxied: list[bytes] = []

    with receiver(saying(b"HTTP/1.1 200 OK\r\n\r\n", proxied)) as proxy, receiver(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        answer = send(port)

    assert (answer.status, proxied) == (200, [])


def drip(connection: socket.socket) -> None:
    connection.recv(65536)
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: " + b"a" * 10_000:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def flood(connection: socket.socket) -> None:
    connection.recv(65536)
    while True:
        connection.sendall(b"X-Large: " + b"a" * 8000 + b"\r\n")


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (drip, "did not answer within"),
        (flood, "too large"),
        (lambda connection: time.sleep(0.6), "did not answer|without an answer"),
        (saying(b""), "without an answer"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "not HTTP"),
        (saying(b"HTTP/1.1 100 Continue\r\n\r\n"), "without an answer"),
    ],
)
def test_time_and_size_are_bounded_as_a_whole(serve: Serve, why: str) -> None:
    with receiver(serve) as port:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=why):
            send(port, seconds=0.4)

    assert time.monotonic() - began < 3


def test_an_endless_body_is_not_read() -> None:
    def endless(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"a" * 65536)

    with receiver(endless) as port:
        began = time.monotonic()
        answer = send(port)

    assert answer.status == 200
    assert time.monotonic() - began < 3


def test_interim_answers_are_passed_over_and_retry_after_is_read() -> None:
    with receiver(saying(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 429 Slow down\r\nRetry-After: 120\r\n\r\n")) as port:
        answer = send(port)

    assert (answer.status, answer.reason, answer.retry_after_s) == (429, "Slow down", 120.0)


def test_nobody_listening_is_unreachable() -> None:
    with receiver(saying(b"")) as port:
        pass

    with pytest.raises(Unreachable):
        send(port)


def test_a_header_cannot_smuggle_another() -> None:
    with receiver(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as port, pytest.raises(ValueError, match="not a header"):
        client.post(f"http://127.0.0.1:{port}/", body=b"", headers={"X-A": "b\r\nX-C: d"}, allowed_hosts=ALLOWED)


def test_tls_keeps_host_name_and_certificate_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, names = self_signed(tmp_path), []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _, name, __: names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))])

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            saying(b"HTTP/1.1 200 OK\r\n\r\n")(secured)

    with receiver(serve) as port:
        url = f"https://receiver.test:{port}/"
        with pytest.raises(Unreachable, match="TLS failed"):
            client.post(url, body=b"", headers={}, allowed_hosts=ALLOWED)
        monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
        answer = client.post(url, body=b"", headers={}, allowed_hosts=ALLOWED)

    assert answer.status == 200
    assert names == ["receiver.test", "receiver.test"]


def self_signed(folder: Path) -> Path:
    """A key and certificate for receiver.test in one file."""
    if shutil.which("openssl") is None:
        missing("no openssl to make a certificate with")
    made = folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += [
        "-subj",
        "/CN=receiver.test",
        "-addext",
        "subjectAltName=DNS:receiver.test",
        "-keyout",
        str(made),
        "-out",
        str(folder / "c.pem"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    made.write_text(made.read_text() + (folder / "c.pem").read_text())
    return made


def test_signatures_are_those_of_the_standard() -> None:
    # The example of the specification's reference libraries.
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, tz=UTC)

    headers = signing.signed_headers(secret=secret, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=at, body=body)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_a_derived_secret_is_stable_and_belongs_to_one_receiver() -> None:
    secret = signing.derive(receiver="a", salt="s")
    key = base64.b64decode(secret.removeprefix("whsec_"))

    assert len(key) == 32
    assert secret == signing.derive(receiver="a", salt="s")
    assert len({secret, signing.derive(receiver="b", salt="s"), signing.derive(receiver="a", salt="t")}) == 3


def test_a_changed_secret_key_is_noticed_and_a_fallback_mends_it() -> None:
    secret = signing.derive(receiver="a", salt="s", key="the former key")
    kept = signing.fingerprint(secret)

    with pytest.raises(signing.SecretLost):
        signing.recover(receiver="a", salt="s", expected=kept)
    with override_settings(SECRET_KEY_FALLBACKS=["the former key"]):
        assert signing.recover(receiver="a", salt="s", expected=kept) == secret


def test_retries_spread_over_three_days() -> None:
    waits, total = [], timedelta()
    while total < backoff.GIVE_UP_AFTER:
        waits.append(backoff.next_try(attempts=len(waits) + 1, dice=0.5))
        total += waits[-1]

    assert waits[:4] == [timedelta(seconds=5), timedelta(seconds=20), timedelta(seconds=80), timedelta(seconds=320)]
    assert 10 <= len(waits) <= 16
    assert max(waits) == backoff.LONGEST


@pytest.mark.parametrize(("dice", "seconds"), [(0.0, 3.75), (1.0, 6.25)])
def test_jitter_moves_a_retry_by_a_quarter(dice: float, seconds: float) -> None:
    assert backoff.next_try(attempts=1, dice=dice) == timedelta(seconds=seconds)


def test_a_receiver_may_ask_for_more_time_but_not_for_ever() -> None:
    assert backoff.next_try(attempts=1, dice=0.5, retry_after_s=600) == timedelta(minutes=10)
    assert backoff.next_try(attempts=1, dice=0.5, retry_after_s=1e9) == backoff.LONGEST


def test_a_failing_receiver_is_left_alone_for_minutes_at_most() -> None:
    assert backoff.pause(failures=1, dice=0.5) == timedelta(seconds=2)
    assert backoff.pause(failures=500, dice=0.5) == backoff.LONGEST_PAUSE
