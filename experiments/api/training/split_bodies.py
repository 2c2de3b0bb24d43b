"""What the calls about splits accept. Shape only; what the values mean is the services' to judge."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from engine.tabular.columns import PARTS, TASKS
from engine.tabular.limits import MAX_FEATURES, MAX_NAME
from engine.tabular.splitting import MAX_SEED, STRATEGIES
from experiments.services.splitting import MAX_NAME_LENGTH
from mlops.api.bodies import JSONTextField
from registry.api.bodies import NumberField

DEFAULT_FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
LONGEST_TEXT = 10_000


@extend_schema_field({"type": "object", "properties": {part: {"type": "number"} for part in PARTS}, "required": list(PARTS)})
class FractionsField(JSONTextField):
    """The share of rows per part."""

    default_error_messages = {"shape": "Must be an object with a number each for train, validation and test."}

    def to_internal_value(self, data: Any) -> dict[str, float]:
        """Three finite numbers."""
        data = self.parsed(data)
        if not isinstance(data, dict) or set(data) != set(PARTS):
            self.fail("shape")
        number = NumberField()
        return {part: float(number.run_validation(data[part])) for part in PARTS}


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class FeaturesField(JSONTextField):
    """Names of columns."""

    default_error_messages = {"shape": f"Must be a list of 1 to {MAX_FEATURES} names of columns, of up to {MAX_NAME} characters each."}

    def to_internal_value(self, data: Any) -> list[str]:
        """Names, in their order."""
        data = self.parsed(data)
        if not isinstance(data, list) or not 1 <= len(data) <= MAX_FEATURES:
            self.fail("shape")
        if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME and "\x00" not in name for name in data):
            self.fail("shape")
        names: list[str] = data
        return names


@extend_schema_field({"type": "array", "items": {"type": "object", "additionalProperties": True}})
class RecordsField(serializers.Field[Any, Any, Any, Any]):
    """Rows, as objects."""

    default_error_messages = {"shape": "Must be a list of objects, one per row."}

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        """The rows; what they hold is looked at elsewhere."""
        if not isinstance(data, list) or not data or not all(isinstance(record, dict) for record in data):
            self.fail("shape")
        records: list[dict[str, Any]] = data
        return records

    def to_representation(self, value: Any) -> Any:
        """As it is."""
        return value


class NewSplitBody(serializers.Serializer[Any]):
    """A split, and one source of rows."""

    name = serializers.CharField(max_length=MAX_NAME_LENGTH)
    description = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_TEXT)
    target = serializers.CharField(max_length=MAX_NAME, trim_whitespace=False)
    task = serializers.ChoiceField(choices=TASKS)
    strategy = serializers.ChoiceField(choices=STRATEGIES, default="random")
    fractions = FractionsField(required=False, help_text="Default: 0.7, 0.15, 0.15. They sum to 1.")
    seed = serializers.IntegerField(min_value=0, max_value=MAX_SEED, default=0)
    entity_column = serializers.CharField(required=False, allow_null=True, max_length=MAX_NAME, trim_whitespace=False)
    time_column = serializers.CharField(required=False, allow_null=True, max_length=MAX_NAME, trim_whitespace=False)
    features = FeaturesField(required=False, allow_null=True, help_text="In this order. Default: all but target, entity and time.")
    records = RecordsField(required=False)
    file = serializers.FileField(required=False, help_text="CSV, gzipped CSV or Parquet, in a multipart body.")
    uri = serializers.CharField(required=False, max_length=500, help_text="A path below an allowed root, or s3://, gs://, az://.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Exactly one source."""
        given = [name for name in ("records", "file", "uri") if name in attrs]
        if len(given) != 1:
            raise serializers.ValidationError({"records": "Send records, a file in a multipart body, or a uri: one of the three."})
        return attrs


class SplitChanges(serializers.Serializer[Any]):
    """What of a split may be changed."""

    name = serializers.CharField(required=False, max_length=MAX_NAME_LENGTH)
    description = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_TEXT)
