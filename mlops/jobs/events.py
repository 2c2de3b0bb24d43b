"""News about jobs."""

from dataclasses import dataclass

from mlops.outbox.events import Event, event


@event
@dataclass(frozen=True)
class JobFailed(Event):
    """A job failed for good and needs a person."""

    TOPIC = "jobs.failed"

    job_id: str
    kind: str
    label: str
    error: str
    attempts: int
