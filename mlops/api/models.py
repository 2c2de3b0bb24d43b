"""What the API remembers of itself."""

from django.db import models

from mlops.tenancy.models.base import TenantModel


class IdempotencyRecord(TenantModel):
    """The answer to a POST that named an `Idempotency-Key`; kept with what the POST did, in one transaction."""

    principal = models.CharField(max_length=254)
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body.")
    status = models.PositiveSmallIntegerField(default=0)
    answer = models.TextField(default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "idempotency_records"
        constraints = [models.UniqueConstraint(fields=["customer", "principal", "key"], name="idempotency_key_is_unique")]

    def __str__(self) -> str:
        return self.key
