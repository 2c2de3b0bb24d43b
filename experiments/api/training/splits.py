"""`/v1/splits`: a data set cut into train, validation and test."""

from typing import Any
from uuid import UUID

import django_filters
from django.db import transaction
from django.urls import re_path, reverse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from experiments.api.training.split_answers import SplitAnswer, SplitDetailAnswer, split_detail
from experiments.api.training.split_bodies import DEFAULT_FRACTIONS, NewSplitBody, SplitChanges
from experiments.models import Split
from experiments.queries.splits import splits
from experiments.services import splitting
from experiments.states import SplitStatus
from mlops.api.concurrency import etag
from mlops.api.parameters import choice
from mlops.api.views import ApiView, ListView
from mlops.artifacts.uploads import path_of
from mlops.database.reading import reading
from mlops.errors import NotFound
from registry.api.datasets import FileDoor
from registry.api.doors import condition, refuse_repeated


def etag_of(split: Split) -> str:
    """The validator of a split."""
    return etag("split", split.revision)


def answer(split: Split, *, status: int = 200) -> Response:
    """A split with its ETag."""
    headers = {"ETag": etag_of(split), "Location": reverse("split", kwargs={"split_id": str(split.pk)})}
    return Response(split_detail(split), status=status, headers=headers)


class SplitFilter(django_filters.FilterSet):
    """Filters of the list."""

    status = django_filters.ChoiceFilter(choices=SplitStatus.choices)
    task = django_filters.ChoiceFilter(choices=Split.Task.choices)
    strategy = django_filters.ChoiceFilter(choices=Split.Strategy.choices)
    source = django_filters.ChoiceFilter(choices=Split.Source.choices)
    target = django_filters.CharFilter()
    created_by = django_filters.CharFilter()

    class Meta:
        model = Split
        fields = ("status", "task", "strategy", "source", "target", "created_by")


class Splits(FileDoor, ListView):
    """Splits of your customer."""

    actions_by_method = {"POST": "split.write"}
    filterset_class = SplitFilter
    ordering_fields = ("created_at", "updated_at", "name", "rows")
    search_fields = ("name", "description", "source_name")
    row_serializer = SplitAnswer

    @extend_schema(operation_id="splits_list", responses=SplitAnswer(many=True))
    def get(self, request: Request) -> Response:
        """Splits, newest first. Two queries, whatever their number."""
        with reading():
            return self.page(request, splits())

    @extend_schema(
        operation_id="splits_create",
        request={"application/json": NewSplitBody, "multipart/form-data": NewSplitBody},
        responses={201: SplitDetailAnswer, 202: SplitDetailAnswer},
    )
    def post(self, request: Request) -> Response:
        """Cut a data set into train, validation and test.

        `records` are split at once (201, `ready`); rows that cannot be split are 400 with every problem found. A `file` or `uri` is read by
        a job (202, `pending`, `job_id`); if it cannot be split, the split ends `failed` with its `problems`.
        """
        refuse_repeated(request)
        body = self.body(NewSplitBody, request)
        plan = splitting.plan_of({"fractions": DEFAULT_FRACTIONS, **body})
        common: dict[str, Any] = {
            "name": body["name"],
            "description": body.get("description", ""),
            "plan": plan,
            "by": self.principal(request),
            "at": timezone.now(),
        }
        if "records" in body:
            return answer(splitting.split_records(records=body["records"], **common), status=201)
        if "file" in body:
            file = body["file"]
            return answer(splitting.split_file(path=path_of(file), file_name=file.name, **common), status=202)
        return answer(splitting.split_uri(uri=body["uri"], **common), status=202)


class SplitDetail(ApiView):
    """One split."""

    actions_by_method = {"PATCH": "split.write", "DELETE": "split.delete"}
    takes_precondition = True

    def known_parameters(self, request: Request) -> tuple[str, ...]:
        """Only deleting takes one."""
        return ("delete_artifacts",) if request.method == "DELETE" else ()

    @extend_schema(operation_id="splits_retrieve", responses=SplitDetailAnswer)
    def get(self, request: Request, split_id: str) -> Response:
        """The split with the profile of its columns."""
        return answer(splitting.find_split(_known(split_id)))

    @extend_schema(operation_id="splits_change", request=SplitChanges, responses=SplitDetailAnswer)
    def patch(self, request: Request, split_id: str) -> Response:
        """Rename or describe. How rows were split never changes: make another split."""
        changes = self.body(SplitChanges, request)
        who, at = self.principal(request), timezone.now()
        return answer(
            splitting.change_split(split_id=_known(split_id), changes=changes, by=who, at=at, if_match=condition(request, "split"))
        )

    @extend_schema(
        operation_id="splits_delete",
        parameters=[OpenApiParameter("delete_artifacts", OpenApiTypes.BOOL, description="Delete the files too. Default false.")],
        responses={204: None},
    )
    def delete(self, request: Request, split_id: str) -> Response:
        """Hide the split; its files are kept unless `delete_artifacts=true`. 409 while a study uses it."""
        too = choice(request, "delete_artifacts", ("true", "false"), default="false") == "true"
        who, at = self.principal(request), timezone.now()
        splitting.delete_split(split_id=_known(split_id), by=who, at=at, delete_artifacts=too, if_match=condition(request, "split"))
        return Response(status=204)


def _known(split_id: str) -> UUID:
    """The id in the path. Raises NotFound for what is none."""
    try:
        return UUID(split_id)
    except ValueError:
        raise NotFound("There is no such split.") from None


split_urls = [
    re_path(r"^splits/?\Z", transaction.non_atomic_requests(Splits.as_view()), name="splits"),
    re_path(r"^splits/(?P<split_id>[0-9a-fA-F-]{36})/?\Z", SplitDetail.as_view(), name="split"),
]
