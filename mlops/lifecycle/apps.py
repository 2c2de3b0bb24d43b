from django.apps import AppConfig


class LifecycleConfig(AppConfig):
    """The one mechanism by which anything changes its status."""

    name = "mlops.lifecycle"
    label = "lifecycle"
