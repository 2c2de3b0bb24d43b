"""A split: one data set cut once into train, validation and test."""

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from experiments.states import SplitStatus
from mlops.tenancy.models import TenantModel


class Split(TenantModel):
    """Table `data_splits`. What was asked for never changes; the parts appear once, when it becomes ready.

    Deleting hides it (`deleted_at`), so that versions trained on it keep their lineage.
    """

    class Strategy(models.TextChoices):
        """How rows find their part."""

        RANDOM = "random", "Random"
        TIME = "time", "By time"
        ENTITY = "entity", "By entity"

    class Task(models.TextChoices):
        """What the target is for."""

        REGRESSION = "regression", "Regression"
        CLASSIFICATION = "classification", "Classification"
        FORECAST = "forecast", "Forecast"

    class Source(models.TextChoices):
        """Where the rows came from."""

        RECORDS = "records", "Records"
        FILE = "file", "File"
        URI = "uri", "URI"

    undeletable: ClassVar[bool] = True
    frozen_fields: ClassVar[tuple[str, ...]] = ("target", "task", "strategy", "fractions", "seed", "entity_column", "time_column", "source")

    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=SplitStatus.choices, default=SplitStatus.PENDING)
    task = models.CharField(max_length=16, choices=Task.choices)
    target = models.CharField(max_length=255)
    strategy = models.CharField(max_length=10, choices=Strategy.choices)
    fractions = models.JSONField(help_text="Share of rows per part: train, validation, test.")
    seed = models.PositiveBigIntegerField(default=0)
    entity_column = models.CharField(max_length=255, blank=True)
    time_column = models.CharField(max_length=255, blank=True)
    requested_features = models.JSONField(default=list, help_text="Empty: every column but target, entity and time.")
    features = models.JSONField(default=list, help_text="The features in order, once the file was read.")
    source = models.CharField(max_length=10, choices=Source.choices)
    source_name = models.CharField(max_length=500, blank=True, help_text="The file's name, or the URI.")
    source_path = models.CharField(max_length=500, blank=True, help_text="Where the bytes are kept until they were read.")
    source_sha256 = models.CharField(max_length=64, blank=True)
    source_size = models.PositiveBigIntegerField(null=True, blank=True)
    rows = models.PositiveBigIntegerField(null=True, blank=True)
    parts = models.JSONField(default=dict, help_text="Per part: rows, path, sha256, size.")
    boundaries = models.JSONField(default=dict, help_text="First and last moment of each part of a split by time.")
    profile = models.JSONField(default=list, help_text="Per column: type, missing, distinct, quantiles, top values, histogram.")
    reading = models.JSONField(default=dict, help_text="How the file was read: format, dialect, encoding, types.")
    warnings = models.JSONField(default=list, help_text="What may leak, and what looks odd.")
    problems = models.JSONField(default=list, help_text="Why it failed.")
    job_id = models.UUIDField(null=True, blank=True)
    created_by = models.CharField(max_length=254)
    created_by_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=1, editable=False, help_text="Counts every change; the ETag.")

    class Meta(TenantModel.Meta):
        db_table = "data_splits"
        ordering = ("-created_at", "id")
        constraints = [
            models.CheckConstraint(condition=Q(status__in=SplitStatus.values), name="split_status_is_known"),
            models.CheckConstraint(condition=Q(strategy__in=["random", "time", "entity"]), name="split_strategy_is_known"),
            models.CheckConstraint(condition=Q(task__in=["regression", "classification", "forecast"]), name="split_task_is_known"),
            models.CheckConstraint(condition=~Q(status="ready") | Q(rows__isnull=False), name="a_ready_split_has_its_parts"),
        ]
        indexes = [models.Index(fields=["customer", "deleted_at", "-created_at"], name="splits_newest_first")]

    def __str__(self) -> str:
        return self.name

    @property
    def stream_id(self) -> UUID:
        """A split moves alone."""
        return self.pk
