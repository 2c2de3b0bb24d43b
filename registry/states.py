"""The life cycles of the registry, as data."""

from django.db.models import TextChoices

from mlops.lifecycle.mechanism import Lifecycle


class VersionStatus(TextChoices):
    """Where a version stands."""

    CANDIDATE = "candidate", "Candidate"
    SHADOW = "shadow", "Shadow"
    CHALLENGER = "challenger", "Challenger"
    CHAMPION = "champion", "Champion"
    DEPRECATED = "deprecated", "Deprecated"
    ARCHIVED = "archived", "Archived"


_S = VersionStatus

VERSION_LIFECYCLE = Lifecycle(
    name="version",
    states=VersionStatus,
    initial=_S.CANDIDATE,
    moves={
        _S.CANDIDATE: {
            _S.SHADOW: "version.shadow",
            _S.CHALLENGER: "version.challenge",
            _S.CHAMPION: "version.promote",
            _S.ARCHIVED: "version.archive",
        },
        _S.SHADOW: {_S.CHALLENGER: "version.challenge", _S.CHAMPION: "version.promote", _S.ARCHIVED: "version.archive"},
        _S.CHALLENGER: {_S.SHADOW: "version.shadow", _S.CHAMPION: "version.promote", _S.ARCHIVED: "version.archive"},
        _S.CHAMPION: {_S.DEPRECATED: "version.promote"},
        _S.DEPRECATED: {_S.CHAMPION: "version.rollback", _S.ARCHIVED: "version.archive"},
        _S.ARCHIVED: {},
    },
    forced={(_S.CHAMPION, _S.DEPRECATED): "another version takes its place"},
)

SHADOWED = (_S.SHADOW, _S.CHALLENGER)
"""Of versions that predict beside the champion each day."""

CONTENDERS = (_S.CANDIDATE, *SHADOWED)
"""Of versions that have not served, and may yet."""

STAGES = {
    _S.CANDIDATE: "staging",
    _S.SHADOW: "staging",
    _S.CHALLENGER: "staging",
    _S.CHAMPION: "production",
    _S.DEPRECATED: "archived",
    _S.ARCHIVED: "archived",
}
ENTERPRISE = {
    _S.CANDIDATE: "development",
    _S.SHADOW: "canary",
    _S.CHALLENGER: "canary",
    _S.CHAMPION: "stable",
    _S.DEPRECATED: "deprecated",
    _S.ARCHIVED: "retired",
}


class RequestStatus(TextChoices):
    """Where a four-eyes request stands."""

    PENDING = "pending", "Pending"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"
    OVERTAKEN = "overtaken", "Overtaken"


DECIDED_REQUESTS = tuple(status for status in RequestStatus if status != RequestStatus.PENDING)
"""Of requests that nobody decides about any more."""

REQUEST_LIFECYCLE = Lifecycle(
    name="promotion_request",
    states=RequestStatus,
    initial=RequestStatus.PENDING,
    moves={
        RequestStatus.PENDING: {
            RequestStatus.APPROVED: "promotion_request.decide",
            RequestStatus.REJECTED: "promotion_request.decide",
            RequestStatus.OVERTAKEN: "promotion_request.decide",
        },
        RequestStatus.APPROVED: {},
        RequestStatus.REJECTED: {},
        RequestStatus.OVERTAKEN: {},
    },
    forced={(RequestStatus.PENDING, RequestStatus.OVERTAKEN): "its version goes another way, or a stronger ask comes"},
)


POLICY_REQUEST_LIFECYCLE = Lifecycle(
    name="policy_request",
    states=RequestStatus,
    initial=RequestStatus.PENDING,
    moves={
        RequestStatus.PENDING: {
            RequestStatus.APPROVED: "policy_request.decide",
            RequestStatus.REJECTED: "policy_request.decide",
            RequestStatus.OVERTAKEN: "policy_request.decide",
        },
        RequestStatus.APPROVED: {},
        RequestStatus.REJECTED: {},
        RequestStatus.OVERTAKEN: {},
    },
    forced={(RequestStatus.PENDING, RequestStatus.OVERTAKEN): "the settings it names are changed, or asked for anew"},
)


class RetrainingStatus(TextChoices):
    """Where a retraining stands; it follows its job."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


OPEN_RETRAININGS = (RetrainingStatus.QUEUED, RetrainingStatus.RUNNING)
"""Of retrainings that nothing has come of yet."""


class Trigger(TextChoices):
    """Why a model is retrained."""

    SCHEDULED = "scheduled", "Scheduled"
    MANUAL = "manual", "Manual"
    DRIFT_DETECTED = "drift_detected", "Drift detected"
    NEW_DATA = "new_data", "New data"
    FEEDBACK = "feedback", "Feedback"


AUTO_PROMOTING = frozenset({Trigger.SCHEDULED, Trigger.MANUAL})
"""Triggers whose winner takes the throne without a person; every other one asks."""


class DatasetVersionStatus(TextChoices):
    """Received, then read whole: ready or failed."""

    RECEIVED = "received", "Received"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


DATASET_VERSION_LIFECYCLE = Lifecycle(
    name="dataset_version",
    states=DatasetVersionStatus,
    initial=DatasetVersionStatus.RECEIVED,
    moves={
        DatasetVersionStatus.RECEIVED: {DatasetVersionStatus.READY: "dataset.write", DatasetVersionStatus.FAILED: "dataset.write"},
        DatasetVersionStatus.READY: {},
        DatasetVersionStatus.FAILED: {},
    },
)
