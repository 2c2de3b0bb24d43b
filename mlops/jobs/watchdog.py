"""Ending a process whose work does not come back, so that its pool starts another one in its place."""

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import worker_process_init

STDERR = 2
"""The descriptor: Celery puts an object that is no file in the place of sys.stderr."""
_replaced = False


@worker_process_init.connect
def _belongs_to_a_pool(**_: Any) -> None:
    global _replaced
    _replaced = True


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """End this process, with all its stacks in the log, when the block takes longer. Does nothing where no pool would replace it.

    The watch is kept by a thread of C: work that holds the interpreter's lock keeps every Python thread from acting.
    """
    if not _replaced:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
