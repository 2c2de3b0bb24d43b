"""Pages of lists, and windows: numbers outside their documented range are 400, never silently cut."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, QueryDict
from rest_framework import pagination
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.parameters import whole_number

DEFAULT_SIZE = 20
MAX_SIZE = 100
MAX_NUMBER = 1_000_000


@dataclass(frozen=True)
class Page:
    """Which part of a list: `number` from 1, `size` rows each."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """Rows before it."""
        return (self.number - 1) * self.size


def envelope(request: HttpRequest | Request, page: Page, count: int, results: Any) -> dict[str, Any]:
    """The members of a page's answer."""
    last = max((count + page.size - 1) // page.size, 1)
    return {
        "count": count,
        "next": _link(request, page.number + 1) if page.number < last else None,
        "previous": _link(request, min(page.number - 1, last)) if page.number > 1 else None,
        "results": results,
    }


def plain_page(query: QueryDict, *, size_names: Collection[str], filters: Mapping[str, Collection[str]]) -> Page | None:
    """The page that a query of nothing but paging and these filters asks for; None for one with anything else in it, or wrong.

    `filters` has the values that each may take; an empty one is no filter. A query that is refused here is answered by the view, which says
    what is wrong with it.
    """
    numbers = {"page": 1, "size": DEFAULT_SIZE}
    for name, values in query.lists():
        if len(values) != 1 or (name in size_names and len(set(size_names) & set(query)) != 1):
            return None
        if name in filters:
            if values[0] and values[0] not in filters[name]:
                return None
        elif name == "page" or name in size_names:
            if not (values[0].isascii() and values[0].isdigit() and len(values[0]) <= 7):
                return None
            numbers["page" if name == "page" else "size"] = int(values[0])
        else:
            return None
    within = 1 <= numbers["size"] <= MAX_SIZE and 1 <= numbers["page"] <= MAX_NUMBER
    return Page(numbers["page"], numbers["size"]) if within else None


def _link(request: HttpRequest | Request, number: int) -> str:
    query = request.GET.copy()
    query["page"] = str(number)
    return f"{request.build_absolute_uri(request.path)}?{query.urlencode()}"


class PageNumberPagination(pagination.BasePagination):
    """`?page=` from 1, `?page_size=` 1–100, default 20; answers count, next, previous, results."""

    default_size = DEFAULT_SIZE
    max_size = MAX_SIZE

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """One page. A page after the last one is empty, so that a list that shrinks is no error."""
        self.request = request
        self.size = whole_number(request, "page_size", default=self.default_size, lowest=1, highest=self.max_size)
        self.number = whole_number(request, "page", default=1, lowest=1, highest=MAX_NUMBER)
        rows, self.count = self.read(queryset)
        return rows

    def read(self, queryset: Any) -> tuple[list[Any], int]:
        """The page's rows and the count of all: one COUNT and one SELECT."""
        count = queryset.count() if hasattr(queryset, "query") else len(queryset)
        start = (self.number - 1) * self.size
        return list(queryset[start : start + self.size]), count

    def get_paginated_response(self, data: Any) -> Response:
        """The page's envelope."""
        return Response(envelope(self.request, Page(self.number, self.size), self.count, data))

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
