"""The life cycle of an alert, and what it may be about, as data."""

from django.db.models import TextChoices

from mlops.lifecycle.mechanism import Lifecycle


class AlertStatus(TextChoices):
    """Where an alert stands."""

    UNREAD = "unread", "Unread"
    READ = "read", "Read"
    ACTIONED = "actioned", "Actioned"
    DISMISSED = "dismissed", "Dismissed"


OPEN = (AlertStatus.UNREAD, AlertStatus.READ)
_DECISIONS: dict[str, str] = {AlertStatus.ACTIONED: "alert.act", AlertStatus.DISMISSED: "alert.act"}

ALERT_LIFECYCLE = Lifecycle(
    name="alert",
    states=AlertStatus,
    initial=AlertStatus.UNREAD,
    moves={
        AlertStatus.UNREAD: {AlertStatus.READ: "alert.read", **_DECISIONS},
        AlertStatus.READ: _DECISIONS,
        AlertStatus.ACTIONED: {},
        AlertStatus.DISMISSED: {},
    },
)


class Severity(TextChoices):
    """How urgent an alert is; declared from the least to the most, which is also how they sort."""

    INFO = "info", "Info"
    WARNING = "warning", "Warning"
    CRITICAL = "critical", "Critical"

    @property
    def rank(self) -> int:
        """1 for info, 3 for critical."""
        return list(Severity).index(self) + 1


class AlertType(TextChoices):
    """What an alert asks about."""

    DRIFT_DETECTED = "drift_detected", "Drift detected"
    PROMOTION_PENDING = "promotion_pending", "Promotion pending"
    BACKTEST_DEGRADATION = "backtest_degradation", "Backtest degradation"
    EXPERIMENT_COMPLETE = "experiment_complete", "Experiment complete"
    VALIDATION_REGRESSION = "validation_regression", "Validation regression"
    ENDPOINT_UNHEALTHY = "endpoint_unhealthy", "Endpoint unhealthy"
    FEEDBACK_DRIFT = "feedback_drift", "Feedback drift"
    RETRAIN_FAILED = "retrain_failed", "Retraining failed"
    EMERGENCY_ROLLBACK = "emergency_rollback", "Emergency rollback"
    JOB_FAILED = "job_failed", "Job failed"


class Decision(TextChoices):
    """What somebody may answer."""

    APPROVE = "approve", "Approve"
    DISMISS = "dismiss", "Dismiss"


class DeliveryStatus(TextChoices):
    """Where a notification stands: pending → delivered | dead; a dead one may be sent again."""

    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    DEAD = "dead", "Dead"
