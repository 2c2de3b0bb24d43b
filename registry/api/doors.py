"""What the registry's views share: finding what a path names, whom a body names, and on which revision somebody decides."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.concurrency import check_if_match, etag
from mlops.api.parameters import invalid
from mlops.api.problems import Problem
from mlops.errors import InvalidField
from mlops.tenancy.naming import acting_for
from mlops.tenancy.roles import Principal
from registry.models import Dataset, DatasetVersion, RegisteredModel
from registry.services.lookups import DEFAULT_MODEL, IfMatch


def etag_of(model: RegisteredModel) -> str:
    """The validator of a model, and of its versions: a version is decided upon as part of its model."""
    return etag("model", model.revision)


def condition(request: Request, kind: str = "model") -> IfMatch:
    """`If-Match` on a row of this kind, checked by the service under the lock."""
    return lambda row: check_if_match(request, etag(kind, row.revision))


def answer(model: RegisteredModel, data: Any, *, status: int = 200, location: str = "") -> Response:
    """A governed object with its ETag."""
    headers = {"ETag": etag_of(model), **({"Location": location} if location else {})}
    return Response(data, status=status, headers=headers)


def named_by(principal: Principal, body: dict[str, Any], *fields: str) -> Principal:
    """The principal acting for the person whom the body names, the fields removed from it. Raises IdentityMismatch, InvalidField."""
    names = {field: body.pop(field, "").strip() for field in fields}
    found = {acting_for(principal, name, field=field): field for field, name in names.items() if name}
    if len(found) > 1:
        raise InvalidField(fields[-1], f"Names another person than {fields[0]}.")
    return next(iter(found), principal)


def model_name_of(request: Request, body: Mapping[str, Any] | None = None) -> tuple[str, bool]:
    """The model that query or body name, else the default one; and whether one was named. Raises a 400 problem where they differ."""
    query, given = request.query_params.get("model_name", ""), (body or {}).get("model_name", "")
    if query and given and query != given:
        raise invalid("model_name", "The query and the body name different models.")
    return (query or given or DEFAULT_MODEL), bool(query or given)


def refuse_repeated(request: Request) -> None:
    """Raise a 400 naming a field of a multipart body that was sent more than once: which one counts would be a guess."""
    data: Any = request.data
    names = [name for name, values in data.lists() if len(values) > 1] if hasattr(data, "lists") else []
    if names:
        errors = [{"field": name[:100], "message": "Sent more than once.", "code": "repeated"} for name in names[:20]]
        raise Problem(400, "invalid", "Some fields are not valid.", errors=errors)


def dataset_of(identifier: UUID | None) -> Dataset | None:
    """The data set of this id. Raises InvalidField."""
    found = Dataset.objects.filter(pk=identifier).first() if identifier else None
    if identifier and found is None:
        raise InvalidField("dataset_id", "There is no such data set.")
    return found


def dataset_version_of(identifier: UUID | None) -> DatasetVersion | None:
    """The version of a data set of this id. Raises InvalidField."""
    found = DatasetVersion.objects.filter(pk=identifier).first() if identifier else None
    if identifier and found is None:
        raise InvalidField("dataset_version_id", "There is no such version of a data set.")
    return found


def job_address(job_id: UUID | None) -> str:
    """Where to look for a job."""
    return reverse("job", kwargs={"job_id": str(job_id)}) if job_id else ""
