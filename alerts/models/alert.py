"""An alert: a question to a person, what was answered, and every time its cause was seen."""

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from alerts.models.fields import RankField, SearchField, SeverityField
from alerts.states import OPEN, AlertStatus, AlertType, Decision, Severity
from mlops.tenancy.models import TenantModel


class MLAlert(TenantModel):
    """Table `ml_alerts`; column names are those of the documented SQL. Its row is the lock under which it is decided."""

    undeletable: ClassVar[bool] = True
    frozen_fields: ClassVar[tuple[str, ...]] = ("alert_type", "cause_key", "model_name", "created_at")

    alert_type = models.CharField(max_length=24, choices=AlertType.choices)
    severity = SeverityField(max_length=8, choices=Severity.choices)
    severity_rank = RankField(help_text="1 for info, 3 for critical: what lists sort by.")
    title = models.CharField(max_length=200)
    message = models.TextField(blank=True, help_text="What was seen, with its numbers; of the last occurrence.")
    search_text = SearchField(help_text="Beginning of title and message as searches compare them.")
    action_url = models.CharField(max_length=500, blank=True, help_text="Where to look before deciding.")
    status = models.CharField(max_length=10, choices=AlertStatus.choices, default=AlertStatus.UNREAD)
    cause_key = models.CharField(max_length=300, help_text="What it is about; at most one open alert has it.")
    model_name = models.CharField(max_length=128, blank=True)
    version = models.CharField(max_length=64, blank=True)
    details = models.JSONField(default=dict, help_text="The evidence, and what the deed needs to know.")
    repeat_count = models.PositiveIntegerField(default=0, help_text="How often its cause was seen again while it was open.")
    revision = models.PositiveIntegerField(default=1, help_text="Counts every change; the ETag.")
    created_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    notified_at = models.DateTimeField(null=True, blank=True, help_text="When its subscribers were told last.")
    read_at = models.DateTimeField(null=True, blank=True)
    read_by = models.CharField(max_length=254, blank=True)
    decision = models.CharField(max_length=8, choices=Decision.choices, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=254, blank=True)
    notes = models.TextField(blank=True, help_text="Why it was decided so.")
    outcome = models.JSONField(default=dict, help_text="What approving it did.")

    class Meta(TenantModel.Meta):
        db_table = "ml_alerts"
        verbose_name = "ML alert"
        ordering = ("-severity_rank", "-created_at", "id")
        constraints = [
            models.UniqueConstraint(fields=["customer", "cause_key"], condition=Q(status__in=OPEN), name="one_open_alert_per_cause"),
            models.CheckConstraint(condition=Q(status__in=AlertStatus.values), name="alert_status_is_known"),
            models.CheckConstraint(condition=Q(severity__in=Severity.values), name="alert_severity_is_known"),
            models.CheckConstraint(
                condition=Q(severity="info", severity_rank=1)
                | Q(severity="warning", severity_rank=2)
                | Q(severity="critical", severity_rank=3),
                name="alert_rank_is_that_of_its_severity",
            ),
            models.CheckConstraint(condition=Q(alert_type__in=AlertType.values), name="alert_type_is_known"),
            models.CheckConstraint(
                condition=Q(status__in=OPEN, decided_at=None) | Q(status__in=["actioned", "dismissed"], decided_at__isnull=False),
                name="a_closed_alert_was_decided",
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "-severity_rank", "-created_at", "id"], name="alerts_by_rank"),
            models.Index(fields=["customer", "status", "-severity_rank", "-created_at", "id"], name="alerts_by_status"),
            models.Index(fields=["customer", "alert_type", "-severity_rank", "-created_at", "id"], name="alerts_by_type"),
            models.Index(fields=["customer", "model_name", "-severity_rank", "-created_at", "id"], name="alerts_by_model"),
            models.Index(fields=["customer", "created_at"], name="alerts_by_age"),
            models.Index(fields=["customer", "last_seen_at"], name="alerts_by_last_seen"),
            # Wide enough to answer any search with any filter from the index alone, in the inbox's order.
            models.Index(
                fields=["customer", "-severity_rank", "-created_at", "id", "status", "alert_type", "model_name", "search_text"],
                name="alerts_searched",
            ),
            # What is open, however much was decided before.
            models.Index(
                fields=["customer", "-severity_rank", "-created_at", "id", "status"], condition=Q(decided_at=None), name="open_by_rank"
            ),
            models.Index(fields=["customer", "created_at", "id"], condition=Q(decided_at=None), name="open_by_age"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def stream_id(self) -> UUID:
        """An alert's moves are its own stream."""
        return self.pk

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to decide."""
        return self.status in OPEN


class Occurrence(TenantModel):
    """One time the cause was seen. Never changed; its key keeps news that comes twice from counting twice."""

    append_only = True

    alert = models.ForeignKey(MLAlert, on_delete=models.PROTECT, related_name="occurrences")
    key = models.CharField(max_length=300)
    severity = models.CharField(max_length=8)
    message = models.TextField(blank=True)
    details = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "ml_alert_occurrences"
        ordering = ("-at", "id")
        constraints = [models.UniqueConstraint(fields=["customer", "key"], name="an_occurrence_counts_once")]
        indexes = [models.Index(fields=["customer", "alert", "-at"], name="occurrences_by_alert")]

    def __str__(self) -> str:
        return f"{self.key} {self.at:%Y-%m-%d %H:%M}"
