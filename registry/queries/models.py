"""Models as lists and pages show them: how many versions, in which states, and who serves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, FilteredRelation, Q, QuerySet

from mlops.errors import NotFound
from mlops.storable import storable
from registry.models import RegisteredModel
from registry.services.lookups import as_uuid, model_named
from registry.states import VersionStatus

HEAVY = ("signature", "reference_statistics", "lineage")
"""Columns of a version that only its own page shows; they may hold megabytes."""


@dataclass(frozen=True)
class Reign:
    """As much of a champion as a line of a list shows."""

    id: UUID
    version: str
    promoted_at: datetime
    metrics: Any


@dataclass(frozen=True)
class ModelSummary:
    """A model with its counts and its champion: they come with its own row and cost the same for any number of versions."""

    model: RegisteredModel
    champion: Reign | None

    @property
    def version_count(self) -> int:
        """Versions are numbered from 1 without gaps and never deleted: the last number is their count."""
        return self.model.last_version_number

    @property
    def by_status(self) -> dict[str, int]:
        """Versions by status, every status named."""
        return {status: self.model.status_counts.get(status, 0) for status in VersionStatus.values}


def models() -> QuerySet[RegisteredModel]:
    """All models, by name, each joined with its one champion (see `summary`)."""
    champion = FilteredRelation("versions", condition=Q(versions__status=VersionStatus.CHAMPION))
    shown = {f"champion_{name}": F(f"reigning__{name}") for name in ("id", "version", "promoted_at", "metrics")}
    return RegisteredModel.objects.annotate(reigning=champion, **shown).order_by("name", "pk")


def summary(model: Any) -> ModelSummary:
    """The summary of a row of `models()`; no query."""
    if model.champion_id is None:
        return ModelSummary(model, None)
    return ModelSummary(model, Reign(model.champion_id, model.champion_version, model.champion_promoted_at, model.champion_metrics))


def find_summary(reference: str) -> ModelSummary:
    """A model's summary by its name or id: one query for a name. Raises NotFound."""
    found = None
    if storable(reference) and not as_uuid(reference):
        found = models().filter(name=reference).first()
    return summary(found or models().get(pk=find_model(reference).pk))


def find_model(reference: str) -> RegisteredModel:
    """A model by its name or id. One query for a name. Raises NotFound."""
    identifier = as_uuid(reference)
    if identifier:
        model = RegisteredModel.objects.filter(pk=identifier).first()
        if model is not None:
            return model
    return model_named(reference)


def no_champion(model: RegisteredModel, when: str = "") -> "NoProductionVersion":
    """The refusal for a model that nobody serves for."""
    return NoProductionVersion(f"{model.name} has no production version{when}.")


class NoProductionVersion(NotFound):
    """No version serves by default."""

    code = "no_production_version"
