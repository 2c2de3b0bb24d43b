"""What the registry's calls answer: models and versions.

Fields are declared for OpenAPI; values are made by plain functions, which are several times faster than a serializer's fields and
run for every row of a list. A test holds the two together.
"""

from typing import Any, ClassVar

from rest_framework import serializers

from mlops.lifecycle.models import Move
from registry.models import ModelVersion, Verdict
from registry.queries.models import ModelSummary
from registry.rules.policy import parse
from registry.states import VERSION_LIFECYCLE


class Answer(serializers.Serializer[Any]):
    """A declared answer whose values come from `make`."""

    make: ClassVar[Any]
    """A static method: the row in, its JSON values out."""

    def to_representation(self, instance: Any) -> Any:
        """The instance as `make` shows it."""
        return type(self).make(instance)


def model_row(found: ModelSummary) -> dict[str, Any]:
    """One line of the list of models."""
    model, champion = found.model, found.champion
    return {
        "id": model.pk,
        "name": model.name,
        "display_name": str(model),
        "description": model.description,
        "task": model.task,
        "model_type": model.model_type,
        "domain": model.domain,
        "version_count": found.version_count,
        "versions": found.by_status,
        "champion": None if champion is None else vars(champion),
        "production_status": "in_production" if champion else "not_in_production",
        "scheduled": model.scheduled,
        "created_by": model.created_by,
        "created_at": model.created_at,
    }


def model_detail(found: ModelSummary) -> dict[str, Any]:
    """A model with its settings."""
    model = found.model
    return {
        **model_row(found),
        "dataset_id": model.dataset_id,
        "data_dir": model.data_dir,
        "recipe": model.recipe,
        "policy": parse(model.policy).to_json(),
        "policy_revision": model.policy_revision,
        "retention_days": model.retention_days,
        "revision": model.revision,
    }


def version_row(version: ModelVersion) -> dict[str, Any]:
    """One line of a list of versions."""
    return {
        "id": version.pk,
        "model_name": version.model_name,
        "version": version.version,
        "number": version.number,
        "status": version.status,
        "algorithm": version.algorithm,
        "metrics": version.metrics,
        "hyperparameters": version.hyperparameters,
        "dataset_version_id": version.dataset_version_id,
        "trained_through": version.trained_through,
        "training_seconds": version.training_seconds,
        "has_artifact": version.has_artifact,
        "artifact_format": version.artifact_format,
        "artifact_sha256": version.artifact_sha256,
        "artifact_size": version.artifact_size,
        "created_by": version.created_by,
        "created_at": version.created_at,
        "promoted_at": version.promoted_at,
        "status_changed_at": version.status_changed_at,
    }


def version_detail(version: ModelVersion, verdict: Verdict | None) -> dict[str, Any]:
    """A version with everything that was registered, and what the arena said last."""
    features = version.signature.get("features", [])
    return {
        **version_row(version),
        "signature": version.signature,
        "feature_names": [one.get("name") for one in features if isinstance(one, dict)],
        "reference_statistics": version.reference_statistics,
        "lineage": version.lineage,
        "parent": _parent(version),
        "notes": version.notes,
        "deleted_at": version.deleted_at,
        "allowed_moves": VERSION_LIFECYCLE.allowed(version.status),
        "verdict": None if verdict is None else verdict_row(verdict),
    }


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """A judgement with its gates and their numbers."""
    return {
        "id": verdict.pk,
        "passed": verdict.passed,
        "summary": verdict.summary,
        "against": verdict.against.version if verdict.against else None,
        "gates": verdict.gates,
        "policy_revision": verdict.policy_revision,
        "trigger": verdict.trigger,
        "created_at": verdict.created_at,
    }


def move_row(made: Move) -> dict[str, Any]:
    """One step of a version: who, when, why."""
    return {
        "sequence": made.sequence,
        "from": made.source,
        "to": made.target,
        "by": made.actor,
        "on_behalf_of": made.on_behalf_of,
        "reason": made.reason,
        "at": made.occurred_at,
        "audit_number": made.audit_number,
    }


def _parent(version: ModelVersion) -> str | None:
    """The parent's label: where `find_version` brought it along, without loading the parent."""
    label: str | None = getattr(version, "parent_label", None)
    return label or (version.parent.version if version.parent else None)


class ChampionAnswer(serializers.Serializer[Any]):
    """Who serves."""

    id = serializers.UUIDField()
    version = serializers.CharField()
    promoted_at = serializers.DateTimeField()
    metrics = serializers.DictField()


class ModelAnswer(Answer):
    """A model."""

    make = staticmethod(model_row)

    id = serializers.UUIDField()
    name = serializers.CharField()
    display_name = serializers.CharField()
    description = serializers.CharField()
    task = serializers.CharField()
    model_type = serializers.CharField()
    domain = serializers.CharField()
    version_count = serializers.IntegerField()
    versions = serializers.DictField(child=serializers.IntegerField(), help_text="Versions by status.")
    champion = ChampionAnswer(allow_null=True)
    production_status = serializers.ChoiceField(choices=["in_production", "not_in_production"])
    scheduled = serializers.BooleanField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()


class ModelDetailAnswer(ModelAnswer):
    """A model with its settings. `policy` has every setting, defaults included."""

    make = staticmethod(model_detail)

    dataset_id = serializers.UUIDField(allow_null=True)
    data_dir = serializers.CharField()
    recipe = serializers.DictField()
    policy = serializers.DictField()
    policy_revision = serializers.IntegerField()
    retention_days = serializers.IntegerField()
    revision = serializers.IntegerField(help_text="The number in the ETag.")


class VersionAnswer(Answer):
    """A version."""

    make = staticmethod(version_row)

    id = serializers.UUIDField()
    model_name = serializers.CharField()
    version = serializers.CharField()
    number = serializers.IntegerField()
    status = serializers.CharField()
    algorithm = serializers.CharField()
    metrics = serializers.DictField()
    hyperparameters = serializers.DictField()
    dataset_version_id = serializers.UUIDField(allow_null=True)
    trained_through = serializers.DateField(allow_null=True)
    training_seconds = serializers.FloatField(allow_null=True)
    has_artifact = serializers.BooleanField()
    artifact_format = serializers.CharField()
    artifact_sha256 = serializers.CharField()
    artifact_size = serializers.IntegerField(allow_null=True)
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    promoted_at = serializers.DateTimeField(allow_null=True)
    status_changed_at = serializers.DateTimeField()


class GateAnswer(serializers.Serializer[Any]):
    """One condition with both numbers."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # declared fields are taken out of the class
    passed = serializers.BooleanField()
    candidate = serializers.FloatField(allow_null=True)
    champion = serializers.FloatField(allow_null=True)
    limit = serializers.CharField()
    unit = serializers.CharField()
    why = serializers.CharField()


class VerdictAnswer(Answer):
    """What the arena said."""

    make = staticmethod(verdict_row)

    id = serializers.UUIDField()
    passed = serializers.BooleanField()
    summary = serializers.CharField()
    against = serializers.CharField(allow_null=True)
    gates = GateAnswer(many=True)
    policy_revision = serializers.IntegerField()
    trigger = serializers.CharField()
    created_at = serializers.DateTimeField()


class VersionDetailAnswer(VersionAnswer):
    """A version with everything that was registered."""

    signature = serializers.DictField()
    feature_names = serializers.ListField(child=serializers.CharField())
    reference_statistics = serializers.DictField()
    lineage = serializers.DictField()
    parent = serializers.CharField(allow_null=True)  # type: ignore[assignment] # as above
    notes = serializers.CharField()
    deleted_at = serializers.DateTimeField(allow_null=True, help_text="Since when it is hidden from /v1/models, and predicts no more.")
    allowed_moves = serializers.ListField(child=serializers.CharField())
    verdict = VerdictAnswer(allow_null=True)


class MoveAnswer(Answer):
    """One step of a version."""

    make = staticmethod(move_row)

    sequence = serializers.IntegerField()
    by = serializers.CharField()
    on_behalf_of = serializers.CharField()
    reason = serializers.CharField()
    at = serializers.DateTimeField()
    audit_number = serializers.IntegerField()

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word of Python's, so it cannot be declared above."""
        return {"from": serializers.CharField(), "to": serializers.CharField(), **super().get_fields()}
