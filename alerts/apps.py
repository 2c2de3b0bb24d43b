from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """Asks people: alerts, what approving one does, and how they hear of it."""

    name = "alerts"
    verbose_name = "Alerts"

    def ready(self) -> None:
        from alerts import subscribers, tasks  # noqa: F401 - importing makes subscribers, kinds of job and scheduled jobs known
