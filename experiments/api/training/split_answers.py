"""What the calls about splits answer. Values are made by plain functions; fields are declared for OpenAPI."""

from typing import Any

from rest_framework import serializers

from engine.tabular.columns import PARTS
from experiments.models import Split
from experiments.states import SplitStatus
from registry.api.answers import Answer

SCHEME = "artifacts:///"
"""Paths below the server's own storage, whatever that is."""


def split_row(split: Split) -> dict[str, Any]:
    """One line of the list."""
    return {
        "id": split.pk,
        "name": split.name,
        "description": split.description,
        "status": split.status,
        "job_id": split.job_id,
        "task": split.task,
        "target": split.target,
        "strategy": split.strategy,
        "fractions": _in_order(split.fractions),
        "seed": split.seed,
        "entity_column": split.entity_column or None,
        "time_column": split.time_column or None,
        "source": split.source,
        "source_name": split.source_name,
        "source_sha256": split.source_sha256 or None,
        "source_size": split.source_size,
        "rows": split.rows,
        "parts": {name: _part(part) for name, part in _in_order(split.parts).items()},
        "boundaries": _in_order(split.boundaries) or None,
        "revision": split.revision,
        "created_by": split.created_by,
        "created_at": split.created_at,
        "updated_at": split.updated_at,
    }


def split_detail(split: Split) -> dict[str, Any]:
    """A split with its columns, how they were read, and what was found."""
    return {
        **split_row(split),
        "features": split.features or split.requested_features,
        "profile": split.profile,
        "reading": split.reading or None,
        "warnings": split.warnings,
        "problems": split.problems,
    }


def _in_order(values: dict[str, Any]) -> dict[str, Any]:
    """Train first: a database may keep the keys of an object in an order of its own."""
    return {part: values[part] for part in PARTS if part in values}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {"rows": part["rows"], "uri": f"{SCHEME}{part['path']}", "sha256": part["sha256"], "size": part["size"]}


class PartAnswer(serializers.Serializer[Any]):
    """One part: an ordinary Parquet file."""

    rows = serializers.IntegerField()
    uri = serializers.CharField(help_text="Below the server's storage (ARTIFACT_STORAGE_URL).")
    sha256 = serializers.CharField()
    size = serializers.IntegerField(help_text="In bytes.")


class PartsAnswer(serializers.Serializer[Any]):
    """The parts; none until the split is ready."""

    train = PartAnswer(required=False)
    validation = PartAnswer(required=False)
    test = PartAnswer(required=False)


class SplitProblemAnswer(serializers.Serializer[Any]):
    """A finding about the rows."""

    code = serializers.CharField()
    message = serializers.CharField()
    severity = serializers.CharField(help_text="error or warning.")
    column = serializers.CharField(allow_null=True)
    rows = serializers.IntegerField(help_text="Rows concerned; 0 where the finding is not about rows.")
    examples = serializers.ListField(child=serializers.CharField())


class SplitAnswer(Answer):
    """A split without its long parts."""

    make = staticmethod(split_row)

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    status = serializers.ChoiceField(choices=SplitStatus.choices)
    job_id = serializers.UUIDField(allow_null=True, help_text="The job that prepares it; none for records, which are split at once.")
    task = serializers.ChoiceField(choices=[("regression", "Regression"), ("classification", "Classification")])
    target = serializers.CharField()
    strategy = serializers.ChoiceField(choices=Split.Strategy.choices)
    fractions = serializers.DictField(child=serializers.FloatField())
    seed = serializers.IntegerField()
    entity_column = serializers.CharField(allow_null=True)
    time_column = serializers.CharField(allow_null=True)
    source = serializers.ChoiceField(choices=Split.Source.choices)  # type: ignore[assignment]  # a field of that name, not the base's option
    source_name = serializers.CharField()
    source_sha256 = serializers.CharField(allow_null=True)
    source_size = serializers.IntegerField(allow_null=True)
    rows = serializers.IntegerField(allow_null=True, help_text="In all parts.")
    parts = PartsAnswer()
    boundaries = serializers.DictField(allow_null=True, help_text="Of a split by time: per part its `first` and `last` time.")
    revision = serializers.IntegerField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class SplitDetailAnswer(SplitAnswer):
    """A split."""

    make = staticmethod(split_detail)

    features = serializers.ListField(child=serializers.CharField(), help_text="In their order.")
    profile = serializers.ListField(child=serializers.DictField(), help_text="Per column; see the guide.")
    reading = serializers.DictField(allow_null=True, help_text="Format, dialect, types found, rows left out.")
    warnings = SplitProblemAnswer(many=True)
    problems = SplitProblemAnswer(many=True, help_text="Why it failed.")
