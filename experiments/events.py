"""News from experiments. Whoever lives above subscribes."""

from dataclasses import dataclass

from mlops.outbox.events import Event, event


@event
@dataclass(frozen=True)
class ExperimentProposed(Event):
    """A proposal waits for a manager; also one whose approval an edit has revoked."""

    TOPIC = "experiments.experiment_proposed"

    experiment_id: str
    experiment_name: str
    proposed_by: str
    hypothesis: str


@event
@dataclass(frozen=True)
class ExperimentCompleted(Event):
    """An experiment ended with a decision."""

    TOPIC = "experiments.experiment_completed"

    experiment_id: str
    experiment_name: str
    decision: str
    rationale: str
    model_name: str
    version_id: str
    version: str
    improvement_pct: float | None
    actor: str


@event
@dataclass(frozen=True)
class StudyCompleted(Event):
    """A study has found its best parameters; the model trained with them is a candidate."""

    TOPIC = "experiments.study_completed"

    study_id: str
    study_name: str
    model_name: str
    version_id: str
    version: str
    metric: str
    best_value: float
    actor: str


@event
@dataclass(frozen=True)
class StudyFailed(Event):
    """A study ended without a model."""

    TOPIC = "experiments.study_failed"

    study_id: str
    study_name: str
    model_name: str
    error: str
    actor: str
