"""Versions of every model, each with the study it came from."""

from uuid import UUID

from django.db.models import QuerySet

from experiments.queries.origins import maker
from mlops.errors import NotFound
from registry.models import ModelVersion
from registry.queries.models import HEAVY
from registry.states import STAGES


def versions() -> QuerySet[ModelVersion]:
    """All that were not deleted, newest first, without their heavy columns; `study_id` is the study that made them. One query."""
    return _living().defer(*HEAVY).order_by("-created_at", "model_name", "-number", "pk")


def find_version(version_id: UUID) -> ModelVersion:
    """One, with its model. One query. Raises NotFound, for a deleted one too."""
    found = _living().filter(pk=version_id).first()
    if found is None:
        raise NotFound("There is no such model version.")
    return found


def statuses_in(stage: str) -> list[str]:
    """The statuses that a stage stands for."""
    return [status for status, name in STAGES.items() if name == stage]


def _living() -> QuerySet[ModelVersion]:
    return ModelVersion.objects.filter(deleted_at=None).select_related("model").annotate(study_id=maker())
