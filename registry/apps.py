from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """Models, versions, evidence, the arena, promotion."""

    name = "registry"
    verbose_name = "Registry"

    def ready(self) -> None:
        from registry import tasks  # noqa: F401 - importing makes the scheduled jobs known
