"""Nobody without bytes to show holds up anybody else: shown on the real server, over sockets."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.mlops.served import Served, serving, status_of

GRACE = 2.0
QUICK = 2.0
"""Seconds in which others have to be answered, on a machine that does much else meanwhile."""
JSON = {"Content-Type": "application/json"}
FORM = 'multipart/form-data; boundary="x"'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose senders have two seconds of grace, and whose files may have a megabyte."""
    limits = {"MAX_DATASET_BYTES": "1000000", "MAX_ARTIFACT_BYTES": "200000", "MAX_BODY_BYTES": "200000"}
    with serving(tmp_path_factory.mktemp("served"), UPLOAD_GRACE_SECONDS=str(GRACE), **limits) as served:
        yield served


def multipart(size: int) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nsales\r\n'
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'
    return head + file + b"," * size + b"\r\n--x--\r\n"


@pytest.mark.parametrize("role", ["admin", ""])
@pytest.mark.parametrize("length", [1000, 150_000, None])
def test_thirty_senders_of_nothing_delay_nobody(server: Served, role: str, length: int | None) -> None:
    path = "/api/v1/models" if role else "/admin/login/"
    with ExitStack() as stack:
        slow = [stack.enter_context(server.begin(path, role=role, length=length, first=b"{"[: length or 0])) for _ in range(30)]
        time.sleep(0.3)

        answers = [server.get("/api/v1/me", role="viewer") for _ in range(5)] + [server.get("/health")]
        written = server.post("/api/v1/models", json.dumps({"name": f"m_{role}{length or 0}"}), JSON, role="admin")[0]
        ends = {status_of(one) for one in slow}

    assert [status for status, _ in answers] == [200] * 6
    assert max(seconds for _, seconds in answers) < QUICK
    assert written == 201
    assert ends <= ({408, 429} if role else {408, 413, 403})
    assert server.get("/health")[1] < QUICK


def test_a_trickle_is_408_with_a_code_and_the_connection_is_closed(server: Served) -> None:
    with server.begin("/api/v1/models", role="admin") as slow:
        began = time.monotonic()
        for _ in range(40):
            try:
                slow.sendall(b" ")
            except OSError:
                break
            time.sleep(0.1)
        answer = slow.recv(4096)
        rest = slow.recv(4096)

    assert b" 408 " in answer
    assert b'"code": "request_timeout"' in answer + rest
    assert time.monotonic() - began < GRACE + 5
    assert server.get("/health")[0] == 200


def test_a_sender_with_many_bodies_under_way_is_429(server: Served) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(server.begin("/api/v1/models", role="admin", length=100_000)) for _ in range(4)]
        time.sleep(0.5)

        status, headers, body = server.post("/api/v1/models", b" " * 100_000, JSON, role="admin")
        viewer = server.get("/api/v1/me", role="viewer")[0]

        assert {status_of(one) for one in slow} == {408}

    assert (status, headers["retry-after"], body["code"]) == (429, "5", "too_many_uploads")
    assert viewer == 200


@pytest.mark.parametrize(
    ("role", "path", "length", "expected"),
    [
        ("", "/api/v1/datasets", 900_000, 401),
        ("viewer", "/api/v1/datasets", 900_000, 403),
        ("admin", "/api/v1/datasets", 90_000_000, 413),
        ("admin", "/api/v1/models/shop/versions", 900_000, 413),
        ("", "/admin/registry/dataset/upload/", 900_000, 413),
        ("admin", "/api/v1/me", 900_000, 405),
    ],
)
def test_what_nobody_wants_is_refused_before_a_byte_of_it_is_sent(server: Served, role: str, path: str, length: int, expected: int) -> None:
    began = time.monotonic()

    with server.begin(path, role=role, length=length, Content_Type=FORM) as silent:
        assert status_of(silent) == expected

    assert time.monotonic() - began < GRACE


def test_a_file_that_goes_on_beyond_its_limit_is_413_and_leaves_nothing(server: Served) -> None:
    content = multipart(3_000_000)
    chunks = [content[start : start + 50_000] for start in range(0, len(content), 50_000)]

    try:
        status, _, body = server.post("/api/v1/datasets", iter(chunks), {"Content-Type": FORM}, role="admin")
    except BrokenPipeError:  # the server has closed before all was sent, as it should
        status, body = 413, {"code": "too_large"}

    assert (status, body["code"]) == (413, "too_large")
    assert list((server.folder / "tmp").iterdir()) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_whole_file_arrives_as_it_was_sent(server: Served, chunked: bool) -> None:
    rows = "date,units\n" + "".join(f"2025-{month:02}-{day:02},{day}\n" for month in range(1, 13) for day in range(1, 29))
    padded = rows.encode() + b"\n" * 100_000
    content = multipart(0).replace(b"\r\n\r\n\r\n--x--", b"\r\n\r\n" + padded + b"\r\n--x--").replace(b"sales", b"sales%d" % chunked)
    body = iter([content[:70_000], content[70_000:]]) if chunked else content

    status, _, answer = server.post("/api/v1/datasets", body, {"Content-Type": FORM}, role="admin")

    assert status == 201, answer
    assert answer["source_size"] == len(padded)
    assert list((server.folder / "tmp").iterdir()) == []


@pytest.mark.parametrize("rows", [10, 20_000])
def test_a_file_cut_short_by_its_connection_is_not_taken_for_whole(server: Served, rows: int) -> None:
    content = multipart(0).replace(b"\r\n\r\n\r\n--x--\r\n", b"\r\n\r\ndate,units\n" + b"2025-01-01,1\n" * rows).replace(b"sales", b"cut")

    with server.begin(
        "/api/v1/datasets", role="admin", length=None, first=b"%x\r\n%s\r\n" % (len(content), content), Content_Type=FORM
    ) as cut:
        cut.shutdown(socket.SHUT_WR)
        status = status_of(cut)

    assert status == 400
    assert server.get("/api/v1/datasets/cut", role="admin")[0] == 404


def test_odd_requests_are_answered_as_under_any_other_server(server: Served) -> None:
    statuses = [server.get(path)[0] for path in ("/%ff%fe", "//evil.example/", "/..", "/api/v1/me?x=%ff", "/%00")]
    spoofed = server.post("/api/v1/models", b"{}", {**JSON, "X_Request_ID": "spoofed"}, role="viewer")

    assert max(statuses) < 500
    assert (spoofed[0], spoofed[2]["request_id"] == "spoofed") == (403, False)


def test_the_log_holds_no_defect(server: Served) -> None:
    assert "Traceback" not in Path(server.folder / "web.log").read_text()
