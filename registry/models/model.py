"""A model: the name under which versions compete."""

from uuid import UUID

from django.db import models
from django.db.models import Q

from mlops.tenancy.models import TenantModel
from registry.models.dataset import Dataset


class RegisteredModel(TenantModel):
    """The aggregate root of the registry: its row is the lock under which its versions move, and counts labels and revisions."""

    class Task(models.TextChoices):
        """What is predicted."""

        FORECAST = "forecast", "Forecast"
        REGRESSION = "regression", "Regression"
        CLASSIFICATION = "classification", "Classification"

    class Type(models.TextChoices):
        """What kind of model it is."""

        TRANSFORMER = "transformer", "Transformer"
        ENSEMBLE = "ensemble", "Ensemble"
        TRADITIONAL_ML = "traditional_ml", "Traditional ML"

    name = models.CharField(max_length=128)
    display_name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    task = models.CharField(max_length=20, choices=Task.choices, default=Task.FORECAST)
    model_type = models.CharField(max_length=20, choices=Type.choices, default=Type.ENSEMBLE)
    domain = models.CharField(max_length=64, blank=True)
    dataset = models.ForeignKey(Dataset, null=True, blank=True, on_delete=models.PROTECT, related_name="models")
    data_dir = models.CharField(max_length=500, blank=True, help_text="A file or folder below an allowed root; read anew at each retrain.")
    recipe = models.JSONField(default=dict, help_text="What a retrain fits: kind and hyper-parameters.")
    policy = models.JSONField(default=dict, help_text="The promotion policy; what is absent has the documented default.")
    scheduled = models.BooleanField(default=True, help_text="Whether the scheduled jobs work on this model.")
    retention_days = models.PositiveIntegerField(default=730)
    revision = models.PositiveIntegerField(default=1, editable=False, help_text="Counts every change and every move; the ETag.")
    policy_revision = models.PositiveIntegerField(default=1, editable=False)
    last_version_number = models.PositiveIntegerField(default=0, editable=False)
    status_counts = models.JSONField(default=dict, editable=False, help_text="Versions by status, kept under the model's lock.")
    drift_told = models.JSONField(default=dict, editable=False, help_text="The drift that was told last: version, day and severity.")
    last_label_number = models.PositiveIntegerField(default=0, editable=False, help_text="The last automatic label, v<number>.")
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "registered_models"
        verbose_name = "model"
        ordering = ("name", "id")
        constraints = [
            models.UniqueConstraint(fields=["customer", "name"], name="model_name_is_unique"),
            models.CheckConstraint(condition=Q(task__in=["forecast", "regression", "classification"]), name="model_task_is_known"),
            models.CheckConstraint(condition=Q(model_type__in=["transformer", "ensemble", "traditional_ml"]), name="model_type_is_known"),
        ]

    def __str__(self) -> str:
        return self.display_name or self.name

    @property
    def retrained_on_schedule(self) -> bool:
        """Whether the schedule retrains it: only forecasts are retrained here."""
        return self.scheduled and self.task == self.Task.FORECAST

    @property
    def stream_id(self) -> UUID:
        """Moves of all versions of a model are one stream."""
        return self.pk

    def count_version(self, *, source: str | None, target: str) -> None:
        """Count a version that came (`source` None) or moved. The caller holds the model's lock, and saves."""
        change = {target: 1} if source is None else {source: -1, target: 1}
        self.status_counts = {**self.status_counts, **{status: self.status_counts.get(status, 0) + by for status, by in change.items()}}
