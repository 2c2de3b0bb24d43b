"""The life cycles of proposed experiments, splits and studies, as data."""

from django.db.models import TextChoices

from mlops.lifecycle.mechanism import Lifecycle


class ExperimentStatus(TextChoices):
    """Where a proposal stands."""

    PROPOSED = "proposed", "Proposed"
    APPROVED = "approved", "Approved"
    IN_PROGRESS = "in_progress", "In progress"
    SHADOW_TESTING = "shadow_testing", "Shadow testing"
    COMPLETED = "completed", "Completed"
    REJECTED = "rejected", "Rejected"
    ROLLED_BACK = "rolled_back", "Rolled back"


class ExperimentType(TextChoices):
    """What is to be changed."""

    FEATURE_ENGINEERING = "feature_engineering", "Feature engineering"
    MODEL_ARCHITECTURE = "model_architecture", "Model architecture"
    DATA_SOURCE = "data_source", "Data source"
    SEGMENTATION = "segmentation", "Segmentation"
    HYPERPARAMETER = "hyperparameter", "Hyper-parameters"
    PROMOTION_DECISION = "promotion_decision", "Promotion decision"
    OTHER = "other", "Other"


class Decision(TextChoices):
    """What is done with the outcome."""

    ADOPT = "adopt", "Adopt"
    PARTIAL_ADOPT = "partial_adopt", "Adopt in part"
    REJECT = "reject", "Reject"
    ROLLBACK = "rollback", "Roll back"


ADOPTIONS = (Decision.ADOPT, Decision.PARTIAL_ADOPT)

_S = ExperimentStatus

EXPERIMENT_LIFECYCLE = Lifecycle(
    name="experiment",
    states=ExperimentStatus,
    initial=_S.PROPOSED,
    moves={
        _S.PROPOSED: {_S.APPROVED: "experiment.decide", _S.REJECTED: "experiment.decide"},
        _S.APPROVED: {_S.IN_PROGRESS: "experiment.run", _S.PROPOSED: "experiment.propose"},
        _S.IN_PROGRESS: {_S.SHADOW_TESTING: "experiment.run", _S.ROLLED_BACK: "experiment.conclude"},
        _S.SHADOW_TESTING: {_S.COMPLETED: "experiment.conclude", _S.ROLLED_BACK: "experiment.conclude"},
        _S.COMPLETED: {},
        _S.REJECTED: {},
        _S.ROLLED_BACK: {},
    },
    forced={(_S.APPROVED, _S.PROPOSED): "what was approved is edited"},
)

OPEN = (_S.PROPOSED, _S.APPROVED, _S.IN_PROGRESS, _S.SHADOW_TESTING)
"""Statuses that somebody still has to do something about."""

UNBEGUN = (_S.PROPOSED, _S.APPROVED)
"""Statuses in which its text may still be changed."""

ROAD = (_S.APPROVED, _S.IN_PROGRESS, _S.SHADOW_TESTING, _S.COMPLETED)
"""The way from approval to completion; completing early records the steps that nobody took."""

RUNNABLE = ROAD[:-1]
"""Statuses in which work may be done under it."""


class SplitStatus(TextChoices):
    """Where a split stands."""

    PENDING = "pending", "Pending"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


SPLIT_LIFECYCLE = Lifecycle(
    name="split",
    states=SplitStatus,
    initial=SplitStatus.PENDING,
    moves={
        SplitStatus.PENDING: {SplitStatus.READY: "split.write", SplitStatus.FAILED: "split.write"},
        SplitStatus.READY: {},
        SplitStatus.FAILED: {},
    },
)


class StudyStatus(TextChoices):
    """Where a study stands."""

    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


_T = StudyStatus

STUDY_LIFECYCLE = Lifecycle(
    name="study",
    states=StudyStatus,
    initial=_T.PENDING,
    moves={
        _T.PENDING: {_T.RUNNING: "study.run", _T.FAILED: "study.run", _T.CANCELLED: "study.run"},
        _T.RUNNING: {_T.COMPLETED: "study.run", _T.FAILED: "study.run", _T.CANCELLED: "study.run"},
        _T.COMPLETED: {},
        _T.FAILED: {},
        _T.CANCELLED: {},
    },
)

OPEN_STUDIES = (_T.PENDING, _T.RUNNING)
"""Of studies that wait for a worker or have one."""


class TrialState(TextChoices):
    """Where a trial stands; Optuna's own states."""

    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    COMPLETE = "complete", "Complete"
    PRUNED = "pruned", "Pruned"
    FAIL = "fail", "Failed"
