"""What the views of alerts share: ids from paths, and on which revision somebody decides."""

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.concurrency import check_if_match, etag
from mlops.errors import NotFound
from registry.services.lookups import as_uuid


class Revised(Protocol):
    """A row that counts its changes."""

    revision: int


def identifier(text: str, what: str) -> UUID:
    """The id a path names. Raises NotFound for what is none."""
    found = as_uuid(text)
    if found is None:
        raise NotFound(f"There is no such {what}.")
    return found


def condition(request: Request, kind: str) -> Callable[[Revised], None]:
    """`If-Match`, checked by the service under the lock."""
    return lambda row: check_if_match(request, etag(kind, row.revision))


def answer(kind: str, row: Revised, data: Any, *, status: int = 200, location: str = "") -> Response:
    """A row with its ETag."""
    headers = {"ETag": etag(kind, row.revision), **({"Location": location} if location else {})}
    return Response(data, status=status, headers=headers)
