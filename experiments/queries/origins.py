"""Which study made a version: by its conclusion, of the best trial, or because somebody asked to register another trial. One rule for all.

A version's lineage names its study too, but whoever registers a version may write there what they like.
"""

from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery, UUIDField
from django.db.models.functions import Coalesce

from experiments.models import Study, Trial
from registry.models import ModelVersion


def makers_of(version: ModelVersion) -> QuerySet[Study]:
    """The study that trained the version here; nothing where none did."""
    return Study.objects.filter(Q(version=version) | Q(pk__in=Trial.objects.filter(version=version).values("study")))


def made_by(study_id: UUID) -> Q:
    """Those versions that a study made."""
    concluded = Study.objects.filter(pk=study_id).exclude(version=None).values("version")
    asked_for = Trial.objects.filter(study=study_id).exclude(version=None).values("version")
    return Q(pk__in=concluded) | Q(pk__in=asked_for)


def maker() -> Coalesce:
    """The id of the study that made each version of a query, as an annotation: no query of its own."""

    def first(rows: QuerySet[Any], name: str) -> Subquery:
        return Subquery(rows.filter(version=OuterRef("pk")).order_by("pk").values(name)[:1])

    return Coalesce(first(Study.objects.all(), "pk"), first(Trial.objects.all(), "study"), output_field=UUIDField())
