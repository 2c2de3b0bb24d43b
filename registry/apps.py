from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """Models, versions, evidence, the arena, promotion."""

    name = "registry"
    verbose_name = "Registry"

    def ready(self) -> None:
        from registry import checks, tasks  # noqa: F401 - importing registers the checks, and makes the scheduled jobs known
