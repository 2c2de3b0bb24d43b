"""The audit trail and the head of its chain."""

from django.db import models

from mlops.tenancy.models.base import TenantModel
from mlops.tenancy.persons import PROGRAM


class AuditEvent(TenantModel):
    """One act. `canonical` is the very text that was hashed; verification never serializes again."""

    append_only = True

    number = models.PositiveBigIntegerField(help_text="Position in the customer's chain, from 1, without gaps.")
    actor = models.CharField(max_length=254)
    actor_kind = models.CharField(max_length=10, choices=[("user", "person"), ("key", "API key"), ("system", "system")])
    on_behalf_of = models.CharField(max_length=254, blank=True)
    action = models.CharField(max_length=80)
    object_type = models.CharField(max_length=80)
    object_id = models.CharField(max_length=64)
    object_label = models.CharField(max_length=300)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    occurred_at = models.DateTimeField()
    canonical = models.TextField(editable=False)
    digest = models.CharField(max_length=64, editable=False)

    class Meta(TenantModel.Meta):
        db_table = "audit_events"
        ordering = ("-number", "id")
        constraints = [models.UniqueConstraint(fields=["customer", "number"], name="audit_number_is_unique")]
        indexes = [
            models.Index(fields=["customer", "object_type", "object_id", "-number"], name="audit_by_object"),
            models.Index(fields=["customer", "-occurred_at"], name="audit_by_time"),
        ]

    def __str__(self) -> str:
        return f"#{self.number} {self.action} {self.object_label}"

    @property
    def who(self) -> tuple[str, str]:
        """Who acted, and for whom or as what. A job works in the name of whoever asked for it: that is the system for them, not they."""
        if self.actor_kind == "system" and ("@" in self.actor or self.actor.startswith(PROGRAM)):
            return "system", f"for {self.actor}{f' for {self.on_behalf_of}' if self.on_behalf_of else ''}"
        return self.actor, f"for {self.on_behalf_of}" if self.on_behalf_of else self.get_actor_kind_display()


class AuditHead(TenantModel):
    """The last number and digest of a customer's chain; its row is the lock that appends queue at."""

    number = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, default="")

    class Meta(TenantModel.Meta):
        db_table = "audit_heads"
        constraints = [models.UniqueConstraint(fields=["customer"], name="one_audit_head_per_customer")]

    def __str__(self) -> str:
        return f"head at {self.number}"


class AuditVerification(TenantModel):
    """What the latest walk along a customer's chain found: pages tell it without walking a long chain themselves."""

    verified_at = models.DateTimeField()
    intact = models.BooleanField()
    events = models.PositiveBigIntegerField(help_text="How many were good, from the first on.")
    first_bad_number = models.PositiveBigIntegerField(null=True)
    problem = models.TextField(blank=True)

    class Meta(TenantModel.Meta):
        db_table = "audit_verifications"
        constraints = [models.UniqueConstraint(fields=["customer"], name="one_latest_audit_verification_per_customer")]

    def __str__(self) -> str:
        return f"{'intact' if self.intact else 'broken'}, {self.events} events"
