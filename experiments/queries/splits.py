"""Splits as lists and pages show them."""

from uuid import UUID

from django.db.models import Count, QuerySet

from experiments.models import Split, Study
from mlops.lifecycle.models import Move


def splits() -> QuerySet[Split]:
    """All that were not deleted, newest first, without their long parts. One query."""
    return Split.objects.filter(deleted_at=None).defer("profile", "reading", "warnings", "problems").order_by("-created_at", "pk")


def studies_of(split: Split) -> list[Study]:
    """The studies that rest on it, newest first. One query."""
    return list(Study.objects.filter(split=split, deleted_at=None).select_related("model").order_by("-created_at", "pk"))


def study_counts(split_ids: list[UUID]) -> dict[UUID, int]:
    """How many studies rest on each of these. One query."""
    living = Study.objects.filter(split_id__in=split_ids, deleted_at=None).order_by().values_list("split_id")
    return {split_id: count for split_id, count in living.annotate(n=Count("pk")) if split_id is not None}


def moves_of(split: Split) -> list[Move]:
    """Every step, oldest first. One query."""
    return list(Move.objects.filter(stream_id=split.pk).order_by("sequence"))
