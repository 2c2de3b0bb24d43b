"""The id that ties a request, its log lines, its audit events and its answer together."""

from contextvars import ContextVar

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """The ambient request's id; empty outside any."""
    return _request_id.get()


def set_request_id(value: str) -> None:
    """Make `value` the ambient request's id."""
    _request_id.set(value)
