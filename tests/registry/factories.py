"""Rows of the registry for tests: small, plausible, deterministic. Call them inside a customer's scope."""

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from unittest import mock

from mlops.jobs.models import Job, JobState
from mlops.tenancy.context import required
from mlops.tenancy.models import Membership
from mlops.tenancy.roles import Principal, Role, system
from registry.models import (
    BacktestResult,
    BacktestRun,
    Dataset,
    DatasetVersion,
    ForecastAccuracy,
    ModelVersion,
    PromotionRequest,
    RegisteredModel,
    RetrainingRun,
    Verdict,
)
from registry.rules.arena import Evidence, judge
from registry.rules.policy import parse
from registry.services import moves, promotion
from registry.services.registration import register_version
from tests.conftest import NOON

NOW = NOON
TODAY = NOW.date()
WINDOW = 90
SEGMENTS = {
    "dept_id": {
        "FOODS_1": 1.1,
        "FOODS_2": 0.9,
        "FOODS_3": 1.6,
        "HOBBIES_1": 0.8,
        "HOBBIES_2": 0.45,
        "HOUSEHOLD_1": 1.2,
        "HOUSEHOLD_2": 0.7,
    },
    "store_id": {"CA_1": 1.1, "CA_2": 0.95, "TX_1": 1.0, "WI_1": 1.05},
}
SERIES = [("FOODS_3_090", "CA_1"), ("FOODS_3_586", "TX_1"), ("HOBBIES_2_011", "WI_1"), ("FOODS_1_004", "CA_2"), ("HOUSEHOLD_1_110", "CA_1")]


def make_dataset(
    name: str = "m5_small",
    *,
    models: Sequence[RegisteredModel] = (),
    first_day: date = date(2024, 3, 1),
    last_day: date = TODAY,
    **mapped: str,
) -> DatasetVersion:
    """A data set with one ready version (its panel is not in the storage)."""
    mapping = {"shape": "long", "date": "date", "target": "units", "keys": ["item_id", "store_id"], "attributes": ["dept_id"]}
    mapping |= {"segments": ["dept_id", "store_id"], "price": "sell_price"} | mapped
    dataset = Dataset.objects.create(name=name, mapping=mapping, last_version_number=1, created_by="kim@example.com", created_at=NOW)
    for model in models:
        model.dataset = dataset
        model.save(update_fields=["dataset"])
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=1,
        status="ready",
        source_name="sales.csv",
        source_path="x/source",
        source_sha256="a" * 64,
        source_size=41_234_567,
        mapping=mapping,
        panel_path="x/panel.parquet",
        panel_sha256="b" * 64,
        rows=146_100,
        series=200,
        first_day=first_day,
        last_day=last_day,
        report=REPORT,
        profile=PROFILE,
        created_by="kim@example.com",
        created_at=NOW - timedelta(days=40),
    )


def make_model(name: str = "demand_forecast", **values: Any) -> RegisteredModel:
    """A model without versions."""
    given = {"display_name": "Demand forecast", "domain": "retail", "created_by": "kim@example.com", "created_at": NOW - timedelta(days=90)}
    return RegisteredModel.objects.create(name=name, **(given | values))


def make_version(model: RegisteredModel, *, at: datetime = NOW, by: Principal | None = None, **values: Any) -> ModelVersion:
    """A candidate, registered as the service does it."""
    given = {"algorithm": "lightgbm", "trained_through": (at - timedelta(days=1)).date(), "training_seconds": 84.2}
    given |= {"lineage": {"recipe": {"kind": "lightgbm", "rounds": 200}, "code": "0.1.0"}}
    return register_version(model=model, by=by or system(required(), name="trainer"), at=at, **(given | values))


def make_old_version(model: RegisteredModel, **values: Any) -> ModelVersion:
    """A candidate as it could be registered before its metrics and its label were looked at."""
    with mock.patch.multiple("registry.services.registration", _check_metrics=lambda _: None, _checked_label=lambda label: label):
        return make_version(model, **values)


def make_champion(model: RegisteredModel, *, at: datetime = NOW, **values: Any) -> ModelVersion:
    """A version that took the throne at that moment."""
    version = make_version(model, at=at, **values)
    promotion.promote(version_id=version.pk, by=system(required()), at=at, reason="The first version has nobody to beat.")
    version.refresh_from_db()
    return version


def make_run(
    version: ModelVersion,
    data: DatasetVersion,
    *,
    level: float,
    segments: dict[str, float] | None = None,
    back: int = 0,
    at: datetime = NOW,
) -> BacktestRun:
    """A backtest over 90 days whose MAE is about `level`, up to TODAY or `back` days earlier; `segments` scales single ones. A day that has
    a row already keeps it."""
    scale = segments or {}
    by_segment = {
        column: {name: _segment_metrics(level * size * scale.get(name, 1.0)) for name, size in sizes.items()}
        for column, sizes in SEGMENTS.items()
    }
    edges = [float(edge) for edge in range(-10, 11)]
    counts = [round(4000 * math.exp(-((edge + 0.5) ** 2) / (2 * (level * 1.6) ** 2)), 0) for edge in edges[:-1]]
    worst = [
        {
            "series": number,
            "item_id": item,
            "store_id": store,
            "n": 90,
            "mae": level * (4 - number / 2),
            "wape": 0.6,
            "bias_pct": -12.0,
            "sum_abs_error": level * 360,
        }
        for number, (item, store) in enumerate(SERIES)
    ]
    run = BacktestRun.objects.create(
        version=version,
        dataset_version=data,
        purpose="judge",
        window_start=TODAY - timedelta(days=WINDOW + back),
        window_end=TODAY - timedelta(days=1 + back),
        horizon=7,
        metrics=_window_metrics(level),
        by_segment=by_segment,
        worst_series=worst,
        error_histogram={"edges": edges, "counts": counts},
        fits=4,
        seconds=61.0,
        created_at=at,
    )
    BacktestResult.objects.bulk_create(
        [
            BacktestResult(
                version_ref=version,
                run=run,
                model_name=version.model_name,
                model_version=version.version,
                forecast_date=run.window_start + timedelta(days=day),
                created_at=NOW,
                **_daily(level, day, version.number),
            )
            for day in range(WINDOW)
        ],
        ignore_conflicts=True,
    )
    return run


def _window_metrics(level: float) -> dict[str, float]:
    return {
        "mae": level,
        "rmse": level * 1.7,
        "mape": 9.0 * level,
        "wape": 0.07 * level,
        "mase": 0.2 * level,
        "rmsse": 0.22 * level,
        "bias_pct": -0.8,
        "coverage": 0.905,
        "stockout_miss_rate": 0.031,
        "overstock_rate": 0.042,
        "value_over_naive_pct": 100 * (1 - 0.2 * level),
        "worst_origin_mae": 1.3 * level,
    }


def make_accuracy(version: ModelVersion, *, level: float, days: int = 40, drifted: float = 1.0) -> None:
    """Validated days up to TODAY; the last seven scaled by `drifted`."""
    ForecastAccuracy.objects.bulk_create(
        [
            ForecastAccuracy(
                version_ref=version,
                model_name=version.model_name,
                model_version=version.version,
                forecast_date=TODAY - timedelta(days=days - day),
                created_at=NOW,
                **_daily(level * (drifted if day >= days - 7 else 1.0), day, version.number),
            )
            for day in range(days)
        ]
    )


def make_verdict(
    version: ModelVersion, champion: ModelVersion, *, p_value: float = 0.004, gates: list[dict[str, Any]] | None = None
) -> Verdict:
    """What the rule says about the newest runs of both; with `gates`, as it was written down by them."""
    run, against_run = (one.backtest_runs.order_by("-created_at").first() for one in (version, champion))
    policy = parse(version.model.policy)
    judgement = judge(_evidence(version, run), _evidence(champion, against_run), policy, p_value=p_value, p_method="Diebold–Mariano")
    return Verdict.objects.create(
        version=version,
        against=champion,
        run=run,
        against_run=against_run,
        policy=policy.to_json(),
        policy_revision=version.model.policy_revision,
        gates=gates or judgement.gates_json(),
        passed=judgement.passed,
        summary=judgement.summary,
        trigger="manual",
        created_at=NOW + timedelta(seconds=bool(gates)),
    )


def make_request(version: ModelVersion, *, by: Principal, reason: str = "Better in every department.") -> PromotionRequest:
    """A promotion that waits; the model's policy has to want four eyes."""
    request = promotion.promote(version_id=version.pk, by=by, at=NOW, reason=reason).request
    assert request is not None
    return request


def make_retraining(
    model: RegisteredModel, *, produced: ModelVersion | None = None, status: str = "completed", **values: Any
) -> RetrainingRun:
    """A line of the retraining log."""
    given = {
        "trigger_type": "scheduled",
        "requested_by": "schedule",
        "started_at": NOW - timedelta(hours=9),
        "completed_at": None if status in ("queued", "running") else NOW - timedelta(hours=8, minutes=50),
        "version_produced": produced.version if produced else "",
    }
    return RetrainingRun.objects.create(model=model, model_name=model.name, produced=produced, status=status, **(given | values))


def make_job(kind: str = "retrain", *, label: str = "Retrain demand_forecast", **values: Any) -> Job:
    """A job of the customer's."""
    given = {
        "state": JobState.RUNNING,
        "progress": 0.42,
        "progress_text": "backtesting v13: origin 6 of 13",
        "requested_by": "kim@example.com",
    }
    given |= {"due_at": NOW, "created_at": NOW, "started_at": NOW, "attempt": 1}
    return Job.objects.create(customer_id=required(), kind=kind, label=label, **(given | values))


def make_arena(
    *, policy: dict[str, Any] | None = None, better: float = 0.93, segments: dict[str, float] | None = None
) -> tuple[ModelVersion, ModelVersion]:
    """A model with a deprecated baseline, a champion and a judged challenger: (champion, challenger)."""
    model = make_model(policy=policy or {})
    data = make_dataset(models=[model])
    make_champion(model, at=NOW - timedelta(days=60), algorithm="seasonal_naive", dataset_version=data)
    champion = make_version(model, at=NOW - timedelta(days=25), dataset_version=data)
    promotion.promote(version_id=champion.pk, by=system(required()), at=NOW - timedelta(days=25), reason="All gates passed.")
    champion.refresh_from_db()
    challenger = make_version(model, at=NOW - timedelta(hours=9), dataset_version=data, parent=champion)
    moves.challenge(version_id=challenger.pk, by=system(required()), at=NOW - timedelta(hours=8), reason="Judged by the arena.")
    challenger.refresh_from_db()
    make_run(champion, data, level=1.31)
    make_run(challenger, data, level=1.31 * better, segments=segments)
    make_verdict(challenger, champion)
    make_accuracy(champion, level=1.36)
    make_retraining(model, produced=challenger)
    return champion, challenger


def make_person(email: str, role: str, password: str) -> Principal:
    """Another member of the customer."""
    from mlops.tenancy import services
    from mlops.tenancy.models import Customer

    customer = Customer.objects.get(pk=required())
    membership: Membership = services.create_member(customer=customer, email=email, role=Role(role), password=password, at=NOW)
    return Principal(kind="user", name=email, role=Role(role), customer_id=customer.pk, user_id=membership.user_id)


def _evidence(version: ModelVersion, run: BacktestRun | None) -> Evidence | None:
    if run is None:
        return None
    segments = {column: {name: values["mae"] for name, values in rows.items()} for column, rows in run.by_segment.items()}
    return Evidence(version.version, run.metrics, {}, segments)


def _segment_metrics(mae: float) -> dict[str, Any]:
    return {"mae": mae, "wape": 0.07 * mae, "bias_pct": -0.8, "n": 2600, "sum_actual": 9000.0}


def _daily(level: float, day: int, seed: int) -> dict[str, Any]:
    week = 1 + 0.18 * math.sin(2 * math.pi * day / 7)
    wobble = 1 + 0.09 * math.sin(day * 1.7 + seed)
    mae = level * week * wobble
    return {
        "mae": mae,
        "mape": 9.0 * mae,
        "wape": 0.07 * mae,
        "rmse": 1.7 * mae,
        "bias_pct": 4 * math.sin(day / 5),
        "coverage": 0.9,
        "stockout_miss_rate": 0.03,
        "overstock_rate": 0.04,
        "n": 200,
        "sum_actual": 2857.0,
        "sum_error": -20.0,
        "sum_abs_error": 200 * mae,
    }


REPORT = {
    "rows_read": 146_250,
    "rows_kept": 146_100,
    "left_out": {"no target": 150},
    "series": 200,
    "days": 731,
    "panel_rows": 146_100,
    "first_day": "2024-03-01",
    "last_day": "2026-03-02",
    "closed_days": 8,
    "source": {"format": "csv", "encoding": "utf-8", "delimiter": ","},
    "problems": [
        {
            "code": "missing_price",
            "message": "1.2 % of the rows have no price.",
            "severity": "warning",
            "column": "sell_price",
            "rows": 1755,
            "examples": [],
        }
    ],
}
PROFILE = {
    "rows": 146_250,
    "columns": [
        {
            "name": name,
            "dtype": "text",
            "kind": kind,
            "missing": missing,
            "distinct": distinct,
            "whole": whole,
            "examples": examples,
            "date_format": None,
            "decimal": ".",
        }
        for name, kind, missing, distinct, whole, examples in [
            ("date", "date", 0, 731, False, ["2024-03-01", "2024-03-02"]),
            ("item_id", "text", 0, 50, False, ["FOODS_3_090", "HOBBIES_2_011"]),
            ("store_id", "text", 0, 4, False, ["CA_1", "TX_1"]),
            ("dept_id", "text", 0, 7, False, ["FOODS_3", "HOBBIES_2"]),
            ("units", "number", 150, 96, True, ["0", "3", "17"]),
            ("sell_price", "number", 1755, 214, False, ["1.97", "4.64"]),
        ]
    ],
    "problems": [],
    "preview": [
        ["2024-03-01", "FOODS_3_090", "CA_1", "FOODS_3", "3", "1.97"],
        ["2024-03-02", "FOODS_3_090", "CA_1", "FOODS_3", "0", "1.97"],
    ],
    "source": {"format": "csv"},
}
