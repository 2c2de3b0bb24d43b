"""The id that ties a request, its log lines, its audit events and its answer together."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

COMMAND_LINE = "command-line-"
"""What the ids of acts begin with that were asked for in a shell, where whoever is named is believed without a password."""
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """The ambient request's id; empty outside any."""
    return _request_id.get()


@contextmanager
def ambient_request(identifier: str) -> Iterator[None]:
    """Work on behalf of the request with this id, here and in the log."""
    token = _request_id.set(identifier)
    try:
        with structlog.contextvars.bound_contextvars(request_id=identifier):
            yield
    finally:
        _request_id.reset(token)
