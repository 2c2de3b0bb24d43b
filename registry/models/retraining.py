"""The log of retrainings: why each was started, and what came of it."""

from django.db import models
from django.db.models import Q

from mlops.tenancy.models import TenantModel
from registry.models.model import RegisteredModel
from registry.models.version import ModelVersion
from registry.states import RetrainingStatus, Trigger


class RetrainingRun(TenantModel):
    """Table `model_retraining_log`; column names are those of the documented SQL."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="retrainings")
    model_name = models.CharField(max_length=128)
    trigger_type = models.CharField(max_length=20, choices=Trigger.choices)
    status = models.CharField(max_length=10, choices=RetrainingStatus.choices, default=RetrainingStatus.QUEUED)
    version_produced = models.CharField(max_length=64, blank=True)
    produced = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField(blank=True)
    metadata = models.JSONField(default=dict)
    job_id = models.UUIDField(null=True, blank=True)
    requested_by = models.CharField(max_length=254)
    requested_by_id = models.UUIDField(null=True, blank=True)
    started_at = models.DateTimeField(help_text="When it was asked for.")
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantModel.Meta):
        db_table = "model_retraining_log"
        verbose_name = "retraining"
        ordering = ("-started_at", "id")
        constraints = [
            models.UniqueConstraint(fields=["model"], condition=Q(status__in=["queued", "running"]), name="one_retraining_per_model"),
            models.CheckConstraint(condition=Q(status__in=RetrainingStatus.values), name="retraining_status_is_known"),
            models.CheckConstraint(condition=Q(trigger_type__in=Trigger.values), name="retraining_trigger_is_known"),
        ]
        indexes = [models.Index(fields=["customer", "model", "-started_at"], name="retrainings_by_model")]

    def __str__(self) -> str:
        return f"{self.model_name} {self.trigger_type} {self.started_at:%Y-%m-%d}"
