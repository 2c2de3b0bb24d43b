"""Daily upkeep of a customer: what is older than it is kept is removed, and the audit trail is verified and its head published."""

from typing import Any

import structlog
from django.utils import timezone

from mlops.audit.verifying import verify_and_keep
from mlops.jobs.runner import Attempt, job
from mlops.jobs.services import JobRefused
from mlops.upkeep import apply_retention
from registry.services import retention  # noqa: F401 - importing makes its steps known

log = structlog.get_logger(__name__)


@job("publish_audit_head")
def publish_audit_head(attempt: Attempt) -> dict[str, Any]:
    """Verify the chain, then write its head into the log, which is kept elsewhere: against it a cut shows that the database hides. A chain
    that is broken fails the job, and so alerts."""
    found = verify_and_keep(at=timezone.now())
    told = {"number": found.events, "digest": found.head_digest}
    log.info("audit.head", customer=str(attempt.customer_id), intact=found.intact, **told)
    if not found.intact:
        raise JobRefused(f"The audit trail is not intact at event {found.first_bad_number}: {found.problem}.")
    return told


@job("apply_retention")
def run_apply_retention(attempt: Attempt) -> dict[str, Any]:
    """Every step, in batches; stopped between two of them, the next run goes on."""
    return dict(apply_retention(at=timezone.now(), dry_run=bool(attempt.payload.get("dry_run")), between=attempt.check))
