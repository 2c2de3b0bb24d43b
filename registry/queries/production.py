"""Who served at a moment, and every change of champion."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from mlops.lifecycle.models import Move
from mlops.moments import iso
from registry.models import DecisionRecord, ModelVersion, RegisteredModel
from registry.queries.models import HEAVY, no_champion
from registry.states import VersionStatus


@dataclass(frozen=True)
class Production:
    """A champion's reign: it served from `since` until `until`, None while it still serves."""

    model: RegisteredModel
    version: ModelVersion
    since: datetime
    until: datetime | None
    promoted_by: str
    on_behalf_of: str
    reason: str


@dataclass(frozen=True)
class Deployment:
    """One change of champion, with the decision it was."""

    move: Move
    version: ModelVersion
    decision: DecisionRecord | None


def production_at(model: RegisteredModel, at: datetime | None = None) -> Production:
    """The champion of now, or of a past moment: three queries. Raises NoProductionVersion."""
    crowned = coronations(model)
    made = (crowned.filter(occurred_at__lte=at) if at else crowned).order_by("-occurred_at", "-sequence").first()
    if made is None:
        raise no_champion(model, f" at {iso(at)}" if at else "")
    version = ModelVersion.objects.defer(*HEAVY).get(pk=made.object_id)
    later = crowned.filter(sequence__gt=made.sequence).order_by("sequence").values_list("occurred_at", flat=True).first()
    return Production(model, version, made.occurred_at, later, made.actor, made.on_behalf_of, made.reason)


def coronations(model: RegisteredModel) -> QuerySet[Move]:
    """Every move of the model's versions to champion, newest first."""
    return Move.objects.filter(stream_id=model.pk, target=VersionStatus.CHAMPION).order_by("-sequence")


def deployments(made: Sequence[Move]) -> list[Deployment]:
    """These moves with their versions and decisions: two queries."""
    versions: dict[UUID, ModelVersion] = ModelVersion.objects.defer(*HEAVY).in_bulk([one.object_id for one in made])
    records = DecisionRecord.objects.filter(audit_number__in=[one.audit_number for one in made])
    decisions = {one.audit_number: one for one in records.select_related("former_champion", "verdict")}
    return [Deployment(one, versions[one.object_id], decisions.get(one.audit_number)) for one in made]
