"""Both sides of the arena in numbers: backtests that can be compared, and their days."""

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q

from registry.models import BacktestResult, BacktestRun, ModelVersion
from registry.queries.arena_page import Arena
from registry.queries.backtests import MOST_RUNS, newest_pair

METRICS = ("mae", "wape", "bias_pct", "coverage", "stockout_miss_rate", "overstock_rate")
GROUND = ("version_id", "dataset_version_id", "window_start", "window_end", "horizon", "options")


@dataclass(frozen=True)
class Side:
    """One version in the arena, with a backtest and the days of its window."""

    version: ModelVersion
    run: BacktestRun | None
    days: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, float | None]:
        """Of the backtest; of the registration where there is none."""
        return dict(self.run.metrics) if self.run else {name: value for name, value in self.version.metrics.items() if _is_number(value)}


@dataclass(frozen=True)
class Sides:
    """The champion and the version beside it."""

    champion: Side | None
    chosen: Side | None

    @property
    def comparable(self) -> bool:
        """Whether both were backtested on the same window, data, truth and horizon."""
        runs = [side.run for side in (self.champion, self.chosen) if side and side.run]
        return len(runs) == 2 and runs[0].ground == runs[1].ground


def sides_of(arena: Arena) -> Sides:
    """The champion and the chosen version with the backtests of the verdict, else the newest on the same ground, else each one's newest.

    Two queries, or three where the verdict names no pair.
    """
    versions = [one for one in (arena.champion, arena.chosen) if one]
    runs = {run.version_id: run for run in _runs(arena, versions)}
    days: dict[Any, list[dict[str, Any]]] = {}
    windows = [Q(version_ref=run.version_id, forecast_date__range=(run.window_start, run.window_end)) for run in runs.values()]
    if windows:
        rows = BacktestResult.objects.filter(reduce(or_, windows)).order_by("forecast_date")
        for row in rows.values("version_ref_id", "forecast_date", "n", *METRICS)[:2000]:
            days.setdefault(row["version_ref_id"], []).append(row)
    champion, chosen = (Side(one, runs.get(one.pk), days.get(one.pk, [])) if one else None for one in (arena.champion, arena.chosen))
    return Sides(champion, chosen)


def _runs(arena: Arena, versions: list[ModelVersion]) -> list[BacktestRun]:
    verdict = arena.verdict
    judged = [run for run in (verdict.run_id, verdict.against_run_id) if run] if verdict else []
    shown = judged if len(judged) == 2 else _newest(arena, versions)
    return list(BacktestRun.objects.filter(pk__in=shown).select_related("dataset_version__dataset")) if shown else []


def _newest(arena: Arena, versions: list[ModelVersion]) -> list[Any]:
    """Ids of the newest pair on the same ground; where there is none, of each one's newest run, which says little beside the other."""
    runs = list(BacktestRun.objects.filter(version__in=versions).order_by("-created_at", "pk").only(*GROUND)[: 2 * MOST_RUNS])
    pair = newest_pair(runs, arena.champion, arena.chosen) if arena.champion and arena.chosen else None
    newest: dict[Any, BacktestRun] = {}
    for run in pair or runs:
        newest.setdefault(run.version_id, run)
    return [run.pk for run in newest.values()]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
