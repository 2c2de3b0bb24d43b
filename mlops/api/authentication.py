"""DRF's view of who was recognized by the middleware."""

from typing import Any

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request


class BearerAuthentication(BaseAuthentication):
    """API keys. The middleware already looked the key up; an unknown, expired or revoked one is 401 here."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """(principal, "key") or None when no key was sent. Raises AuthenticationFailed for a key that opens nothing."""
        if not request.headers.get("Authorization"):
            return None
        principal = getattr(request._request, "principal", None)  # noqa: SLF001 - DRF offers no other way to the Django request
        if principal is None:
            raise AuthenticationFailed("The API key is unknown, expired or revoked. Send `Authorization: Bearer <key>`.")
        return principal, "key"

    def authenticate_header(self, request: Request) -> str:
        """What makes DRF answer 401 rather than 403."""
        return 'Bearer realm="tiltyard"'


class BrowserAuthentication(SessionAuthentication):
    """Django sessions, with CSRF on every unsafe verb."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """(principal, "session") or None without a session of a member. Raises PermissionDenied without a CSRF token."""
        principal = getattr(request._request, "principal", None)  # noqa: SLF001
        if principal is None or principal.kind != "user":
            return None
        self.enforce_csrf(request)
        return principal, "session"
