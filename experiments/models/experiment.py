"""A proposed experiment: what somebody wants to try, who agreed, and what came of it."""

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from experiments.states import OPEN, Decision, ExperimentStatus, ExperimentType
from mlops.tenancy.models import TenantModel
from registry.models import ModelVersion, RegisteredModel


class Experiment(TenantModel):
    """Table `model_experiments`; column names are those of the documented SQL. A search over hyper-parameters is a study, not this."""

    undeletable: ClassVar[bool] = True
    frozen_fields: ClassVar[tuple[str, ...]] = ("proposed_by", "proposed_by_id", "created_at")

    experiment_name = models.CharField(max_length=200)
    hypothesis = models.TextField()
    experiment_type = models.CharField(max_length=24, choices=ExperimentType.choices)
    status = models.CharField(max_length=16, choices=ExperimentStatus.choices, default=ExperimentStatus.PROPOSED)
    model = models.ForeignKey(RegisteredModel, null=True, blank=True, on_delete=models.PROTECT, related_name="experiments")
    proposed_by = models.CharField(max_length=254)
    proposed_by_id = models.UUIDField(null=True, blank=True)
    authors = models.JSONField(default=list, help_text="Whoever proposed or edited it, with account, actor and person, for four eyes.")
    approved_by = models.CharField(max_length=254, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    approval_rationale = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    baseline_version = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    experimental_version = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    decision = models.CharField(max_length=16, choices=Decision.choices, blank=True)
    decision_rationale = models.TextField(blank=True, help_text="Why it was completed so, rejected or rolled back.")
    results = models.JSONField(default=dict, help_text="baseline_mae, experimental_mae, improvement_pct as they were reported.")
    closed_by = models.CharField(max_length=254, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=1, editable=False, help_text="Counts every change and every move; the ETag.")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "model_experiments"
        ordering = ("-created_at", "id")
        constraints = [
            models.CheckConstraint(condition=Q(status__in=ExperimentStatus.values), name="experiment_status_is_known"),
            models.CheckConstraint(condition=Q(experiment_type__in=ExperimentType.values), name="experiment_type_is_known"),
            models.CheckConstraint(condition=Q(decision="") | Q(decision__in=Decision.values), name="experiment_decision_is_known"),
            models.CheckConstraint(
                condition=Q(status__in=[ExperimentStatus.PROPOSED, ExperimentStatus.REJECTED]) | ~Q(approved_by=""),
                name="an_experiment_runs_approved",
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "status", "-created_at"], name="experiments_by_status"),
            models.Index(fields=["customer", "-created_at"], name="experiments_newest_first"),
        ]

    def __str__(self) -> str:
        return self.experiment_name

    @property
    def stream_id(self) -> UUID:
        """An experiment's moves are its own stream."""
        return self.pk

    @property
    def is_open(self) -> bool:
        """Whether something can still become of it."""
        return self.status in OPEN


class ExperimentVersion(TenantModel):
    """A version that was made or tried under an experiment."""

    append_only = True

    experiment = models.ForeignKey(Experiment, on_delete=models.PROTECT, related_name="versions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="experiments")
    linked_by = models.CharField(max_length=254)
    linked_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "experiment_versions"
        ordering = ("linked_at", "id")
        constraints = [models.UniqueConstraint(fields=["experiment", "version"], name="one_link_per_experiment_and_version")]

    def __str__(self) -> str:
        return f"{self.experiment}: {self.version}"


class ExperimentComment(TenantModel):
    """One contribution to the discussion. Never changed."""

    append_only = True

    experiment = models.ForeignKey(Experiment, on_delete=models.PROTECT, related_name="comments")
    author = models.CharField(max_length=254)
    actor = models.CharField(max_length=254, help_text="Who sent it; another than the author where a programme speaks for somebody.")
    body = models.TextField()
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "experiment_comments"
        ordering = ("created_at", "id")
        indexes = [models.Index(fields=["customer", "experiment", "created_at"], name="comments_by_experiment")]

    def __str__(self) -> str:
        return f"{self.author}: {self.body[:60]}"
