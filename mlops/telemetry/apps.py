from django.apps import AppConfig


class TelemetryConfig(AppConfig):
    """What the system says about itself: ids, metrics, health."""

    name = "mlops.telemetry"
    label = "telemetry"
