"""The two log lines of a request."""

from django.http import HttpRequest
from django_structlog.middlewares import RequestMiddleware
from structlog.contextvars import bind_contextvars

from mlops import addresses


class RequestLogMiddleware(RequestMiddleware):
    """`request_started` and `request_finished`, with the address of whoever is connected, or of whom the proxy before us names last.

    The library's own look-up of the address believes any header of any client, and costs more than the rest of it together.
    """

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Bind `ip` to the request's lines."""
        bind_contextvars(ip=addresses.shown(request.META))
