"""`/api/v1/datasets`: upload, map, list, preview."""

from typing import Any

import django_filters
from django.db import connection, transaction
from django.urls import re_path
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.json import StrictJSONParser
from mlops.api.parameters import whole_number
from mlops.api.views import ApiView, ListView
from mlops.artifacts.uploads import path_of
from mlops.database.reading import reading
from mlops.errors import InvalidField, NotFound
from registry.api.dataset_serializers import (
    DatasetDetailSerializer,
    DatasetSerializer,
    NewDatasetSerializer,
    NewFileSerializer,
    NewMappingSerializer,
    PreviewSerializer,
    ReceivedSerializer,
    VersionSerializer,
    VersionSummarySerializer,
)
from registry.api.doors import refuse_repeated
from registry.models import Dataset, DatasetVersion, RegisteredModel
from registry.services import datasets as services
from registry.services.dataset_panels import first_rows
from registry.services.dataset_removal import delete_dataset
from registry.services.lookups import model_named
from registry.states import DatasetVersionStatus


class DatasetFilter(django_filters.FilterSet):
    """Filters of the list of data sets."""

    class Meta:
        model = Dataset
        fields = ("name", "created_by")


class VersionFilter(django_filters.FilterSet):
    """Filters of the list of versions."""

    status = django_filters.ChoiceFilter(choices=DatasetVersionStatus.choices)

    class Meta:
        model = DatasetVersion
        fields = ("status",)


class SlowView(ApiView):
    """Views that receive, read or fetch files. They run outside the request's transaction, so that none is open meanwhile."""

    def handle_exception(self, exc: Exception) -> Response:
        """Answer as everywhere, without condemning a transaction around this view: that one is not the request's."""
        inside = connection.in_atomic_block
        condemned = inside and transaction.get_rollback()
        response = super().handle_exception(exc)
        if inside:
            transaction.set_rollback(condemned)
        return response


class FileDoor(SlowView):
    """Views that take a file."""

    parser_classes = (StrictJSONParser, MultiPartParser)
    file_limit = "MAX_DATASET_BYTES"


class Datasets(FileDoor, ListView):
    """Data sets of your customer."""

    actions_by_method = {"POST": "dataset.write"}
    filterset_class = DatasetFilter
    ordering_fields = ("name", "created_at")
    search_fields = ("name",)
    row_serializer = DatasetSerializer

    @extend_schema(responses=DatasetSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List data sets. Three queries, whatever their number."""
        with reading():
            return self.page(request, services.datasets())

    @extend_schema(
        request={"multipart/form-data": NewDatasetSerializer, "application/json": NewDatasetSerializer},
        responses={201: ReceivedSerializer, 202: ReceivedSerializer},
    )
    def post(self, request: Request) -> Response:
        """Upload a CSV or Parquet file, or name one (or a folder) below an allowed root.

        Small files are read at once (201); large ones by a job (202, `job_id`). A file that cannot be used is 400 with every problem found.
        """
        refuse_repeated(request)
        body = self.body(NewDatasetSerializer, request)
        who, at = self.principal(request), timezone.now()
        common = {"name": body["name"], "by": who, "at": at, "mapping": body.get("mapping"), "model": _model(body.get("model_name"))}
        if "file" in body:
            file = body["file"]
            return _answer(services.receive_dataset(source=path_of(file), source_name=file.name, **common))
        return _answer(services.import_path(path=body["data_dir"], in_job=None, new_only=True, **common))


class DatasetDetail(ApiView):
    """One data set."""

    actions_by_method = {"DELETE": "dataset.delete"}

    @extend_schema(responses=DatasetDetailSerializer)
    def get(self, request: Request, name: str) -> Response:
        """The data set, its mapping and its newest version. Two queries."""
        return Response(DatasetDetailSerializer(services.dataset_named(name)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, name: str) -> Response:
        """Delete it with its versions and files. 409 `dataset_in_use` names what refers to it; then it stays."""
        delete_dataset(dataset_id=services.dataset_named(name).pk, by=self.principal(request), at=timezone.now())
        return Response(status=204)


class DatasetVersions(FileDoor, ListView):
    """Versions of a data set."""

    actions_by_method = {"POST": "dataset.write"}
    filterset_class = VersionFilter
    ordering_fields = ("number", "created_at")
    search_fields = ("source_name", "source_sha256", "created_by")
    row_serializer = VersionSummarySerializer

    @extend_schema(responses=VersionSummarySerializer(many=True))
    def get(self, request: Request, name: str) -> Response:
        """List versions, newest first."""
        with reading():
            versions = DatasetVersion.objects.filter(dataset=services.dataset_named(name)).select_related("dataset")
            return self.page(request, versions.defer("mapping", "report", "profile").order_by("-number", "pk"))

    @extend_schema(
        request={"multipart/form-data": NewFileSerializer, "application/json": NewFileSerializer},
        responses={200: ReceivedSerializer, 201: ReceivedSerializer, 202: ReceivedSerializer},
    )
    def post(self, request: Request, name: str) -> Response:
        """Add a newer file, read under the data set's mapping unless one is sent. The same file again adds nothing (200, `repeated`)."""
        refuse_repeated(request)
        body = self.body(NewFileSerializer, request)
        with reading():
            dataset = services.dataset_named(name)
        common: dict[str, Any] = {"by": self.principal(request), "at": timezone.now(), "mapping": body.get("mapping")}
        if "file" in body:
            file = body["file"]
            return _answer(services.new_version(dataset=dataset, source=path_of(file), source_name=file.name, **common))
        return _answer(services.import_path(name=dataset.name, path=body["data_dir"], in_job=None, **common))


class DatasetVersionDetail(ApiView):
    """One version of a data set."""

    @extend_schema(responses=VersionSerializer)
    def get(self, request: Request, name: str, number: str) -> Response:
        """Its mapping, what was read and left out, and the profile of its columns."""
        return Response(VersionSerializer(services.version_numbered(services.dataset_named(name), int(number))).data)


class DatasetMapping(SlowView):
    """Correcting how a data set is read."""

    actions_by_method = {"POST": "dataset.write"}

    @extend_schema(request=NewMappingSerializer, responses={200: ReceivedSerializer, 201: ReceivedSerializer, 202: ReceivedSerializer})
    def post(self, request: Request, name: str) -> Response:
        """Read the newest version's file again under this mapping, as a new version."""
        body = self.body(NewMappingSerializer, request)
        with reading():
            dataset = services.dataset_named(name)
        return _answer(services.remap(dataset=dataset, mapping=body["mapping"], by=self.principal(request), at=timezone.now()))


class DatasetPreview(SlowView):
    """The beginning of a version's panel."""

    query_parameters = ("limit",)

    @extend_schema(responses=PreviewSerializer)
    def get(self, request: Request, name: str, number: str) -> Response:
        """The first rows as models see them: `limit` from 1 to 100, default 20. 409 until the version is ready."""
        limit = whole_number(request, "limit", default=20, lowest=1, highest=100)
        with reading():
            version = services.version_numbered(services.dataset_named(name), int(number))
        body = {"dataset": version.dataset.name, "number": version.number, "rows": version.rows, "results": first_rows(version, limit)}
        return Response(body)


def _answer(received: services.Received) -> Response:
    version, job = received.version, received.job
    version.job_id, version.repeated = job.pk if job else None, received.repeated  # type: ignore[attr-defined]  # shown beside the columns
    status = 202 if job else 200 if received.repeated else 201
    return Response(ReceivedSerializer(version).data, status=status)


def _model(name: str | None) -> RegisteredModel | None:
    if name is None:
        return None
    try:
        with reading():
            return model_named(name)
    except NotFound as missing:
        raise InvalidField("model_name", str(missing)) from None


_NAME = r"datasets/(?P<name>[^/]+)"
dataset_urls = [
    re_path(r"^datasets/?$", transaction.non_atomic_requests(Datasets.as_view()), name="datasets"),
    re_path(rf"^{_NAME}/?$", DatasetDetail.as_view(), name="dataset"),
    re_path(rf"^{_NAME}/mapping/?$", transaction.non_atomic_requests(DatasetMapping.as_view()), name="dataset-mapping"),
    re_path(rf"^{_NAME}/versions/?$", transaction.non_atomic_requests(DatasetVersions.as_view()), name="dataset-versions"),
    re_path(rf"^{_NAME}/versions/(?P<number>[0-9]{{1,9}})/?$", DatasetVersionDetail.as_view(), name="dataset-version"),
    re_path(
        rf"^{_NAME}/versions/(?P<number>[0-9]{{1,9}})/preview/?$",
        transaction.non_atomic_requests(DatasetPreview.as_view()),
        name="dataset-preview",
    ),
]
