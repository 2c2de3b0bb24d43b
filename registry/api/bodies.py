"""What the registry's calls accept. Shape only; what the values mean is the services' to judge."""

import math
from typing import Any

from rest_framework import serializers

from engine.frames.limits import LARGEST_VALUE
from mlops.api import json
from mlops.api.json import JSONProblem
from registry.models import RegisteredModel
from registry.services.actuals import MOST_ACTUALS
from registry.states import Trigger

LONGEST_REASON = 4000
MOST_FEATURES = 10_000


class NumberField(serializers.FloatField):
    """A finite JSON number: no text, no truth value, no NaN."""

    def to_internal_value(self, data: Any) -> float:
        """The number. Refuses everything a float would also swallow."""
        if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
            self.fail("invalid")
        return float(super().to_internal_value(data))


class ActBody(serializers.Serializer[Any]):
    """Why, and for whom."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_REASON)
    user_id = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=254,
        help_text="The person acting. People name only themselves; an admin key, or a key without a person, may name another one, "
        "which is recorded as `on_behalf_of`.",
    )


class PromoteBody(ActBody):
    """A promotion."""

    override = serializers.BooleanField(
        required=False, help_text="Go past failed gates where the policy enforces them; needs a reason. It lets no rollback past them."
    )


class PromoteAnywhereBody(PromoteBody):
    """A promotion of a version that the path names alone."""

    model_name = serializers.CharField(required=False, max_length=128, help_text="Whose label the path is; default `demand_forecast`.")


class RollbackBody(ActBody):
    """A rollback."""

    emergency = serializers.BooleanField(
        required=False, help_text="Past the second pair of eyes and enforced gates; needs a reason and opens a review."
    )


class DecideBody(ActBody):
    """A decision on a pending request."""

    approved_by = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text="Another name of `user_id`.")


class ModelBody(serializers.Serializer[Any]):
    """Settings of a model that may change."""

    display_name = serializers.CharField(required=False, allow_blank=True, max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, max_length=10_000)
    model_type = serializers.ChoiceField(required=False, choices=RegisteredModel.Type.choices)
    domain = serializers.CharField(required=False, allow_blank=True, max_length=64)
    dataset_id = serializers.UUIDField(required=False, allow_null=True, help_text="The data set a retrain reads.")
    data_dir = serializers.CharField(required=False, allow_blank=True, max_length=500, help_text="A file or folder below an allowed root.")
    recipe = serializers.DictField(required=False, help_text="What a retrain fits; replaces the present one.")
    policy = serializers.DictField(
        required=False, help_text="Promotion policy; merged into the present one, null takes a setting to its default."
    )
    scheduled = serializers.BooleanField(required=False, help_text="Whether the scheduled jobs work on this model.")
    retention_days = serializers.IntegerField(required=False, min_value=1, max_value=36_500)


class ModelChangesBody(ModelBody):
    """Settings to change, why, and for whom."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_REASON, help_text="Goes into the audit trail.")
    user_id = serializers.CharField(required=False, allow_blank=True, max_length=254)


class NewModelBody(ModelBody):
    """A new model."""

    name = serializers.CharField(max_length=128)
    task = serializers.ChoiceField(required=False, choices=RegisteredModel.Task.choices)
    user_id = serializers.CharField(required=False, allow_blank=True, max_length=254)


class NewVersionBody(serializers.Serializer[Any]):
    """A new version's metadata; everything is optional."""

    version = serializers.CharField(
        required=False, allow_blank=True, max_length=64, help_text="A label of your own; else v1, v2, … in order."
    )
    algorithm = serializers.CharField(required=False, allow_blank=True, max_length=40)
    metrics = serializers.DictField(required=False)
    hyperparameters = serializers.DictField(required=False)
    signature = serializers.DictField(
        required=False, help_text='`{"features": [{"name": …, "dtype": …}, …]}`, in the order the model takes them.'
    )
    reference_statistics = serializers.DictField(required=False)
    lineage = serializers.DictField(required=False, help_text="Ids of split, study, trial, experiment; code revision; recipe.")
    dataset_version_id = serializers.UUIDField(required=False, allow_null=True)
    parent = serializers.CharField(  # type: ignore[assignment] # declared fields are taken out of the class
        required=False, allow_blank=True, max_length=64, help_text="Label or id of a version of this model."
    )
    trained_through = serializers.DateField(required=False, allow_null=True)
    training_seconds = NumberField(required=False, allow_null=True, min_value=0)
    notes = serializers.CharField(required=False, allow_blank=True, max_length=10_000)
    user_id = serializers.CharField(required=False, allow_blank=True, max_length=254)

    def validate_signature(self, value: dict[str, Any]) -> dict[str, Any]:
        """Features, where given, are objects with names of their own."""
        features = value.get("features", [])
        names = [one.get("name") for one in features if isinstance(one, dict)] if isinstance(features, list) else None
        if names is None or len(names) != len(features) or not all(isinstance(name, str) and name for name in names):
            raise serializers.ValidationError("`features` must be a list of objects, each with a `name`.")
        if len(names) > MOST_FEATURES or len(set(names)) != len(names):
            raise serializers.ValidationError(f"At most {MOST_FEATURES} features, each named once.")
        return value


class NewArtifactBody(serializers.Serializer[Any]):
    """A new version with its artifact: a multipart body."""

    file = serializers.FileField(help_text="LightGBM text, XGBoost UBJSON, CatBoost CBM, ONNX, skops, or a forecaster's JSON.")
    metadata = serializers.CharField(required=False, trim_whitespace=False, help_text="The fields of the JSON body, as JSON text.")

    def validate_metadata(self, value: str) -> dict[str, Any]:
        """The fields."""
        try:
            found = json.loads(value.encode())
        except JSONProblem as problem:
            raise serializers.ValidationError(f"Not acceptable JSON: {problem}.") from None
        if not isinstance(found, dict):
            raise serializers.ValidationError("Must be a JSON object.")
        return found


class ActualBody(serializers.Serializer[Any]):
    """One series' demand on one day."""

    date = serializers.DateField()
    keys = serializers.DictField(
        required=False, child=serializers.CharField(max_length=254, allow_blank=True), help_text="The data's key columns and their values."
    )
    value = NumberField(min_value=-LARGEST_VALUE, max_value=LARGEST_VALUE)


class ActualsBody(serializers.Serializer[Any]):
    """Ground truth."""

    rows = ActualBody(many=True, allow_empty=False, max_length=MOST_ACTUALS)  # type: ignore[call-arg] # many=True makes a list of it


class RetrainBody(ActBody):
    """A retraining."""

    trigger = serializers.ChoiceField(required=False, choices=Trigger.choices, help_text="Default manual.")
    data_dir = serializers.CharField(
        required=False, allow_blank=True, max_length=500, help_text="A file or folder below an allowed root, for this retraining alone."
    )
    dataset_id = serializers.UUIDField(required=False, allow_null=True, help_text="A data set for this retraining alone.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One source of data at most."""
        if attrs.get("data_dir") and attrs.get("dataset_id"):
            raise serializers.ValidationError({"data_dir": "Name a dataset_id or a data_dir, not both."})
        return attrs
