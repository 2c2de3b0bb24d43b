"""What the champion's forecasts turned out to be worth, day by day, once the truth was known."""

from django.db import models

from mlops.tenancy.models import TenantModel
from registry.models.backtest import ErrorColumns
from registry.models.model import RegisteredModel
from registry.models.version import ModelVersion

OVERALL = "overall"


class ForecastAccuracy(ErrorColumns, TenantModel):
    """Table `forecast_accuracy`: per version and day, overall and by segment. Written by the daily T-1 job."""

    version_ref = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="accuracy", db_column="version_id")
    model_name = models.CharField(max_length=128)
    model_version = models.CharField(max_length=64)
    forecast_date = models.DateField()
    segment_column = models.CharField(max_length=64, default=OVERALL)
    segment = models.CharField(max_length=128, default=OVERALL)
    truth = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="Digest of what was known of that day when it was scored; of overall rows alone.",
    )
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "forecast_accuracy"
        ordering = ("forecast_date", "segment_column", "segment", "id")
        constraints = [
            models.UniqueConstraint(fields=["version_ref", "forecast_date", "segment_column", "segment"], name="one_accuracy_row"),
        ]

    def __str__(self) -> str:
        return f"{self.model_name} {self.model_version} {self.forecast_date} {self.segment}"


class Actual(TenantModel):
    """Ground truth that arrived by API: one series, one day. A correction replaces the value and is audited."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="actuals")
    day = models.DateField()
    series_key = models.CharField(max_length=500, help_text="The series' key columns as canonical JSON.")
    value = models.FloatField()
    received_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "actuals"
        ordering = ("day", "series_key", "id")
        constraints = [models.UniqueConstraint(fields=["model", "day", "series_key"], name="one_actual_per_series_and_day")]

    def __str__(self) -> str:
        return f"{self.series_key} {self.day}"
