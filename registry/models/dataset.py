"""Data that models learn from: uploaded once, checked in a child process, kept as a canonical panel."""

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from mlops.tenancy.models import TenantModel
from registry.states import DatasetVersionStatus


class Dataset(TenantModel):
    """A named source of daily demand; its newest ready version is what a retrain reads."""

    name = models.CharField(max_length=128)
    mapping = models.JSONField(default=dict, help_text="How the file's columns are read; proposed from the file, corrected by people.")
    last_version_number = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "datasets"
        verbose_name = "data set"
        ordering = ("name", "id")
        constraints = [models.UniqueConstraint(fields=["customer", "name"], name="dataset_name_is_unique")]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(TenantModel):
    """One file (or folder) as it was, and the panel made from it. Never changed once ready; a new mapping makes a new version."""

    frozen_fields: ClassVar[tuple[str, ...]] = (
        "dataset",
        "number",
        "source_name",
        "source_path",
        "source_sha256",
        "source_size",
        "mapping",
        "profile",
        "created_by",
        "created_at",
    )
    settled_states: ClassVar[tuple[str, ...]] = (DatasetVersionStatus.READY, DatasetVersionStatus.FAILED)
    settled_fields: ClassVar[tuple[str, ...]] = (
        "status",
        "panel_path",
        "panel_sha256",
        "rows",
        "series",
        "first_day",
        "last_day",
        "report",
    )

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=DatasetVersionStatus.choices, default=DatasetVersionStatus.RECEIVED)
    source_name = models.CharField(max_length=255)
    source_path = models.CharField(max_length=500)
    source_sha256 = models.CharField(max_length=64)
    source_size = models.PositiveBigIntegerField()
    mapping = models.JSONField()
    panel_path = models.CharField(max_length=500, blank=True)
    panel_sha256 = models.CharField(max_length=64, blank=True)
    rows = models.PositiveBigIntegerField(null=True)
    series = models.PositiveIntegerField(null=True)
    first_day = models.DateField(null=True)
    last_day = models.DateField(null=True)
    report = models.JSONField(default=dict, help_text="What was read, left out, and wrong.")
    profile = models.JSONField(default=dict, help_text="Per column: type, missing, examples.")
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "dataset_versions"
        verbose_name = "data set version"
        ordering = ("dataset_id", "-number", "id")
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="dataset_version_number_is_unique"),
            models.CheckConstraint(condition=Q(status__in=DatasetVersionStatus.values), name="dataset_version_status_is_known"),
            models.CheckConstraint(condition=~Q(status="ready") | ~Q(panel_sha256=""), name="a_ready_dataset_has_its_panel"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset} #{self.number}"

    @property
    def stream_id(self) -> UUID:
        """Moves of all versions of a data set are one stream, ordered by the data set's lock."""
        return self.dataset_id
