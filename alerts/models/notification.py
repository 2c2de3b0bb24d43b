"""Where alerts are told, to whom, and every message with what became of it."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from alerts.models.alert import MLAlert
from alerts.states import DeliveryStatus, Severity
from mlops.tenancy.models import TenantModel


class Channel(TenantModel):
    """One receiver: a person's own e-mail, a shared address, or a webhook. Its row is the lock of its queue: one sender at a time."""

    class Kind(models.TextChoices):
        """How it is reached."""

        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"

    frozen_fields: ClassVar[tuple[str, ...]] = ("kind", "owner", "created_by")

    kind = models.CharField(max_length=8, choices=Kind.choices)
    name = models.CharField(max_length=100)
    target = models.CharField(max_length=2000, blank=True, help_text="Address or URL; empty for a person, whose account says it.")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    secret_salt = models.CharField(max_length=64, blank=True)
    secret_fingerprint = models.CharField(max_length=64, blank=True)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=300, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Failed attempts in a row.")
    paused_until = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True, help_text="Somebody is sending until then.")
    revision = models.PositiveIntegerField(default=1)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantModel.Meta):
        db_table = "alert_channels"
        ordering = ("name", "id")
        constraints = [
            models.UniqueConstraint(fields=["customer", "name"], condition=Q(deleted_at=None, owner=None), name="channel_name_is_unique"),
            models.UniqueConstraint(fields=["customer", "owner"], condition=Q(deleted_at=None), name="one_own_channel_per_person"),
            models.CheckConstraint(condition=Q(kind="email") | Q(kind="webhook", owner=None), name="a_persons_channel_is_e_mail"),
        ]

    def __str__(self) -> str:
        return self.name


class Subscription(TenantModel):
    """Which alerts a channel hears of."""

    channel = models.ForeignKey(Channel, on_delete=models.PROTECT, related_name="subscriptions")
    alert_types = models.JSONField(default=list, help_text="Empty: all of them.")
    min_severity = models.CharField(max_length=8, choices=Severity.choices, default=Severity.WARNING)
    immediate = models.BooleanField(default=True, help_text="A message for each alert.")
    digest = models.BooleanField(default=False, help_text="One message a day with what is open.")
    approvals = models.BooleanField(default=False, help_text="A message for each experiment or looser policy that waits for a manager.")
    enabled = models.BooleanField(default=True)
    revision = models.PositiveIntegerField(default=1)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "alert_subscriptions"
        ordering = ("created_at", "id")
        constraints = [models.CheckConstraint(condition=Q(min_severity__in=Severity.values), name="subscription_severity_is_known")]

    def __str__(self) -> str:
        return f"{self.channel}: {self.min_severity} and above"


class Delivery(TenantModel):
    """One message to one channel. Its text is fixed when it is written, so that every attempt sends the same bytes."""

    frozen_fields: ClassVar[tuple[str, ...]] = ("channel", "kind", "dedupe_key", "subject", "body", "created_at")

    class Kind(models.TextChoices):
        """What it tells."""

        ALERT = "alert", "Alert"
        DIGEST = "digest", "Digest"
        APPROVAL = "approval", "Approval"
        TEST = "test", "Test"

    channel = models.ForeignKey(Channel, on_delete=models.PROTECT, related_name="deliveries")
    alert = models.ForeignKey(MLAlert, null=True, blank=True, on_delete=models.PROTECT, related_name="deliveries")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    dedupe_key = models.CharField(max_length=200, help_text="What it tells of; once per channel.")
    subject = models.CharField(max_length=250, blank=True)
    body = models.TextField()
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    give_up_at = models.DateTimeField()
    last_status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The receiver's last HTTP status.")
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantModel.Meta):
        db_table = "alert_deliveries"
        verbose_name_plural = "deliveries"
        ordering = ("-created_at", "id")
        constraints = [
            models.UniqueConstraint(fields=["channel", "dedupe_key"], name="told_once_per_channel"),
            models.CheckConstraint(condition=Q(status__in=DeliveryStatus.values), name="delivery_status_is_known"),
        ]
        indexes = [
            models.Index(fields=["channel", "due_at", "created_at"], condition=Q(status="pending"), name="deliveries_due"),
            models.Index(fields=["customer", "channel", "-created_at"], name="deliveries_by_channel"),
            models.Index(fields=["customer", "status", "-created_at"], name="deliveries_by_status"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} for {self.channel}"
