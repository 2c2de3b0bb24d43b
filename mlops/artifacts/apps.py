from django.apps import AppConfig


class ArtifactsConfig(AppConfig):
    """Where files live, and how they are checked before anybody trusts them."""

    name = "mlops.artifacts"
    label = "artifacts"
