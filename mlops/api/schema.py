"""OpenAPI as the code says it: problems, keys, paging and query parameters on every operation."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "errors", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {name: {"type": "string"} for name in ("field", "message", "code")}},
        },
        "request_id": {"type": "string"},
    },
}
ANSWERS = {
    "400": "Not valid",
    "401": "Not authenticated",
    "403": "Not allowed",
    "404": "Not found",
    "409": "Conflict",
    "412": "Stale",
    "429": "Too many",
}


def without_closing_slashes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: no address needs the slash at its end that all of them tolerate."""
    result["paths"] = {path.rstrip("/"): operations for path, operations in result["paths"].items()}
    return result


class Schema(AutoSchema):
    """AutoSchema, plus what every operation of this API shares."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation, with the problem answers and the view's own query parameters."""
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        content = {"application/problem+json": {"schema": PROBLEM}}
        for status, description in ANSWERS.items():
            operation["responses"].setdefault(status, {"description": description, "content": content})
        self._add_parameters(operation)
        return operation

    def _add_parameters(self, operation: dict[str, Any]) -> None:
        names = self.view.query_parameters if hasattr(self.view, "query_parameters") else ()
        extra = list(names)
        if self.method == "GET" and getattr(self.view, "ordering_fields", None):
            extra.append("ordering")
        if self.method == "GET" and getattr(self.view, "search_fields", None):
            extra.append("search")
        present = {parameter["name"] for parameter in operation.get("parameters", [])}
        missing = [{"name": name, "in": "query", "required": False, "schema": {"type": "string"}} for name in extra if name not in present]
        headers = (
            [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"}}] if self.method == "POST" else []
        )
        if missing or headers:
            operation["parameters"] = [*operation.get("parameters", []), *missing, *headers]


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the base registers subclasses without types
    """API keys in OpenAPI."""

    target_class = "mlops.api.authentication.BearerAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """An HTTP bearer token."""
        return {"type": "http", "scheme": "bearer"}


class BrowserScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Sessions in OpenAPI."""

    target_class = "mlops.api.authentication.BrowserAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The session cookie."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
