"""Messages and who has handled them. Platform tables: the relay serves all customers."""

import uuid

from django.db import models


class Message(models.Model):
    """One event. Written in the transaction of the act; the row is the promise that every subscriber will be told."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey("tenancy.Customer", on_delete=models.PROTECT, related_name="+")
    topic = models.CharField(max_length=80)
    payload = models.JSONField()
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField(help_text="When the relay sends it next; a lease while a worker has it.")
    attempts = models.PositiveIntegerField(default=0)
    handled_at = models.DateTimeField(null=True, blank=True)
    dead_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        db_table = "outbox_messages"
        ordering = ("created_at", "id")
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(handled_at=None, dead_at=None), name="outbox_due"),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.id}"


class Handled(models.Model):
    """That one subscriber has handled one message; written in the subscriber's transaction, so it happens once."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="handled")
    subscriber = models.CharField(max_length=100)
    at = models.DateTimeField()

    class Meta:
        db_table = "outbox_handled"
        constraints = [models.UniqueConstraint(fields=["message", "subscriber"], name="handled_once")]

    def __str__(self) -> str:
        return f"{self.subscriber}: {self.message_id}"
