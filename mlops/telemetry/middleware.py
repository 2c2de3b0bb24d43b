"""The two log lines of a request."""

import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware
from structlog.contextvars import bind_contextvars

from mlops import addresses

log = structlog.get_logger(__name__)


class RequestLogMiddleware(RequestMiddleware):
    """`request_started`, and `request_finished` or, after a defect or an outage that a view raised, `request_failed`; with the address of
    whoever is connected, or of whom the proxy before us names last.

    The library's own look-up of the address believes any header of any client, and costs more than the rest of it together.
    """

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Bind `ip` to the request's lines."""
        bind_contextvars(ip=addresses.shown(request.META))

    def _process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Keep what a view raised until it is known how it is answered; the library takes it for a 500 at once."""
        if not isinstance(exception, (Http404, PermissionDenied)):
            request._raised_exception = exception  # type: ignore[attr-defined]  # noqa: SLF001 - where the library keeps it

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Write the last line, with the code of the answer: what was the client's mistake is no failure of ours."""
        failure = getattr(request, "_raised_exception", None)
        if failure is not None and response.status_code < 500:
            del request._raised_exception  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        elif failure is not None:
            self.bind_user_id(request)
            log.error("request_failed", code=response.status_code, request=self.format_request(request), exc_info=failure)
        super().handle_response(request, response)
