"""Backtests over time."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Max

from registry.models import BacktestResult, BacktestRun, ModelVersion

LONGEST_DAYS = 730
MOST_RUNS = 100
"""How far back, per version, common ground is looked for."""


@dataclass(frozen=True)
class Series:
    """Rows of the last `days` days up to the newest forecast date, oldest first, and the run most of them came from."""

    version: ModelVersion
    days: int
    rows: list[BacktestResult]
    run: BacktestRun | None


def series_of(version: ModelVersion, *, days: int) -> Series:
    """Three queries on an index; at most `days` rows. The window ends with the data, not with today: history can be looked at too."""
    results = BacktestResult.objects.filter(version_ref=version)
    newest: date | None = results.aggregate(newest=Max("forecast_date"))["newest"]
    run = BacktestRun.objects.filter(version=version).order_by("-created_at", "pk").first()
    if newest is None:
        return Series(version, days, [], run)
    return Series(version, days, list(results.filter(forecast_date__gt=newest - timedelta(days=days)).order_by("forecast_date")), run)


def newest_pair(runs: Iterable[BacktestRun], one: ModelVersion, other: ModelVersion) -> tuple[BacktestRun, BacktestRun] | None:
    """Of both versions' runs, those of each newest first: the newest of `other` that has a match of `one` on the same ground, that match
    before it."""
    known = list(runs)
    matches: dict[Any, BacktestRun] = {}
    for run in known:
        if run.version_id == one.pk:
            matches.setdefault(run.ground, run)
    found = next((run for run in known if run.version_id == other.pk and run.ground in matches), None)
    return (matches[found.ground], found) if found else None
