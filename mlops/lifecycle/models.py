"""The history of every life cycle, one row per move."""

from django.db import models

from mlops.tenancy.models.base import TenantModel


class Move(TenantModel):
    """One step of one object. `sequence` counts the moves of its stream (a model's versions share one) from 1 without gaps."""

    append_only = True

    stream_id = models.UUIDField(help_text="The object whose lock orders the moves, e.g. the registered model.")
    sequence = models.PositiveIntegerField()
    object_type = models.CharField(max_length=80)
    object_id = models.UUIDField()
    object_label = models.CharField(max_length=300)
    source = models.CharField(max_length=30)
    target = models.CharField(max_length=30)
    actor = models.CharField(max_length=254)
    on_behalf_of = models.CharField(max_length=254, blank=True)
    reason = models.TextField(blank=True)
    details = models.JSONField(default=dict)
    occurred_at = models.DateTimeField()
    audit_number = models.PositiveBigIntegerField(help_text="The audit event written with the move.")

    class Meta(TenantModel.Meta):
        db_table = "lifecycle_moves"
        ordering = ("stream_id", "sequence", "id")
        constraints = [models.UniqueConstraint(fields=["customer", "stream_id", "sequence"], name="move_sequence_is_unique")]
        indexes = [
            models.Index(fields=["customer", "object_id", "sequence"], name="moves_by_object"),
            models.Index(fields=["customer", "stream_id", "target", "-occurred_at"], name="moves_by_target"),
        ]

    def __str__(self) -> str:
        return f"{self.object_label}: {self.source} → {self.target}"
