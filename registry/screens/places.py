"""Where things have pages of their own."""

from typing import Any

from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from registry.models import ModelVersion
from registry.services.lookups import as_uuid

PAGES = {
    "dataset": "admin:registry_dataset_page",
    "dataset_version": "admin:registry_datasetversion_change",
    "verdict": "admin:registry_verdict_change",
    "backtest": "admin:registry_backtestrun_change",
    "champion_backtest": "admin:registry_backtestrun_change",
    "retraining": "admin:registry_retrainingrun_change",
    "split": "admin:experiments_split",
    "study": "admin:experiments_study",
    "experiment": "admin:experiments_page",
}
"""What a lineage and a decision call the things they refer to, and the page of each."""


def linked(name: str, value: Any) -> str | SafeString:
    """What a lineage or a decision refers to: a link to its page where it is the id of something that has one."""
    identifier = as_uuid(value) if isinstance(value, str) else None
    url = address(PAGES[name], identifier) if identifier and name in PAGES else ""
    return format_html('<a href="{}">{}</a>', url, value) if url else str(value)


def model_page_of(version: ModelVersion) -> str:
    """The model's page with the version beside the champion."""
    return f"{reverse('admin:registry_model_page', args=[version.model_id])}?version={version.version}"


def address(name: str, *args: Any) -> str:
    """An address by name; empty where the app that serves it is not installed."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""
