"""What a version in shadow predicted beside the champion, on the same inputs, and what became true."""

from django.db import models

from mlops.tenancy.models import TenantModel
from registry.models.accuracy import OVERALL
from registry.models.version import ModelVersion


class ShadowPrediction(TenantModel):
    """Table `shadow_predictions`: both predictions of one series and day from one origin.

    A prediction is never rewritten; the truth joins it when it arrives. Old pairs are removed; the sums of `ShadowDay` stay.
    """

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="shadow_predictions")
    champion = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    day = models.DateField()
    series_key = models.CharField(max_length=500, help_text="The series' key columns as canonical JSON.")
    origin = models.DateField(help_text="The last day whose truth both had seen.")
    prediction = models.FloatField()
    champion_prediction = models.FloatField()
    actual = models.FloatField(null=True)
    segments = models.JSONField(default=dict, help_text="Segment column → the series' segment.")
    ahead = models.BooleanField(default=False, help_text="Written down before the truth was known.")
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "shadow_predictions"
        ordering = ("day", "series_key", "id")
        constraints = [models.UniqueConstraint(fields=["version", "champion", "day", "series_key"], name="one_shadow_pair")]

    def __str__(self) -> str:
        return f"{self.series_key} {self.day}"


class ShadowDay(TenantModel):
    """Sums of the pairs of one day, overall and by segment: what shadow evidence is read from. Kept when the pairs are gone."""

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="shadow_days")
    champion = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    day = models.DateField()
    segment_column = models.CharField(max_length=64, default=OVERALL)
    segment = models.CharField(max_length=128, default=OVERALL)
    n = models.PositiveIntegerField(help_text="Pairs whose truth is known.")
    n_ahead = models.PositiveIntegerField(help_text="Of those, how many were written down before the truth was known.")
    sum_actual = models.FloatField()
    sum_error = models.FloatField(help_text="Sum of forecast minus actual.")
    sum_abs_error = models.FloatField()
    champion_sum_error = models.FloatField()
    champion_sum_abs_error = models.FloatField()
    scored_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "shadow_days"
        ordering = ("day", "segment_column", "segment", "id")
        constraints = [
            models.UniqueConstraint(fields=["version", "champion", "segment_column", "segment", "day"], name="one_shadow_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.segment_column}={self.segment}"
