from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class JobsConfig(AppConfig):
    """Long work: our rows own it, the broker carries their ids."""

    name = "mlops.jobs"
    label = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        from mlops import celery  # noqa: F401 - importing makes it the current app, so that every process publishes to our broker

        post_migrate.connect(_install_schedules, sender=self)


def _install_schedules(*, using: str, **_: Any) -> None:
    from django.db import connections

    from mlops.jobs.schedules import install_for_everybody

    existing = set(connections[using].introspection.table_names())
    if {"schedules", "django_celery_beat_periodictask"} <= existing:  # `migrate some_app` may come before the others
        install_for_everybody()
