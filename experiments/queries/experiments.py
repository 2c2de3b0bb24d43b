"""Experiments as lists and pages show them."""

from django.db.models import Count, QuerySet

from experiments.models import Experiment, ExperimentComment, ExperimentVersion
from experiments.states import ExperimentStatus
from mlops.lifecycle.models import Move


def experiments() -> QuerySet[Experiment]:
    """All experiments, newest first, with what a list shows."""
    related = Experiment.objects.select_related("model", "baseline_version", "experimental_version")
    return related.defer("authors").order_by("-created_at", "pk")


def moves_of(experiment: Experiment) -> list[Move]:
    """Every step, oldest first. One query."""
    return list(Move.objects.filter(stream_id=experiment.pk).order_by("sequence"))


def last_move(experiment: Experiment) -> Move | None:
    """Who moved it last: what a decision that came too late is told."""
    return Move.objects.filter(stream_id=experiment.pk).order_by("-sequence").first()


def versions_of(experiment: Experiment) -> list[ExperimentVersion]:
    """The versions made or tried under it, oldest first. One query."""
    return list(experiment.versions.select_related("version").order_by("linked_at", "pk"))


def comments_of(experiment: Experiment) -> QuerySet[ExperimentComment]:
    """The discussion, oldest first."""
    return experiment.comments.order_by("created_at", "pk")


def waiting_experiments() -> list[Experiment]:
    """Proposals that wait for a manager, oldest first. One query."""
    return list(experiments().filter(status=ExperimentStatus.PROPOSED).order_by("created_at", "pk"))


def counts_by_status() -> dict[str, int]:
    """How many experiments stand where. One query."""
    rows = Experiment.objects.order_by().values_list("status").annotate(n=Count("pk"))
    return dict.fromkeys(ExperimentStatus.values, 0) | dict(rows)
