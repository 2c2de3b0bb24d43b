"""Bodies of requests as they arrive: up to a limit, at a least pace, by a deadline. Waiting for one costs memory and no thread.

Nothing here knows Django; `mlops.rsgi` runs it on the server's event loop.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

SPOOLED = 1024 * 1024
"""Bytes that are gathered before a thread writes them to the file."""


class TooSlow(Exception):
    """The body did not arrive in time."""


class TooMuch(Exception):
    """The body goes on beyond its limit."""


class ClientLeft(Exception):
    """The connection ended before the body did. Nobody is there to be answered."""


class Crowded(Exception):
    """The sender has as many bodies under way as one may have."""


@dataclass(frozen=True)
class Pace:
    """How slow a sender may be: `rate` in bytes per second after `grace` seconds, and `longest` seconds in all."""

    grace: float
    rate: float
    longest: float

    def seconds_for(self, received: int) -> float:
        """Seconds from the beginning by which more than these bytes must be there."""
        return min(self.grace + received / self.rate, self.longest)


class Arrival:
    """One body under way. `declared` is its Content-Length, None where it comes in chunks."""

    def __init__(self, chunks: Any, *, declared: int | None, pace: Pace) -> None:
        self._chunks = aiter(chunks)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._pace = pace
        self._declared = declared
        self._kept = b""
        self.received = 0
        self.complete = declared == 0

    async def begin(self, most: int) -> bytes:
        """All of it, or its beginning up to the chunk that passes `most` bytes: then `complete` is false. `rest` goes on from there."""
        content = bytearray()
        while len(content) <= most and (chunk := await self._next()):
            content += chunk
        self._kept = bytes(content)
        return self._kept

    async def rest(self, limit: int) -> bytes:
        """The whole body in memory. Raises TooSlow, TooMuch or ClientLeft."""
        content = bytearray(self._begun(limit))
        while chunk := await self._next():
            content += chunk
            if len(content) > limit:
                raise TooMuch
        return bytes(content)

    async def rest_into(self, file: IO[bytes], limit: int, *, writers: Executor) -> int:
        """The whole body into a file, whose writes block none but a thread of `writers`. Its size; raises what `rest` raises."""
        waiting, size = bytearray(self._begun(limit)), len(self._kept)
        while chunk := await self._next():
            waiting += chunk
            size += len(chunk)
            if size > limit:
                raise TooMuch
            if len(waiting) >= SPOOLED:
                await self._loop.run_in_executor(writers, file.write, bytes(waiting))
                waiting.clear()
        await self._loop.run_in_executor(writers, file.write, bytes(waiting))
        file.seek(0)
        return size

    def _begun(self, limit: int) -> bytes:
        if len(self._kept) > limit:
            raise TooMuch
        return self._kept

    async def _next(self) -> bytes:
        """The next chunk, or nothing at the end."""
        if self.complete:
            return b""
        try:
            async with asyncio.timeout_at(self._began + self._pace.seconds_for(self.received)):
                chunk = b""
                while not chunk:
                    chunk = bytes(await anext(self._chunks))
        except StopAsyncIteration:
            chunk = b""
        except TimeoutError:
            raise TooSlow from None
        self.received += len(chunk)
        if not chunk and self._declared is not None and self.received < self._declared:
            raise ClientLeft
        self.complete = not chunk or self.received == self._declared
        return chunk


class Senders:
    """How many bodies each sender has under way. Lives on one event loop."""

    def __init__(self) -> None:
        self._busy: dict[str, int] = {}

    @contextmanager
    def sending(self, who: str, *, most: int) -> Iterator[None]:
        """Count one more for the time of it. Raises Crowded."""
        if self._busy.get(who, 0) >= most:
            raise Crowded
        self._busy[who] = self._busy.get(who, 0) + 1
        try:
            yield
        finally:
            self._busy[who] -= 1
            if not self._busy[who]:
                del self._busy[who]
