"""Paths of training, below /v1/."""

from django.urls import URLPattern

from experiments.api.training.models import model_urls
from experiments.api.training.predict import predict_urls
from experiments.api.training.splits import split_urls
from experiments.api.training.studies import study_urls
from experiments.api.training.trials import trial_urls

urlpatterns: list[URLPattern] = [*split_urls, *study_urls, *trial_urls, *model_urls, *predict_urls]
