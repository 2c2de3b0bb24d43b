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


@event
@dataclass(frozen=True)
class JobCancelled(Event):
    """A job ended because somebody asked for it."""

    TOPIC = "jobs.cancelled"

    job_id: str
    kind: str
    label: str
