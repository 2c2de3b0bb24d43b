"""One HTTP POST to an address that somebody typed into a form.

The name is resolved once, every address is checked, and the connection goes to a checked address, so that a name which changes its mind
in between gains nothing. No redirect is followed, no proxy variable is read, and time and size are bounded as a whole, not per read.
The answer's body is not read: nothing that a receiver says is kept but its status line.
"""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.client import parse_headers
from io import BytesIO

from mlops.outbound.targets import Target, Unreachable, parse, resolve

CONNECT_SECONDS = 4.0
TOTAL_SECONDS = 10.0
MOST_ADDRESSES = 4
LARGEST_HEAD = 16 * 1024
DRAIN_BYTES = 64 * 1024
DRAIN_SECONDS = 0.5
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([^\r\n]*))?\r?\n")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    reason: str
    retry_after_s: float | None
    address: str

    @property
    def accepted(self) -> bool:
        """Whether the receiver took it: 2xx and nothing else."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        text = f"{self.status} {self.reason}".strip()
        return f"{text} (redirects are not followed)" if 300 <= self.status < 400 else text


def check(url: str, *, allowed_hosts: Collection[str]) -> None:
    """Refuse an address when it is saved. Raises Refused, or Unreachable when the name does not resolve."""
    resolve(parse(url, allowed_hosts=allowed_hosts))


def post(url: str, *, body: bytes, headers: Mapping[str, str], allowed_hosts: Collection[str], seconds: float = TOTAL_SECONDS) -> Answer:
    """Send the body once. Takes at most `seconds` beside the resolving of the name.

    Raises Refused (nothing was connected) or Unreachable (no whole answer came; the receiver may have got it all the same).
    """
    target = parse(url, allowed_hosts=allowed_hosts)
    addresses = resolve(target)
    deadline = time.monotonic() + seconds
    try:
        connection, address = _connect(target, addresses, deadline)
        with connection:
            connection.settimeout(_left(deadline))
            connection.sendall(_request(target, body, headers))
            status, reason, retry_after = _read_head(connection, deadline)
            _drain(connection, deadline)
    except TimeoutError:
        raise Unreachable(f"{target.host} did not answer within {seconds:.0f} s.") from None
    except ssl.SSLError as failure:
        raise Unreachable(f"{target.host}: TLS failed: {getattr(failure, 'verify_message', '') or failure.reason}.") from None
    except OSError as failure:
        raise Unreachable(f"{target.host}: {failure.strerror or failure}.") from None
    return Answer(status, reason, retry_after, address)


def _connect(target: Target, addresses: list[str], deadline: float) -> tuple[socket.socket, str]:
    failure: OSError = TimeoutError()
    for address in addresses[:MOST_ADDRESSES]:
        plain = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            plain.settimeout(min(CONNECT_SECONDS, _left(deadline)))
            plain.connect((address, target.port))
            plain.settimeout(_left(deadline))
            if target.scheme == "http":
                return plain, address
            return ssl.create_default_context().wrap_socket(plain, server_hostname=target.host), address
        except OSError as refused:
            plain.close()
            failure = refused
    raise failure


def _request(target: Target, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = {
        "Host": target.host_header,
        "User-Agent": "Tiltyard",
        "Accept": "*/*",
        "Connection": "close",
        **headers,
        "Content-Length": str(len(body)),
    }
    for name, value in lines.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\t -~]*", value):
            raise ValueError(f"{name} is not a header that can be sent.")
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target.path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _read_head(connection: socket.socket, deadline: float) -> tuple[int, str, float | None]:
    """Status, reason and `Retry-After` of the final answer; interim ones (1xx) are passed over."""
    received, taken = b"", 0
    while True:
        end = received.find(b"\r\n\r\n", taken)
        if end < 0:
            if len(received) > LARGEST_HEAD:
                raise Unreachable("The answer's headers are too large.")
            connection.settimeout(_left(deadline))
            chunk = connection.recv(4096)
            if not chunk:
                raise Unreachable("The connection was closed without an answer.")
            received += chunk
            continue
        line = _STATUS_LINE.match(received, taken)
        if line is None:
            raise Unreachable("The answer is not HTTP.")
        status = int(line[1])
        if status >= 200:
            headers = parse_headers(BytesIO(received[line.end() : end + 4]))
            return status, _readable(line[2] or b""), _seconds(headers.get("Retry-After", ""))
        taken = end + 4


def _drain(connection: socket.socket, deadline: float) -> None:
    """Let a well-behaved receiver finish writing before we hang up; what it writes is thrown away."""
    until, taken = min(deadline, time.monotonic() + DRAIN_SECONDS), 0
    with contextlib.suppress(OSError):  # the answer has been read; how the line goes down tells nothing more
        while taken < DRAIN_BYTES:
            connection.settimeout(_left(until))
            chunk = connection.recv(8192)
            if not chunk:
                return
            taken += len(chunk)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _readable(reason: bytes) -> str:
    return re.sub(r"[^ -~]", "?", reason.decode("latin-1"))[:100].strip()


def _seconds(text: str) -> float | None:
    """`Retry-After` in its form of seconds; the form of a date is not worth a clock that may differ."""
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
