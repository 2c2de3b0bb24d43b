"""Deny by default: a view that does not say which action a method is, answers nobody."""

from typing import Any

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from mlops.tenancy.roles import Principal


class ActionPermission(BasePermission):
    """Asks the one table of roles whether the principal may do what the view declares in `actions`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """True if allowed. Raises NotAuthenticated (401) for nobody, Forbidden (403) for a role too low or an undeclared method."""
        principal = request.user
        if not isinstance(principal, Principal):
            raise NotAuthenticated("Send `Authorization: Bearer <key>`, or log in.")
        declared = getattr(view, "actions_by_method", {})
        default = "read" if request.method in ("GET", "HEAD", "OPTIONS") else "undeclared"
        principal.authorize(declared.get(request.method, default))
        return True
