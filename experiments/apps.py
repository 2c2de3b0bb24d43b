from django.apps import AppConfig


class ExperimentsConfig(AppConfig):
    """Training and retraining; proposals, splits and studies live here too."""

    name = "experiments"
    verbose_name = "Experiments"

    def ready(self) -> None:
        from experiments import tasks  # noqa: F401 - importing makes the scheduled jobs known
        from experiments.services import tabular_judging  # noqa: F401 - importing makes the court of tables known
