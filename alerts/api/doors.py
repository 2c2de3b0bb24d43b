"""What the views of alerts share: ids from paths, and rows with their ETag."""

from typing import Any
from uuid import UUID

from rest_framework.response import Response

from mlops.api.concurrency import etag
from mlops.errors import NotFound
from registry.services.lookups import Revised, as_uuid


def identifier(text: str, what: str) -> UUID:
    """The id a path names. Raises NotFound for what is none."""
    found = as_uuid(text)
    if found is None:
        raise NotFound(f"There is no such {what}.")
    return found


def answer(kind: str, row: Revised, data: Any, *, status: int = 200, location: str = "") -> Response:
    """A row with its ETag."""
    headers = {"ETag": etag(kind, row.revision), **({"Location": location} if location else {})}
    return Response(data, status=status, headers=headers)
