"""What an event is, and who listens."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID


@dataclass(frozen=True)
class Event:
    """Base of all events: small, frozen, past tense. Fields are strings, numbers, booleans, UUIDs, dates, lists and dicts of those."""

    TOPIC: ClassVar[str]
    QUEUE: ClassVar[str] = "events"
    """The broker's queue it goes through: what may take long has one of its own, with workers of its own."""

    def to_payload(self) -> dict[str, Any]:
        """The event as JSON values."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> "Event":
        """The event again; unknown fields of a newer sender are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in payload.items() if name in known})


Handler = Callable[[Any], None]
EventType = TypeVar("EventType", bound=type[Event])

_event_types: dict[str, type[Event]] = {}
_subscribers: dict[str, dict[str, Handler]] = {}


def event(cls: EventType) -> EventType:
    """Class decorator: make the event known by its topic."""
    if cls.TOPIC in _event_types:
        raise ValueError(f"Two events share the topic {cls.TOPIC}.")
    _event_types[cls.TOPIC] = cls
    return cls


def subscribe(event_type: type[Event], name: str) -> Callable[[Handler], Handler]:
    """Decorator: call the function with every such event, at least once, in a transaction for the event's customer.

    `name` identifies the subscriber for ever; it is what remembers that a message was handled.
    """

    def register(handler: Handler) -> Handler:
        _subscribers.setdefault(event_type.TOPIC, {})[name] = handler
        return handler

    return register


def unsubscribe(event_type: type[Event], name: str) -> None:
    """Forget a subscriber."""
    _subscribers.get(event_type.TOPIC, {}).pop(name, None)


def subscribers_of(topic: str) -> dict[str, Handler]:
    """Subscribers of the topic, by name."""
    return dict(_subscribers.get(topic, {}))


def event_type_of(topic: str) -> type[Event]:
    """The event class of a topic. Raises KeyError for a topic nobody declared."""
    return _event_types[topic]


def queue_of(topic: str) -> str:
    """The queue of a topic's messages; what is not understood here goes where all news goes."""
    return _event_types.get(topic, Event).QUEUE


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
