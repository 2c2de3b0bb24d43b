"""The door through which the broker brings a message back."""

from uuid import UUID

from celery import shared_task
from django.utils import timezone

from mlops.outbox import services


@shared_task
def handle_message(message_id: str, attempts: int) -> None:
    """Handle one outbox message, unless it has been attempted since it was sent."""
    services.handle(message_id=UUID(message_id), attempts=attempts, at=timezone.now())
