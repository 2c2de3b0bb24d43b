"""Deny by default: a view that does not say which action a method is, answers nobody."""

from typing import Any

from rest_framework.exceptions import MethodNotAllowed, NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from mlops.tenancy.roles import Principal


class ActionPermission(BasePermission):
    """Asks the one table of roles whether the principal may do what the view declares in `actions_by_method`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """True if allowed. Raises NotAuthenticated (401) for nobody, MethodNotAllowed (405) for a method the view does not have,
        Forbidden (403) for a role too low or a method without a declared action."""
        principal = request.user
        if not isinstance(principal, Principal):
            raise NotAuthenticated("Send `Authorization: Bearer <key>`, or log in.")
        method = str(request.method)
        if method.lower() not in view.http_method_names or not hasattr(view, method.lower()):
            raise MethodNotAllowed(method)
        declared = getattr(view, "actions_by_method", {})
        default = "read" if method in ("GET", "HEAD", "OPTIONS") else "undeclared"
        principal.authorize(declared.get(method, declared.get("GET", default) if method == "HEAD" else default))
        return True
