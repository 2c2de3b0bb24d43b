from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Long work: our rows own it, the broker carries their ids."""

    name = "mlops.jobs"
    label = "jobs"
