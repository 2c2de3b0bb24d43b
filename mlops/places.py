"""Places for what keeps a thread of a web process busy for long: children that try or ask models, and explanations.

Nobody waits for one: whoever waits holds a thread too. A job process does one thing at a time, and always finds a place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from django.conf import settings

from mlops.errors import Busy


def how_many() -> int:
    """Places of a process, of all kinds of work together: most threads stay free, and the machine keeps its memory."""
    return max(settings.WEB_THREADS // 3, 1)


@cache
def _free() -> BoundedSemaphore:
    return BoundedSemaphore(how_many())


@contextmanager
def place() -> Iterator[None]:
    """One of this process's places. Raises Busy."""
    if not _free().acquire(blocking=False):
        raise Busy("As many models as may are being tried, asked or explained just now. Try again in a moment.")
    try:
        yield
    finally:
        _free().release()
