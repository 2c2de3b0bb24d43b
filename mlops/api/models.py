"""What the API remembers of itself."""

import uuid

from django.db import models

from mlops.tenancy.models.base import TenantModel


class IdempotencyRecord(TenantModel):
    """A POST that named an `Idempotency-Key`: claimed before the act, by one request at a time, and its answer once there is one.

    `status` 0 means that there is no answer: the request is under way until `expires_at`, or was killed. `performed_at` is written in the
    transaction of the act itself, so that nobody performs it again even where the answer was lost.
    """

    principal = models.CharField(max_length=254)
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body.")
    claim = models.UUIDField(default=uuid.uuid4, help_text="Of the request that performs it; a later one takes over with another.")
    expires_at = models.DateTimeField(help_text="From then on a claim without an answer may be taken over.")
    performed_at = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(default=0)
    answer = models.TextField(default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "idempotency_records"
        constraints = [models.UniqueConstraint(fields=["customer", "principal", "key"], name="idempotency_key_is_unique")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_by_age")]

    def __str__(self) -> str:
        return self.key
