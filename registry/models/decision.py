"""What the arena said, who was asked, and what was decided: the evidence of every promotion, rollback and rejection."""

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from mlops.tenancy.models import TenantModel
from registry.models.backtest import BacktestRun
from registry.models.model import RegisteredModel
from registry.models.version import ModelVersion
from registry.rules.arena import brief
from registry.states import DECIDED_REQUESTS, RequestStatus


class Verdict(TenantModel):
    """The arena's answer: one version against the champion of that moment, gate by gate. Never changed."""

    append_only = True

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="verdicts")
    against = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    run = models.ForeignKey(BacktestRun, null=True, on_delete=models.PROTECT, related_name="+")
    against_run = models.ForeignKey(BacktestRun, null=True, on_delete=models.PROTECT, related_name="+")
    policy = models.JSONField()
    policy_revision = models.PositiveIntegerField()
    gates = models.JSONField(help_text="Per gate: name, passed, candidate, champion, limit, unit, why.")
    passed = models.BooleanField()
    summary = models.TextField(help_text="The verdict in one sentence.")
    trigger = models.CharField(max_length=20)
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "verdicts"
        ordering = ("-created_at", "id")
        indexes = [models.Index(fields=["customer", "version", "-created_at"], name="verdicts_by_version")]

    def __str__(self) -> str:
        return self.summary

    @property
    def brief(self) -> str:
        """The sentence without each gate's reason."""
        return brief(self.summary, self.gates)


class PromotionRequest(TenantModel):
    """A promotion (or rollback) that waits for a second pair of eyes."""

    undeletable: ClassVar[bool] = True
    frozen_fields: ClassVar[tuple[str, ...]] = (
        "model",
        "version",
        "kind",
        "reason",
        "override",
        "verdict",
        "requested_by",
        "requested_by_id",
        "requested_at",
    )
    settled_states: ClassVar[tuple[str, ...]] = DECIDED_REQUESTS
    settled_fields: ClassVar[tuple[str, ...]] = ("status", "decided_by", "decided_at", "decision_reason")

    class Kind(models.TextChoices):
        """What is asked for."""

        PROMOTE = "promote", "Promote"
        ROLLBACK = "rollback", "Roll back"

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="promotion_requests")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotion_requests")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.PROMOTE)
    status = models.CharField(max_length=10, choices=RequestStatus.choices, default=RequestStatus.PENDING)
    reason = models.TextField(blank=True)
    override = models.BooleanField(default=False)
    verdict = models.ForeignKey(Verdict, null=True, on_delete=models.PROTECT, related_name="+")
    requested_by = models.CharField(max_length=254)
    requested_by_id = models.UUIDField(null=True)
    requested_at = models.DateTimeField()
    decided_by = models.CharField(max_length=254, blank=True)
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.TextField(blank=True)

    class Meta(TenantModel.Meta):
        db_table = "promotion_requests"
        ordering = ("requested_at", "id")
        constraints = [
            models.UniqueConstraint(fields=["version", "kind"], condition=Q(status="pending"), name="one_pending_request_per_version"),
            models.CheckConstraint(condition=Q(status__in=RequestStatus.values), name="promotion_request_status_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.version}"

    @property
    def stream_id(self) -> UUID:
        """A request's moves are its own stream."""
        return self.pk


class DecisionRecord(TenantModel):
    """One decision and everything it rested on. Never changed; this is what an auditor reads."""

    append_only = True

    class Kind(models.TextChoices):
        """What was decided."""

        PROMOTION = "promotion", "Promotion"
        ROLLBACK = "rollback", "Rollback"
        CHALLENGE = "challenge", "Challenge"
        REJECTION = "rejection", "Rejection"

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="decisions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="decisions")
    former_champion = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    automatic = models.BooleanField(default=False)
    override = models.BooleanField(default=False, help_text="Decided although a gate failed or had no input.")
    emergency = models.BooleanField(default=False, help_text="A rollback past the second pair of eyes; reviewed afterwards.")
    verdict = models.ForeignKey(Verdict, null=True, on_delete=models.PROTECT, related_name="decisions")
    policy_revision = models.PositiveIntegerField()
    proposer = models.CharField(max_length=254)
    approvers = models.JSONField(default=list)
    rationale = models.TextField(blank=True)
    artifact_sha256 = models.CharField(max_length=64, blank=True)
    rests_on = models.JSONField(default=dict, help_text="Ids of data, split, study, backtests and shadow results.")
    audit_number = models.PositiveBigIntegerField()
    decided_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "decision_records"
        verbose_name = "decision"
        ordering = ("-decided_at", "id")
        indexes = [models.Index(fields=["customer", "model", "-decided_at"], name="decisions_by_model")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.version}"
