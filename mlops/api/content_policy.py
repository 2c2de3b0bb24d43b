"""The `Content-Security-Policy` of every answer."""

from csp.middleware import CSPMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase

HEADER = "Content-Security-Policy"
JSON_POLICY = "default-src 'none'; frame-ancestors 'none'"


class ContentPolicyMiddleware(CSPMiddleware):
    """The configured policy for pages; for JSON, which loads nothing whoever opens it, a constant that nobody puts together anew."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The answer with its policy."""
        if response.headers.get("Content-Type") == "application/json":
            response.headers.setdefault(HEADER, JSON_POLICY)
            return response
        return super().process_response(request, response)
