"""What the doors of data sets take and show."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from mlops.api.bodies import JSONTextField
from registry.models import Dataset, DatasetVersion


@extend_schema_field(OpenApiTypes.OBJECT)
class MappingField(JSONTextField):
    """A mapping: an object in a JSON body, JSON text in a multipart one."""

    default_error_messages = {"not_an_object": "Must be a mapping as a JSON object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The object; what it says is the services' to judge."""
        data = self.parsed(data)
        if not isinstance(data, dict):
            self.fail("not_an_object")
        return data


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
        fields: tuple[str, ...] = (
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
        fields = (*VersionSummarySerializer.Meta.fields, "mapping", "report", "profile")
        read_only_fields = fields


class ReceivedSerializer(VersionSerializer):
    """What became of a file."""

    job_id = serializers.UUIDField(allow_null=True, help_text="The job that reads it, while it is read.")
    repeated = serializers.BooleanField(help_text="Nothing was added: the newest version already was this.")

    class Meta(VersionSerializer.Meta):
        fields = (*VersionSerializer.Meta.fields, "job_id", "repeated")
        read_only_fields = fields


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    """A data set and its newest version."""

    versions = serializers.IntegerField(source="last_version_number")
    newest = serializers.SerializerMethodField()

    class Meta:
        model = Dataset
        fields: tuple[str, ...] = ("id", "name", "versions", "newest", "created_by", "created_at")
        read_only_fields = fields

    @extend_schema_field(VersionSummarySerializer(allow_null=True))
    def get_newest(self, dataset: Dataset) -> Any:
        """The newest version, whatever became of it."""
        newest = dataset.newest_versions  # type: ignore[attr-defined]  # prefetched by services.datasets()
        return VersionSummarySerializer(newest[0]).data if newest else None


class DatasetDetailSerializer(DatasetSerializer):
    """A data set with the mapping that newer files are read under."""

    class Meta(DatasetSerializer.Meta):
        fields = (*DatasetSerializer.Meta.fields, "mapping")
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
