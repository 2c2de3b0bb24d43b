from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The rules every endpoint keeps."""

    name = "mlops.api"
    label = "api"

    def ready(self) -> None:
        from mlops.api import schema  # noqa: F401 - importing registers the schema extensions
