"""Paths of the registry, below /api/v1/. Literals come before names."""

from registry.api.datasets import dataset_urls

urlpatterns = [*dataset_urls]
