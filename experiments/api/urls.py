"""Paths of training, below /api/v1/."""

from django.urls import re_path

from experiments.api import retraining

_MODEL = r"^models/(?P<model_name>[^/]+)"

urlpatterns = [
    re_path(rf"{_MODEL}/retrain/?\Z", retraining.Retrain.as_view(), name="model-retrain"),
    re_path(rf"{_MODEL}/retraining/?\Z", retraining.Retrainings.as_view(), name="model-retraining"),
]
