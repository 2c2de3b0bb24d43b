"""Long work of alerts."""

from typing import Any

from django.utils import timezone

from alerts.services.notifying import write_digests
from alerts.services.settling import settle_promotions
from mlops.jobs.runner import Attempt, job


@job("send_alert_digest")
def send_alert_digest(attempt: Attempt) -> dict[str, Any]:
    """Write the day's digests: all of them and the end of this job are one commit. Decisions made elsewhere close their alerts first."""
    at = timezone.now()
    settled = settle_promotions(at=at)
    with attempt.fenced():
        result = {"digests": write_digests(day=f"{at:%Y-%m-%d}", at=at), "settled": settled}
        attempt.finish(result)
    return result
