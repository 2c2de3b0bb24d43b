"""The job that removes what is older than it is kept."""

from typing import Any

from django.utils import timezone

from mlops.jobs.runner import Attempt, job
from mlops.upkeep import apply_retention
from registry.services import retention  # noqa: F401 - importing makes its steps known


@job("apply_retention")
def run_apply_retention(attempt: Attempt) -> dict[str, Any]:
    """Every step, in batches; stopped between two of them, the next run goes on."""
    return dict(apply_retention(at=timezone.now(), dry_run=bool(attempt.payload.get("dry_run")), between=attempt.check))
