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
class PromotionRequestDecided(Event):
    """A request for a promotion or a rollback was approved or rejected. One that is overtaken is told by its version's move,
    or by the request that took its place."""

    TOPIC = "registry.promotion_request_decided"

    model_name: str
    version_id: str
    version: str
    request_id: str
    status: str
    decided_by: str
    reason: str


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
    """A rollback went past the second pair of eyes, or past enforced gates, and wants a review."""

    TOPIC = "registry.emergency_rollback"

    model_name: str
    version_id: str
    version: str
    actor: str
    reason: str
    decision_id: str = ""
    by: dict[str, str] = field(default_factory=dict)
    """Whose doing it was, as `mlops.tenancy.persons.Party` keeps it: none of them reviews it."""


@event
@dataclass(frozen=True)
class PolicyChangePending(Event):
    """Somebody wants a promotion policy that asks for less; another manager has to decide. `before` and `after` hold the settings."""

    TOPIC = "registry.policy_change_pending"

    model_name: str
    request_id: str
    actor: str
    reason: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


@event
@dataclass(frozen=True)
class PolicyChangeDecided(Event):
    """A wish for a looser policy was approved, rejected or overtaken."""

    TOPIC = "registry.policy_change_decided"

    model_name: str
    request_id: str
    status: str
    decided_by: str
    reason: str


@event
@dataclass(frozen=True)
class DatasetDeleted(Event):
    """A data set is gone; its files are to follow."""

    TOPIC = "registry.dataset_deleted"

    dataset_id: str
    name: str
