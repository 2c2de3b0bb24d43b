"""API keys: shown once, stored as a digest."""

import uuid

from django.db import models

from mlops.tenancy.models.people import Customer, User
from mlops.tenancy.roles import Role


class ApiKey(models.Model):
    """A program's way in. Platform table: the key is looked up before its customer is known."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="api_keys")
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="api_keys")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=20, choices=Role.choices)
    prefix = models.CharField(max_length=16, help_text="The first characters, to recognize the key by.")
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the whole key.")
    created_by = models.CharField("made by", max_length=254, blank=True, help_text="Empty: the platform's own commands.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        ordering = ("-created_at", "id")
        constraints = [models.CheckConstraint(condition=models.Q(role__in=Role.values), name="api_key_role_is_known")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
