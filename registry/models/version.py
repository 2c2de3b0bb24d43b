"""A version: what was registered never changes; only its status moves."""

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from mlops.tenancy.models import TenantModel
from registry.models.dataset import DatasetVersion
from registry.models.model import RegisteredModel
from registry.states import VersionStatus


class ModelVersion(TenantModel):
    """Table `model_versions`; column names are those of the documented SQL."""

    undeletable: ClassVar[bool] = True
    frozen_fields: ClassVar[tuple[str, ...]] = (
        "model",
        "model_name",
        "version",
        "number",
        "algorithm",
        "metrics",
        "signature",
        "hyperparameters",
        "reference_statistics",
        "artifact_path",
        "artifact_sha256",
        "artifact_format",
        "artifact_size",
        "trained_through",
        "training_seconds",
        "notes",
        "lineage",
        "dataset_version",
        "parent",
        "created_by",
        "created_by_id",
        "created_at",
    )

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="versions")
    model_name = models.CharField(max_length=128)
    version = models.CharField(max_length=64)
    number = models.PositiveIntegerField(help_text="Order of registration within the model, from 1 without gaps.")
    status = models.CharField(max_length=12, choices=VersionStatus.choices, default=VersionStatus.CANDIDATE)
    algorithm = models.CharField(max_length=40, blank=True)
    metrics = models.JSONField(default=dict)
    hyperparameters = models.JSONField(default=dict)
    signature = models.JSONField(default=dict)
    reference_statistics = models.JSONField(default=dict)
    lineage = models.JSONField(default=dict, help_text="Split, study, trial, experiment, code revision, recipe.")
    dataset_version = models.ForeignKey(DatasetVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="model_versions")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    trained_through = models.DateField(null=True, blank=True, help_text="The last day its training saw.")
    training_seconds = models.FloatField(null=True, blank=True)
    artifact_path = models.CharField(max_length=500, blank=True)
    artifact_sha256 = models.CharField(max_length=64, blank=True)
    artifact_format = models.CharField(max_length=40, blank=True)
    artifact_size = models.PositiveBigIntegerField(null=True, blank=True)
    notes = models.TextField(blank=True)
    created_by = models.CharField(max_length=254)
    created_by_id = models.UUIDField(null=True, blank=True, help_text="The account of whoever trained or registered it, for four eyes.")
    created_at = models.DateTimeField()
    promoted_at = models.DateTimeField(null=True, blank=True)
    status_changed_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True, help_text="Archived and hidden; the row stays, as evidence.")
    artifact_deleted_at = models.DateTimeField(null=True, blank=True, help_text="When its file was removed from the storage.")

    class Meta(TenantModel.Meta):
        db_table = "model_versions"
        verbose_name = "version"
        ordering = ("model_name", "-number", "id")
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="version_label_is_unique"),
            models.UniqueConstraint(fields=["model", "number"], name="version_number_is_unique"),
            models.UniqueConstraint(fields=["customer", "model"], condition=Q(status="champion"), name="exactly_one_champion"),
            models.CheckConstraint(condition=Q(status__in=VersionStatus.values), name="version_status_is_known"),
            models.CheckConstraint(condition=Q(artifact_path="") | ~Q(artifact_sha256=""), name="an_artifact_has_its_digest"),
        ]
        indexes = [
            models.Index(fields=["customer", "model", "-number"], name="versions_newest_first"),
            models.Index(fields=["customer", "model", "status", "-number"], name="versions_by_status"),
        ]

    def __str__(self) -> str:
        return f"{self.model_name} {self.version}"

    @property
    def stream_id(self) -> UUID:
        """Versions of one model move in one stream, under the model's lock."""
        return self.model_id

    @property
    def has_artifact(self) -> bool:
        """Whether it can predict here; a version may be registered by its metadata alone, and a deleted one's file may be gone."""
        return bool(self.artifact_path) and self.artifact_deleted_at is None
