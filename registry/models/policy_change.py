"""A wish for a promotion policy that asks for less: under four eyes it takes effect only when another manager agrees."""

from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q

from mlops.tenancy.models import TenantModel
from registry.models.model import RegisteredModel
from registry.states import DECIDED_REQUESTS, RequestStatus


class PolicyChangeRequest(TenantModel):
    """Looser settings of one model's policy. At most one pending request names a setting: a later wish overtakes the earlier."""

    undeletable: ClassVar[bool] = True
    frozen_fields: ClassVar[tuple[str, ...]] = (
        "model",
        "before",
        "after",
        "policy_revision",
        "reason",
        "requested_by",
        "requested_by_id",
        "requested_at",
    )
    settled_states: ClassVar[tuple[str, ...]] = DECIDED_REQUESTS
    settled_fields: ClassVar[tuple[str, ...]] = ("status", "decided_by", "decided_at", "decision_reason")

    model = models.ForeignKey(RegisteredModel, on_delete=models.PROTECT, related_name="policy_requests")
    status = models.CharField(max_length=10, choices=RequestStatus.choices, default=RequestStatus.PENDING)
    before = models.JSONField(help_text="The settings it would loosen, as they stood.")
    after = models.JSONField(help_text="The same settings, as they are wished.")
    policy_revision = models.PositiveIntegerField(help_text="The revision of the policy it was asked under.")
    reason = models.TextField(blank=True)
    requested_by = models.CharField(max_length=254)
    requested_by_id = models.UUIDField(null=True)
    requested_at = models.DateTimeField()
    decided_by = models.CharField(max_length=254, blank=True)
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.TextField(blank=True)

    class Meta(TenantModel.Meta):
        db_table = "policy_change_requests"
        ordering = ("requested_at", "id")
        constraints = [models.CheckConstraint(condition=Q(status__in=RequestStatus.values), name="policy_request_status_is_known")]
        indexes = [models.Index(fields=["customer", "status", "requested_at"], name="policy_requests_by_status")]

    def __str__(self) -> str:
        return f"Policy of {self.model}"

    @property
    def stream_id(self) -> UUID:
        """A request's moves are its own stream."""
        return self.pk

    @property
    def settings(self) -> list[tuple[str, Any, Any]]:
        """Name, value before, value after."""
        return [(name, self.before.get(name), value) for name, value in self.after.items()]
