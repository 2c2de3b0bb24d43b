"""Models as lists and pages show them: how many versions, in which states, and who serves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, QuerySet

from mlops.errors import NotFound
from registry.models import ModelVersion, RegisteredModel
from registry.services.lookups import as_uuid, model_named
from registry.states import VersionStatus

HEAVY = ("signature", "reference_statistics", "lineage")
"""Columns of a version that only its own page shows; they may hold megabytes."""


@dataclass(frozen=True)
class ModelSummary:
    """A model with its counts and its champion."""

    model: RegisteredModel
    champion: ModelVersion | None
    by_status: dict[str, int] = field(default_factory=dict)

    @property
    def version_count(self) -> int:
        """Versions are numbered from 1 without gaps and never deleted: the last number is their count."""
        return self.model.last_version_number


def models() -> QuerySet[RegisteredModel]:
    """All models, by name, each with `has_champion`."""
    champions = ModelVersion.objects.filter(model=OuterRef("pk"), status=VersionStatus.CHAMPION)
    return RegisteredModel.objects.select_related("dataset").alias(has_champion=Exists(champions)).order_by("name", "pk")


def find_model(reference: str) -> RegisteredModel:
    """A model by its name or id. One query for a name. Raises NotFound."""
    identifier = as_uuid(reference)
    if identifier:
        model = RegisteredModel.objects.filter(pk=identifier).first()
        if model is not None:
            return model
    return model_named(reference)


def summaries(found: Sequence[RegisteredModel]) -> list[ModelSummary]:
    """Two queries, whatever the number of models."""
    ids = [model.pk for model in found]
    champions = {one.model_id: one for one in ModelVersion.objects.filter(model__in=ids, status=VersionStatus.CHAMPION).defer(*HEAVY)}
    counted: dict[UUID, dict[str, int]] = {}
    # The order of the table would otherwise join the grouping.
    rows: Any = ModelVersion.objects.filter(model__in=ids).order_by().values_list("model_id", "status").annotate(n=Count("pk"))
    for model_id, status, count in rows:
        counted.setdefault(model_id, {})[status] = count
    return [ModelSummary(model, champions.get(model.pk), _all_statuses(counted.get(model.pk, {}))) for model in found]


def summary_of(model: RegisteredModel) -> ModelSummary:
    """One model's summary; two queries."""
    return summaries([model])[0]


def _all_statuses(counts: dict[str, int]) -> dict[str, int]:
    return {status: counts.get(status, 0) for status in VersionStatus.values}


def no_champion(model: RegisteredModel, when: str = "") -> "NoProductionVersion":
    """The refusal for a model that nobody serves for."""
    return NoProductionVersion(f"{model.name} has no production version{when}.")


class NoProductionVersion(NotFound):
    """No version serves by default."""

    code = "no_production_version"
