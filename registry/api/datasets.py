"""`/api/v1/datasets`: upload, map, list, preview."""

from pathlib import Path
from typing import Any

import django_filters
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.db import connection, transaction
from django.urls import re_path
from django.utils import timezone
from drf_spectacular.utils import OpenApiTypes, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api import json
from mlops.api.json import JSONProblem, StrictJSONParser
from mlops.api.parameters import whole_number
from mlops.api.problems import Problem
from mlops.api.views import ApiView, ListView
from mlops.database.reading import reading
from mlops.errors import InvalidField, NotFound
from registry.models import Dataset, DatasetVersion, RegisteredModel
from registry.services import datasets as services
from registry.services.dataset_panels import first_rows
from registry.services.lookups import model_named
from registry.states import DatasetVersionStatus


@extend_schema_field(OpenApiTypes.OBJECT)
class MappingField(serializers.Field[dict[str, Any], Any, Any, Any]):
    """A mapping: an object in a JSON body, JSON text in a multipart one."""

    default_error_messages = {"not_an_object": "Must be a mapping as a JSON object.", "not_json": "Not acceptable JSON: {problem}."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The object; what it says is the services' to judge."""
        if isinstance(data, str):
            try:
                data = json.loads(data.encode("utf-8", "surrogatepass"))
            except JSONProblem as problem:
                self.fail("not_json", problem=problem)
        if not isinstance(data, dict):
            self.fail("not_an_object")
        return data

    def to_representation(self, value: Any) -> Any:
        """As it is."""
        return value


class NewFileSerializer(serializers.Serializer[Any]):
    """A file, or a path below an allowed root, and how to read it."""

    file = serializers.FileField(required=False)
    data_dir = serializers.CharField(required=False, max_length=500)
    mapping = MappingField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Exactly one source."""
        if ("file" in attrs) == ("data_dir" in attrs):
            raise serializers.ValidationError({"file": "Send a file in a multipart body, or data_dir: one of the two."})
        return attrs


class NewDatasetSerializer(NewFileSerializer):
    """A new data set."""

    name = serializers.CharField(max_length=128)
    model_name = serializers.CharField(required=False, max_length=128, help_text="A model whose source of data it becomes.")


class NewMappingSerializer(serializers.Serializer[Any]):
    """A corrected mapping."""

    mapping = MappingField()


class VersionSummarySerializer(serializers.ModelSerializer[DatasetVersion]):
    """A version without its long parts."""

    dataset = serializers.CharField(source="dataset.name")

    class Meta:
        model = DatasetVersion
        fields = (
            "id",
            "dataset",
            "number",
            "status",
            "source_name",
            "source_sha256",
            "source_size",
            "panel_sha256",
            "rows",
            "series",
            "first_day",
            "last_day",
            "created_by",
            "created_at",
        )
        read_only_fields = fields


class VersionSerializer(VersionSummarySerializer):
    """A version with its mapping, report and profile."""

    class Meta(VersionSummarySerializer.Meta):
        fields = (*VersionSummarySerializer.Meta.fields, "mapping", "report", "profile")  # type: ignore[assignment] - a longer tuple
        read_only_fields = fields


class ReceivedSerializer(VersionSerializer):
    """What became of a file."""

    job_id = serializers.UUIDField(allow_null=True, help_text="The job that reads it, while it is read.")
    repeated = serializers.BooleanField(help_text="Nothing was added: the newest version already was this.")

    class Meta(VersionSerializer.Meta):
        fields = (*VersionSerializer.Meta.fields, "job_id", "repeated")  # type: ignore[assignment] - a longer tuple
        read_only_fields = fields


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    """A data set and its newest version."""

    versions = serializers.IntegerField(source="last_version_number")
    newest = serializers.SerializerMethodField()

    class Meta:
        model = Dataset
        fields = ("id", "name", "versions", "newest", "created_by", "created_at")
        read_only_fields = fields

    @extend_schema_field(VersionSummarySerializer(allow_null=True))
    def get_newest(self, dataset: Dataset) -> Any:
        """The newest version, whatever became of it."""
        newest = dataset.newest_versions  # type: ignore[attr-defined] - prefetched by services.datasets()
        return VersionSummarySerializer(newest[0]).data if newest else None


class DatasetDetailSerializer(DatasetSerializer):
    """A data set with the mapping that newer files are read under."""

    class Meta(DatasetSerializer.Meta):
        fields = (*DatasetSerializer.Meta.fields, "mapping")  # type: ignore[assignment] - a longer tuple
        read_only_fields = fields


class PreviewRowSerializer(serializers.Serializer[Any]):
    """One row of a panel."""

    series = serializers.IntegerField()
    date = serializers.DateField()
    target = serializers.FloatField(allow_null=True, help_text="Null is unknown: closed, not offered or missing.")
    closed = serializers.BooleanField()
    price = serializers.FloatField(allow_null=True)
    promotion = serializers.FloatField(allow_null=True)
    stock = serializers.FloatField(allow_null=True)
    keys = serializers.DictField()
    attributes = serializers.DictField()
    known = serializers.DictField()


class PreviewSerializer(serializers.Serializer[Any]):
    """The beginning of a panel."""

    dataset = serializers.CharField()
    number = serializers.IntegerField()
    rows = serializers.IntegerField()
    results = PreviewRowSerializer(many=True)


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

    def single_values(self, request: Request) -> None:
        """Raise a 400 naming a field of a multipart body that was sent more than once: which one counts would be a guess."""
        data: Any = request.data
        names = [name for name, values in data.lists() if len(values) > 1] if hasattr(data, "lists") else []
        if names:
            errors = [{"field": name[:100], "message": "Sent more than once.", "code": "repeated"} for name in names[:20]]
            raise Problem(400, "invalid", "Some fields are not valid.", errors=errors)


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
        self.single_values(request)
        body = self.body(NewDatasetSerializer, request)
        who, at = self.principal(request), timezone.now()
        common = {"name": body["name"], "by": who, "at": at, "mapping": body.get("mapping"), "model": _model(body.get("model_name"))}
        if "file" in body:
            file = body["file"]
            return _answer(services.receive_dataset(source=_path(file), source_name=file.name, **common))
        return _answer(services.import_path(path=body["data_dir"], in_job=None, new_only=True, **common))


class DatasetDetail(ApiView):
    """One data set."""

    @extend_schema(responses=DatasetDetailSerializer)
    def get(self, request: Request, name: str) -> Response:
        """The data set, its mapping and its newest version. Two queries."""
        return Response(DatasetDetailSerializer(services.dataset_named(name)).data)


class DatasetVersions(FileDoor, ListView):
    """Versions of a data set."""

    actions_by_method = {"POST": "dataset.write"}
    filterset_class = VersionFilter
    ordering_fields = ("number", "created_at")
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
        self.single_values(request)
        body = self.body(NewFileSerializer, request)
        with reading():
            dataset = services.dataset_named(name)
        common: dict[str, Any] = {"by": self.principal(request), "at": timezone.now(), "mapping": body.get("mapping")}
        if "file" in body:
            file = body["file"]
            return _answer(services.new_version(dataset=dataset, source=_path(file), source_name=file.name, **common))
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
    version.job_id, version.repeated = job.pk if job else None, received.repeated  # type: ignore[attr-defined] - shown beside the columns
    status = 202 if job else 200 if received.repeated else 201
    return Response(ReceivedSerializer(version).data, status=status)


def _path(file: UploadedFile) -> Path:
    """Where the upload was streamed to; the one upload handler of the settings keeps nothing in memory."""
    if not isinstance(file, TemporaryUploadedFile):
        raise TypeError(f"{type(file).__name__} has no file: FILE_UPLOAD_HANDLERS must stream to files.")
    return Path(file.temporary_file_path())


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
