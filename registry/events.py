"""News from the registry. Whoever lives above subscribes; the registry knows no listener."""

from dataclasses import dataclass, field
from typing import Any

from mlops.outbox.events import Event, event


@event
@dataclass(frozen=True)
class VersionRegistered(Event):
    """A version was registered; its lineage says under what."""

    TOPIC = "registry.version_registered"

    model_name: str
    version_id: str
    version: str
    actor: str


@event
@dataclass(frozen=True)
class VersionMoved(Event):
    """A version changed its status."""

    TOPIC = "registry.version_moved"

    model_name: str
    version_id: str
    version: str
    source: str
    target: str
    actor: str


@event
@dataclass(frozen=True)
class PromotionPending(Event):
    """Somebody has to decide about a promotion: four eyes, or a winner that may not take the throne by itself."""

    TOPIC = "registry.promotion_pending"

    model_name: str
    version_id: str
    version: str
    reason: str
    request_id: str = ""


@event
@dataclass(frozen=True)
class ModelDrifted(Event):
    """The champion's errors have grown beyond its baseline, overall or in the named segments."""

    TOPIC = "registry.model_drifted"

    model_name: str
    version_id: str
    version: str
    as_of: str
    severity: str
    score: float
    summary: str
    segments: list[dict[str, Any]] = field(default_factory=list)


@event
@dataclass(frozen=True)
class ActualsRecorded(Event):
    """Ground truth of these days (ISO dates) came by API."""

    TOPIC = "registry.actuals_recorded"

    model_id: str
    model_name: str
    days: list[str]


@event
@dataclass(frozen=True)
class BacktestDegraded(Event):
    """The champion's weekly backtest is worse than the one it was promoted on."""

    TOPIC = "registry.backtest_degraded"

    model_name: str
    version_id: str
    version: str
    summary: str


@event
@dataclass(frozen=True)
class RetrainFailed(Event):
    """A retraining ended without a version."""

    TOPIC = "registry.retrain_failed"

    model_name: str
    retraining_id: str
    error: str


@event
@dataclass(frozen=True)
class EmergencyRollback(Event):
    """A rollback went past the second pair of eyes and wants a review."""

    TOPIC = "registry.emergency_rollback"

    model_name: str
    version_id: str
    version: str
    actor: str
    reason: str
