"""OpenAPI as the views declare it: problems, query parameters and headers on every operation."""

from types import SimpleNamespace
from typing import Any

import django_filters
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from mlops.api.moments import UntilFilter

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
    "429": "Too many",
    "503": "Not now",
}
OF_BODIES = {"413": "Too large", "415": "Neither JSON nor a form that is taken"}
OF_PRECONDITIONS = {"412": "Stale"}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The `ETag` that you decide on; 412 `stale` where it is no longer the present one.",
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": "The same key and body again are performed once, and answered the same.",
}


def without_closing_slashes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: no address needs the slash at its end that all of them tolerate."""
    result["paths"] = {path.rstrip("/"): operations for path, operations in result["paths"].items()}
    return result


class Schema(AutoSchema):
    """AutoSchema, plus what every operation of this API shares, and what its view declares."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation, with the problem answers, the view's own query parameters, and the headers it takes."""
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        content = {"application/problem+json": {"schema": PROBLEM}}
        for status, description in self._refusals().items():
            operation["responses"].setdefault(status, {"description": description, "content": content})
        present = operation.get("parameters", [])
        names = {parameter["name"] for parameter in present}
        parameters = [*present, *(self._parameter(name) for name in self._known_parameters() if name not in names), *self._headers()]
        if parameters:
            operation["parameters"] = parameters
        return operation

    def _refusals(self) -> dict[str, str]:
        bodies = OF_BODIES if self.method in ("POST", "PUT", "PATCH") else {}
        return ANSWERS | bodies | (OF_PRECONDITIONS if self._takes_precondition() else {})

    def _takes_precondition(self) -> bool:
        return self.method != "GET" and getattr(self.view, "takes_precondition", False)

    def _known_parameters(self) -> list[str]:
        """What the view lets through for this method: the very list that a request is checked against."""
        known = getattr(self.view, "known_parameters", lambda _: ())
        return list(known(SimpleNamespace(method=self.method)))

    def _parameter(self, name: str) -> dict[str, Any]:
        filterset = getattr(self.view, "filterset_class", None)
        declared = filterset.base_filters.get(name) if filterset else None
        parameter = {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
        if name == "ordering":
            fields = getattr(self.view, "ordering_fields", ())
            parameter["schema"] = {"type": "string", "enum": [f"{sign}{field}" for field in fields for sign in ("", "-")]}
        elif declared is not None:
            parameter["schema"] = _schema_of(declared)
            if "help_text" in declared.extra:
                parameter["description"] = declared.extra["help_text"]
        return parameter

    def _headers(self) -> list[dict[str, Any]]:
        replayed = self.method == "POST" and getattr(self.view, "takes_idempotency_key", True)
        return [IDEMPOTENCY_KEY] * replayed + [IF_MATCH] * self._takes_precondition()


def _schema_of(declared: django_filters.Filter) -> dict[str, Any]:
    """What a filter takes."""
    if isinstance(declared, django_filters.ChoiceFilter):
        return {"type": "string", "enum": [value for value, _ in declared.extra["choices"]]}
    formats = {django_filters.UUIDFilter: "uuid", django_filters.IsoDateTimeFilter: "date-time", UntilFilter: "date-time"}
    return {"type": "string", **({"format": formats[type(declared)]} if type(declared) in formats else {})}


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
