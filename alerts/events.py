"""News of this app. Nobody above listens; the outbox wakes our own senders, at once or later, and survives whoever is killed."""

from dataclasses import dataclass

from mlops.outbox.events import Event, event


@event
@dataclass(frozen=True)
class ChannelDue(Event):
    """Something waits for this channel."""

    TOPIC = "alerts.channel_due"
    QUEUE = "deliveries"

    channel_id: str
