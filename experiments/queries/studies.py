"""Studies and trials as lists and pages show them."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from experiments.models import Study, Trial
from experiments.states import StudyStatus
from mlops.lifecycle.models import Move


def studies() -> QuerySet[Study]:
    """All that were not deleted, newest first, with what a list shows. One query."""
    related = Study.objects.filter(deleted_at=None).select_related("model", "version")
    return related.defer("system_attrs").order_by("-created_at", "pk")


def trials_of(study: Study) -> QuerySet[Trial]:
    """The trials of a study, in the order of their start, with what was made of them."""
    return study.trials.select_related("version").order_by("number")


def best_trial(study: Study) -> Trial | None:
    """The best trial so far. One query, or none where there is none."""
    return trials_of(study).filter(number=study.best_number).first() if study.best_number is not None else None


def moves_of(study: Study) -> list[Move]:
    """Every step, oldest first. One query."""
    return list(Move.objects.filter(stream_id=study.pk).order_by("sequence"))


def progress_of(study: Study, *, at: datetime) -> dict[str, Any]:
    """How far a study is. No query."""
    return {
        "finished": study.finished_trials,
        "total": study.n_trials,
        "best_value": study.best_value,
        "eta_s": remaining_seconds(study, at=at),
    }


def remaining_seconds(study: Study, *, at: datetime) -> float | None:
    """How long the rest takes at the pace so far, but no longer than the time-out; None before the first trial has finished, and for a
    study that does not run."""
    if study.status != StudyStatus.RUNNING or study.started_at is None or not study.finished_trials:
        return None
    elapsed = max((at - study.started_at).total_seconds(), 0.0)
    rest = elapsed / study.finished_trials * max(study.n_trials - study.finished_trials, 0)
    if study.timeout_s is not None:
        rest = min(rest, max(study.timeout_s - elapsed, 0.0))
    return round(rest, 1)
