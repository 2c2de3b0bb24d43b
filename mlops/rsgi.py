"""The server's door: granian calls it on an event loop, where waiting for slow senders holds no thread, and Django runs in threads.

A body of a few kilobytes is received before Django is called. A larger one is announced first: Django runs without it and either answers
(no credential, role too low, too large) or says how much it wants and for whom (`Intake`). Only then is the body received, at a least
pace, and Django called again with it. Bodies that are too slow end as 408; senders with too many of them under way get 429. So is a form
of any size announced that may hold a file: a file of 300 bytes can keep whoever reads it busy for half a minute.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Any

from django.conf import settings

from mlops import addresses
from mlops.arrivals import Arrival, ClientLeft, Crowded, Pace, Senders, TooMuch, TooSlow
from mlops.errors import BROKEN, FULL
from mlops.places import how_many
from mlops.wsgi import HEALTHY, application, problem_bytes

INTAKE = "tiltyard.intake"
ANNOUNCED = 64 * 1024
"""Bodies above this many bytes are announced to Django before they are received, forms of any size before they are read."""
PER_ADDRESS = 100
"""Small bodies that one address may have under way: they are received before anybody knows whose they are."""
PATIENCE = 5.0
"""Seconds that a request waits for a free thread; waiting holds none."""
PATIENCE_WITH_FILE = 60.0
"""The same where a whole file has come: its sender would have to send it all again."""
TAIL = 256
BODILESS = ("GET", "HEAD", "OPTIONS", "TRACE")
JOINED_BY = {"cookie": "; "}


@dataclass
class Intake:
    """What passes between this door and `IntakeMiddleware`, in the request's environment."""

    arrived: bool
    limit: int | None = None
    sender: str = ""
    most: int = 1
    into_file: bool = False

    def want(self, *, limit: int, sender: str, most: int, into_file: bool) -> None:
        """Ask for the body: up to `limit` bytes, one of `most` that `sender` may have under way."""
        self.limit, self.sender, self.most, self.into_file = limit, sender, most, into_file


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    content: bytes = b""


def refusal(status: int, code: str, detail: str, **headers: str) -> Answer:
    """A problem of this door's own."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Answer(status, [("Content-Type", "application/problem+json"), *named], problem_bytes(status, code, detail))


class Door:
    """The application object that granian serves."""

    def __init__(self) -> None:
        threads = max(settings.WEB_THREADS - 2, 1)  # the other two are for what will need no database
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="web")
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="intake")
        self._places = asyncio.Semaphore(threads)
        self._places_for_files = asyncio.Semaphore(how_many())  # reading a file takes long: most threads stay quick
        self._senders = Senders()
        self._pace = Pace(grace=settings.UPLOAD_GRACE_SECONDS, rate=settings.UPLOAD_BYTES_PER_SECOND, longest=settings.UPLOAD_SECONDS)

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """Answer one request."""
        environ = environment(scope)
        if environ["PATH_INFO"] in ("/health", "/health/") and scope.method in ("GET", "HEAD"):
            headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
            proto.response_bytes(200, headers, HEALTHY)
            return
        try:
            answer = _unread(scope.headers) or await self._answer(environ, proto)
        except ClientLeft:
            answer = refusal(400, "bad_request", "The connection ended before the body did.")
        except TooSlow:
            answer = refusal(408, "request_timeout", "The body did not arrive in time.", Connection="close")
        except Crowded:
            answer = refusal(429, "too_many_uploads", "You are sending as many bodies at once as one may.", Retry_After="5")
        except OSError as failure:  # of making and writing the file, and again of closing it
            if failure.errno in FULL:
                answer = refusal(503, "storage_full", "There is no room for the body just now.", Retry_After="60")
            elif failure.errno in BROKEN:
                answer = refusal(503, "storage_unavailable", "The body cannot be kept just now.", Retry_After="30")
            else:
                raise
        proto.response_bytes(answer.status, answer.headers, answer.content)

    async def _answer(self, environ: dict[str, Any], proto: Any) -> Answer:
        declared = _declared(environ)
        if environ["REQUEST_METHOD"] in BODILESS or declared == 0:
            return await self._run(environ, BytesIO(), Intake(arrived=True))
        arrival = Arrival(proto, declared=declared, pace=self._pace)
        if declared is None or declared <= ANNOUNCED:
            with self._senders.sending(f"address {addresses.counted(environ)}", most=PER_ADDRESS):
                content = await arrival.begin(ANNOUNCED)
            if arrival.complete:
                body = _measured(environ, content)
                if not _is_form(environ):
                    return await self._run(environ, body, Intake(arrived=True))
                _refuse_cut(environ, content[-TAIL:])
        intake = Intake(arrived=False)
        answer = await self._run(environ, BytesIO(), intake)
        if intake.limit is None:
            return answer
        return await self._receive(environ, arrival, intake, intake.limit)

    async def _receive(self, environ: dict[str, Any], arrival: Arrival, intake: Intake, limit: int) -> Answer:
        with ExitStack() as stack:
            stack.enter_context(self._senders.sending(intake.sender, most=intake.most))
            try:
                if intake.into_file:
                    # Never has a name, so nothing is left of it whatever becomes of this process.
                    file: IO[bytes] = stack.enter_context(tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR))
                    size = await arrival.rest_into(file, limit, writers=self._writers)
                    environ["CONTENT_LENGTH"] = str(size)
                    file.seek(max(size - TAIL, 0))
                    _refuse_cut(environ, file.read())
                    file.seek(0)
                else:
                    file = _measured(environ, await arrival.rest(limit))
            except TooMuch:
                return refusal(413, "too_large", f"The body may have {limit:,} bytes here.")
            if not intake.into_file:
                return await self._run(environ, file, Intake(arrived=True))
            async with _place(self._places_for_files, PATIENCE_WITH_FILE) as free:
                return await self._run(environ, file, Intake(arrived=True), PATIENCE_WITH_FILE) if free else _busy()

    async def _run(self, environ: dict[str, Any], body: IO[bytes], intake: Intake, patience: float | None = None) -> Answer:
        async with _place(self._places, PATIENCE if patience is None else patience) as free:
            if not free:
                return _busy()
            given = {**environ, "wsgi.input": body, INTAKE: intake}
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, Context().run, _called, given)


def environment(scope: Any) -> dict[str, Any]:
    """The WSGI environment of a request, all but its body. Names of headers with an underscore are dropped: they pass for others."""
    name, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode("utf-8", "replace").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": name.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if scope.authority:
        environ["HTTP_HOST"] = scope.authority
    seen: set[str] = set()
    for header, value in scope.headers.items():
        if "_" in header:
            continue
        key = header.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]}{JOINED_BY.get(header, ',')}{value}" if key in seen else value
        seen.add(key)
    return environ


def _unread(headers: Any) -> Answer | None:
    """The refusal of headers whose values the server keeps from us, as it does where they are not ASCII: the request would pass for one
    without its precondition, or without the key by which its repetition is known."""
    missing = set(headers.keys()) - {name for name, _ in headers.items()}
    if not missing:
        return None
    named = ", ".join(name[:100] for name in sorted(missing)[:5])
    return refusal(400, "bad_request", f"Headers may hold printable ASCII characters only: {named}.", Connection="close")


def _declared(environ: dict[str, Any]) -> int | None:
    """The body's size: 0 without one, None where it comes in chunks."""
    length = environ.get("CONTENT_LENGTH", "")
    if length.isascii() and length.isdigit():
        return int(length)
    return None if "HTTP_TRANSFER_ENCODING" in environ or environ["SERVER_PROTOCOL"] == "HTTP/2" else 0


def _refuse_cut(environ: dict[str, Any], tail: bytes) -> None:
    """Raise ClientLeft for a form whose last boundary never came. A connection that breaks looks to us like the end of chunks, and Django
    would take what came of the file for the whole of it; of other bodies half is no JSON."""
    if _is_form(environ) and not tail.rstrip().endswith(b"--"):
        raise ClientLeft


def _is_form(environ: dict[str, Any]) -> bool:
    """Whether the body is of the kind that files come in."""
    content_type: str = environ.get("CONTENT_TYPE", "")
    return content_type.lower().startswith("multipart/")


def _measured(environ: dict[str, Any], content: bytes) -> BytesIO:
    """The body, its length told to Django, which takes a body without one for empty."""
    environ["CONTENT_LENGTH"] = str(len(content))
    return BytesIO(content)


def _called(environ: dict[str, Any]) -> Answer:
    """Call the WSGI application in this thread. Answers are whole: nothing of ours streams."""
    head: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        head.update(status=int(status[:3]), headers=headers)

    parts = application(environ, start_response)
    try:
        content = b"".join(parts)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    return Answer(head["status"], head["headers"], content)


def _busy() -> Answer:
    return refusal(503, "busy", "All threads are busy. Try again in a moment.", Retry_After="1")


@asynccontextmanager
async def _place(places: asyncio.Semaphore, patience: float) -> AsyncIterator[bool]:
    """Hold one of the places; False where none became free within these seconds."""
    try:
        await asyncio.wait_for(places.acquire(), patience)
    except TimeoutError:
        yield False
        return
    try:
        yield True
    finally:
        places.release()


door = Door()
