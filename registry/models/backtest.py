"""Backtests: a run, its rows per day, its sums per day and segment."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from mlops.tenancy.models import TenantModel
from registry.models.dataset import DatasetVersion
from registry.models.version import ModelVersion


class ErrorColumns(models.Model):
    """Daily errors. Rates are fractions of 1, `bias_pct` is in percent of the actual sum; null where a denominator is zero."""

    mae = models.FloatField(null=True)
    mape = models.FloatField(null=True)
    wape = models.FloatField(null=True)
    rmse = models.FloatField(null=True)
    bias_pct = models.FloatField(null=True)
    coverage = models.FloatField(null=True)
    stockout_miss_rate = models.FloatField(null=True)
    overstock_rate = models.FloatField(null=True)
    n = models.PositiveIntegerField(help_text="Series with a known actual that day.")
    sum_actual = models.FloatField()
    sum_error = models.FloatField(help_text="Sum of forecast minus actual.")
    sum_abs_error = models.FloatField()

    class Meta:
        abstract = True


class BacktestRun(TenantModel):
    """One rolling-origin evaluation of one version over one window; never changed."""

    append_only = True

    class Purpose(models.TextChoices):
        """Why it was run."""

        JUDGE = "judge", "Judgement"
        WEEKLY = "weekly", "Weekly"

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="backtest_runs")
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    window_start = models.DateField()
    window_end = models.DateField()
    horizon = models.PositiveSmallIntegerField()
    options = models.JSONField(default=dict)
    metrics = models.JSONField()
    by_segment = models.JSONField(default=dict, help_text="Segment column → value → metrics over the window.")
    worst_series = models.JSONField(default=list)
    error_histogram = models.JSONField(default=dict)
    fits = models.PositiveIntegerField(default=0)
    seconds = models.FloatField()
    job_id = models.UUIDField(null=True)
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "backtest_runs"
        ordering = ("-created_at", "id")
        constraints = [models.CheckConstraint(condition=Q(window_end__gte=models.F("window_start")), name="backtest_window_is_forward")]
        indexes = [models.Index(fields=["customer", "version", "-created_at"], name="backtest_runs_by_version")]

    def __str__(self) -> str:
        return f"{self.version} {self.window_start}…{self.window_end}"

    @property
    def ground(self) -> tuple[Any, ...]:
        """Data, window, horizon and truth: what two runs have to share for their numbers to be comparable."""
        return self.dataset_version_id, self.window_start, self.window_end, self.horizon, self.options.get("truth")


class BacktestResult(ErrorColumns, TenantModel):
    """Table `backtest_results`: one row per model version and forecast date, from the newest run that covered it; or of the daily
    validation, which corrects its own rows and no run's."""

    undeletable: ClassVar[bool] = True
    frozen_fields: ClassVar[tuple[str, ...]] = ("version_ref", "model_name", "model_version", "forecast_date")
    held_by: ClassVar[str] = "run"

    version_ref = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="backtest_results", db_column="version_id")
    run = models.ForeignKey(BacktestRun, on_delete=models.PROTECT, related_name="results", null=True)
    model_name = models.CharField(max_length=128)
    model_version = models.CharField(max_length=64)
    forecast_date = models.DateField()
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "backtest_results"
        ordering = ("forecast_date", "id")
        constraints = [models.UniqueConstraint(fields=["version_ref", "forecast_date"], name="one_backtest_row_per_version_and_date")]

    def __str__(self) -> str:
        return f"{self.model_name} {self.model_version} {self.forecast_date}"


class BacktestSegment(TenantModel):
    """Sums of one run per day and segment: what drift is measured against."""

    append_only = True

    run = models.ForeignKey(BacktestRun, on_delete=models.PROTECT, related_name="segments")
    forecast_date = models.DateField()
    segment_column = models.CharField(max_length=64)
    segment = models.CharField(max_length=128)
    n = models.PositiveIntegerField()
    sum_actual = models.FloatField()
    sum_error = models.FloatField()
    sum_abs_error = models.FloatField()

    class Meta(TenantModel.Meta):
        db_table = "backtest_segments"
        ordering = ("forecast_date", "segment_column", "segment", "id")
        constraints = [
            models.UniqueConstraint(fields=["run", "forecast_date", "segment_column", "segment"], name="one_backtest_segment_row"),
        ]

    def __str__(self) -> str:
        return f"{self.segment_column}={self.segment} {self.forecast_date}"
