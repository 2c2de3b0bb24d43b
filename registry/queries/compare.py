"""Versions side by side, by what they were registered with. Which one is better is for the gates: they measure both on the same days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from mlops.errors import InvalidField
from registry.models import BacktestRun, ModelVersion, RegisteredModel
from registry.queries.versions import versions_of
from registry.rules.metrics import DEFAULT_METRICS, Direction, badness, direction_of, measured
from registry.services.lookups import version_of

MOST = 20
OTHER_DAYS = "Not all were measured on the same days here, so a difference may be the days'. The gates judge on the same ones."

Days = tuple[date, date]


@dataclass(frozen=True)
class Compared:
    """One version's place. `difference_pct` is its value against the best one's, percent of the best one's size."""

    version: ModelVersion
    value: float | None
    best: bool
    difference_pct: float | None
    days: Days | None
    """First and last day of the version's first backtest, which its metrics come from; None for one that was never backtested."""


@dataclass(frozen=True)
class Metric:
    """One metric over all compared versions; `best` names labels, several when they tie."""

    direction: Direction | None
    best: list[str]
    values: dict[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """The versions in order, and every metric any of them has."""

    model: RegisteredModel
    metric: str
    direction: Direction | None
    order: str
    rows: list[Compared]
    metrics: dict[str, Metric]

    @property
    def note(self) -> str:
        """What to bear in mind about forecasts whose values come from different days; empty where they do not."""
        measured_on = {row.days for row in self.rows if row.value is not None}
        return OTHER_DAYS if self.model.task == "forecast" and len(measured_on) > 1 else ""


def compare(model: RegisteredModel, *, references: Sequence[str] = (), metric: str = "", order: str = "") -> Comparison:
    """Compare the named versions, or the newest ten, by a metric (default: the task's own); the best first unless an order is given.

    Versions without the metric come last. Raises NotFound, or InvalidField for a metric that none of them has, or too many versions.
    """
    if len(references) > MOST:
        raise InvalidField("versions", f"At most {MOST} versions are compared at once.")
    found = [version_of(model, reference) for reference in references] if references else list(versions_of(model)[:10])
    versions = list({version.pk: version for version in found}.values())
    names = sorted({name for version in versions for name, value in version.metrics.items() if measured(name, value) is not None})
    usual = DEFAULT_METRICS[model.task]
    chosen = metric or next((name for name in (*usual, *names) if name in names), usual[-1])
    if metric and metric not in names:
        raise InvalidField("metric", f"None of these versions has this metric. They have: {', '.join(names[:50]) or 'none'}.")
    metrics = {name: _metric(name, versions) for name in names}
    direction = direction_of(chosen)
    best = metrics[chosen].best if chosen in metrics else []
    days = _days(versions)
    rows = [_row(version, chosen, best, metrics, days.get(version.pk)) for version in versions]
    return Comparison(model, chosen, direction, order or "best", _ordered(rows, direction, order), metrics)


def _metric(name: str, versions: Sequence[ModelVersion]) -> Metric:
    values = {version.version: measured(name, version.metrics.get(name)) for version in versions}
    direction = direction_of(name)
    known = {label: value for label, value in values.items() if value is not None}
    if direction is None or not known:
        return Metric(direction, [], values)
    least = min(badness(value, direction) for value in known.values())
    return Metric(direction, [label for label, value in known.items() if badness(value, direction) == least], values)


def _days(versions: Sequence[ModelVersion]) -> dict[UUID, Days]:
    runs = BacktestRun.objects.filter(version__in=versions).order_by("-created_at", "-pk")  # the first of each is written last
    return {version_id: (first, last) for version_id, first, last in runs.values_list("version_id", "window_start", "window_end")}


def _row(version: ModelVersion, metric: str, best: Sequence[str], metrics: dict[str, Metric], days: Days | None) -> Compared:
    value = measured(metric, version.metrics.get(metric))
    reference = metrics[metric].values[best[0]] if best else None
    known = value is not None and reference
    difference = 100 * (value - reference) / abs(reference) if known and value is not None and reference else None
    return Compared(version, value, version.version in best, difference, days)


def _ordered(rows: Sequence[Compared], direction: Direction | None, order: str) -> list[Compared]:
    def key(row: Compared) -> Any:
        if row.value is None:
            return (1, 0.0, -row.version.number)
        if order:
            return (0, -row.value if order == "desc" else row.value, -row.version.number)
        return (0, badness(row.value, direction) if direction else 0.0, -row.version.number)

    return sorted(rows, key=key)
