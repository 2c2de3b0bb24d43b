"""The registry in numbers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Sum

from registry.models import ModelVersion, PromotionRequest, RegisteredModel
from registry.rules.metrics import measured
from registry.states import RequestStatus, VersionStatus


@dataclass(frozen=True)
class Statistics:
    """Totals; averages are plain means over the champions that have the metric, `metric_counts` says how many those are."""

    total_models: int
    total_versions: int
    production_models: int
    by_status: dict[str, int]
    by_task: dict[str, int]
    by_model_type: dict[str, int]
    average_production_metrics: dict[str, float]
    metric_counts: dict[str, int]
    pending_promotion_requests: int


def statistics() -> Statistics:
    """Four queries; reads one row per model and one per champion, and counts versions on an index."""
    kinds: Any = RegisteredModel.objects.order_by().values_list("task", "model_type")
    rows = list(kinds.annotate(n=Count("pk"), versions=Sum("last_version_number")))
    counts: Any = ModelVersion.objects.order_by().values_list("status").annotate(n=Count("pk"))
    by_status = {**dict.fromkeys(VersionStatus.values, 0), **dict(counts)}
    values: dict[str, list[float]] = defaultdict(list)
    champions = ModelVersion.objects.filter(status=VersionStatus.CHAMPION).order_by().values_list("metrics", flat=True)
    for metrics in champions:
        for name, value in metrics.items():
            if (finite := measured(name, value)) is not None:
                values[name].append(finite)
    by_task, by_type = dict.fromkeys(RegisteredModel.Task.values, 0), dict.fromkeys(RegisteredModel.Type.values, 0)
    for task, model_type, count, _ in rows:
        by_task[task] += count
        by_type[model_type] += count
    return Statistics(
        total_models=sum(by_task.values()),
        total_versions=sum(versions or 0 for *_, versions in rows),
        production_models=by_status[VersionStatus.CHAMPION],
        by_status=by_status,
        by_task=by_task,
        by_model_type=by_type,
        average_production_metrics={name: _mean(found) for name, found in sorted(values.items())},
        metric_counts={name: len(found) for name, found in sorted(values.items())},
        pending_promotion_requests=PromotionRequest.objects.filter(status=RequestStatus.PENDING).count(),
    )


def _mean(values: Sequence[float]) -> float:
    """Divided first: the sum of metrics that people registered may lie beyond the largest float."""
    return sum(value / len(values) for value in values)
