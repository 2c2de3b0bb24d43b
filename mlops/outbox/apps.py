from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """News, written with the act it tells of and delivered at least once."""

    name = "mlops.outbox"
    label = "outbox"
