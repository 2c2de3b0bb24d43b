from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate, pre_migrate


class DatabaseConfig(AppConfig):
    """What the database itself enforces: the restricted role, row-level security, append-only and same-customer triggers."""

    name = "mlops.database"
    label = "database"

    def ready(self) -> None:
        from mlops.database import checks  # noqa: F401 - importing registers the checks
        from mlops.database.guards import install_after_migrate, remove_before_migrate

        # Django sends the signal for apps with models only, after all migrations of the run; one receiver is enough.
        post_migrate.connect(install_after_migrate, sender=apps.get_app_config("tenancy"))
        pre_migrate.connect(remove_before_migrate, sender=apps.get_app_config("tenancy"))
