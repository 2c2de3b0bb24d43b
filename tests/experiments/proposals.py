"""Experiments in every status, made by the services, and versions to try in them."""

from datetime import timedelta
from typing import Any

from experiments.models import Experiment
from experiments.services import concluding, deciding, proposing, running
from mlops.tenancy.roles import Principal, system
from registry.models import BacktestRun, BacktestSegment, DatasetVersion, ModelVersion
from tests.registry.factories import NOW, TODAY

SCIENTIST = "jane.doe@shelfops.com"


def make_experiment(by: Principal, status: str = "proposed", **values: Any) -> Experiment:
    """An experiment that came to its status by legal moves; somebody else than `by` proposed it."""
    scientist = system(by.customer_id, name=SCIENTIST)
    given: dict[str, Any] = {
        "experiment_name": "Department-Tiered Forecasting",
        "hypothesis": "Electronics demand differs from Grocery.",
        "experiment_type": "segmentation",
    }
    experiment = proposing.propose(by=scientist, at=NOW, **(given | values))
    for step in ROADS[status]:
        STEPS[step](experiment, by)
    experiment.refresh_from_db()
    return experiment


STEPS: dict[str, Any] = {
    "approved": lambda one, by: deciding.approve(experiment_id=one.pk, by=by, at=NOW, rationale="Top 500 only."),
    "rejected": lambda one, by: deciding.reject(experiment_id=one.pk, by=by, at=NOW, rationale="Too dear."),
    "in_progress": lambda one, by: running.start(experiment_id=one.pk, by=by, at=NOW, reason="Begun."),
    "shadow_testing": lambda one, by: running.shadow_test(experiment_id=one.pk, by=by, at=NOW, reason="In shadow."),
    "rolled_back": lambda one, by: running.roll_back(experiment_id=one.pk, by=by, at=NOW, rationale="It broke."),
    "completed": lambda one, by: concluding.complete(experiment_id=one.pk, decision="reject", decision_rationale="No gain.", by=by, at=NOW),
}
ROADS: dict[str, tuple[str, ...]] = {
    "proposed": (),
    "approved": ("approved",),
    "rejected": ("rejected",),
    "in_progress": ("approved", "in_progress"),
    "shadow_testing": ("approved", "in_progress", "shadow_testing"),
    "completed": ("approved", "in_progress", "shadow_testing", "completed"),
    "rolled_back": ("approved", "in_progress", "rolled_back"),
}


def make_days(version: ModelVersion, data: DatasetVersion, maes: list[float], **values: Any) -> BacktestRun:
    """A backtest of the version whose daily MAE are these, up to TODAY."""
    start = TODAY - timedelta(days=len(maes) - 1)
    run = BacktestRun.objects.create(
        version=version,
        dataset_version=data,
        purpose="judge",
        window_start=start,
        window_end=TODAY,
        horizon=values.pop("horizon", 7),
        metrics={"mae": sum(maes) / len(maes)},
        seconds=1.0,
        created_at=NOW + timedelta(hours=1),  # the newest of the version's
        **values,
    )
    sums = {"segment_column": "overall", "segment": "overall", "n": 10, "sum_actual": 100.0, "sum_error": 0.0}
    BacktestSegment.objects.bulk_create(
        BacktestSegment(run=run, forecast_date=start + timedelta(days=day), sum_abs_error=10 * mae, **sums) for day, mae in enumerate(maes)
    )
    return run
