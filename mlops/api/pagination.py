"""Pages of lists, and windows: numbers outside their documented range are 400, never silently cut."""

from typing import Any

from rest_framework import pagination
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.parameters import whole_number


class PageNumberPagination(pagination.BasePagination):
    """`?page=` from 1, `?page_size=` 1–100, default 20; answers count, next, previous, results."""

    default_size = 20
    max_size = 100

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """One page. A page after the last one is empty, so that a list that shrinks is no error."""
        self.request = request
        self.size = whole_number(request, "page_size", default=self.default_size, lowest=1, highest=self.max_size)
        self.number = whole_number(request, "page", default=1, lowest=1, highest=1_000_000)
        rows, self.count = self.read(queryset)
        return rows

    def read(self, queryset: Any) -> tuple[list[Any], int]:
        """The page's rows and the count of all: one COUNT and one SELECT."""
        count = queryset.count() if hasattr(queryset, "query") else len(queryset)
        start = (self.number - 1) * self.size
        return list(queryset[start : start + self.size]), count

    def get_paginated_response(self, data: Any) -> Response:
        """The page's envelope."""
        last = max((self.count + self.size - 1) // self.size, 1)
        return Response(
            {
                "count": self.count,
                "next": self._link(self.number + 1) if self.number < last else None,
                "previous": self._link(min(self.number - 1, last)) if self.number > 1 else None,
                "results": data,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The envelope in OpenAPI."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["count", "next", "previous", "results"],
            "properties": {"count": {"type": "integer"}, "next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """`page` and `page_size` in OpenAPI."""
        sizes = {"type": "integer", "minimum": 1, "maximum": self.max_size, "default": self.default_size}
        return [
            {"name": "page", "in": "query", "required": False, "schema": {"type": "integer", "minimum": 1, "default": 1}},
            {"name": "page_size", "in": "query", "required": False, "schema": sizes},
        ]

    def _link(self, number: int) -> str:
        query = self.request.query_params.copy()
        query["page"] = str(number)
        return f"{self.request.build_absolute_uri(self.request.path)}?{query.urlencode()}"
