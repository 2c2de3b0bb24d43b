"""The metrics of every version as one table, for reports outside."""

from typing import Any

from experiments.queries.versions import versions
from registry.rules.metrics import measured
from registry.states import STAGES, VersionStatus

FACTS = ("model", "version", "stage", "status", "task", "algorithm", "tier", "trained_through", "created_at", "promoted_at")


def metrics_report(*, production_only: bool = False) -> tuple[list[str], list[dict[str, Any]]]:
    """Names of the columns, and a row for each version that was not deleted: facts first, then every metric that any of them has; None
    where one has none that could be. One query."""
    found = versions().order_by("model_name", "-number", "pk")
    if production_only:
        found = found.filter(status=VersionStatus.CHAMPION)
    rows = [_row(version) for version in found.iterator(chunk_size=1000)]
    metrics = sorted({name for row in rows for name in row} - set(FACTS))
    columns = [*FACTS, *metrics]
    return columns, [{name: row.get(name) for name in columns} for row in rows]


def _row(version: Any) -> dict[str, Any]:
    values = {f"metric:{name}" if name in FACTS else name: measured(name, value) for name, value in version.metrics.items()}
    return {
        **{name: value for name, value in values.items() if value is not None},
        "model": version.model_name,
        "version": version.version,
        "stage": STAGES[version.status],
        "status": version.status,
        "task": version.model.task,
        "algorithm": version.algorithm,
        "tier": version.metrics.get("tier"),
        "trained_through": version.trained_through,
        "created_at": version.created_at,
        "promoted_at": version.promoted_at,
    }
