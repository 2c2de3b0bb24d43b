"""A small made-up retail chain under a registered model, and retrainings of it. The same work is done once per test run."""

import hashlib
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.frames.synthetic import retail_chain
from experiments import jobs as work  # noqa: F401 - importing makes the kinds of job known
from experiments.services import training
from experiments.services.retraining import request_retrain
from mlops.jobs import runner, services
from mlops.jobs.models import Job
from mlops.outbox.models import Message
from mlops.tenancy.roles import Principal
from registry.models import RegisteredModel, RetrainingRun
from registry.services import registration
from registry.services.artifacts import ArtifactFacts, inspect_artifact
from registry.services.datasets import import_path
from registry.services.model_settings import register_model
from registry.states import Trigger
from tests.conftest import NOON
from tests.registry.readers import read_each_file_once

LAST_DAY = date(2026, 2, 28)
POLICY: dict[str, Any] = {"backtest_days": 28, "segment_tolerance_pct": 1000.0, "bias_tolerance_pp": 100.0, "coverage_tolerance_pp": 100.0}
"""Gates that a model with ten trees can pass against the seasonal naive."""
GOOD = {"kind": "lightgbm", "rounds": 10, "num_leaves": 8, "learning_rate": 0.3, "min_data_in_leaf": 20}
POOR = {"kind": "lightgbm", "rounds": 1, "num_leaves": 2, "learning_rate": 0.001}

_fits: dict[str, Any] = {}
_trials: dict[str, ArtifactFacts] = {}


def chain(*, days: int = 300, stores: int = 2, last_day: date = LAST_DAY) -> pl.DataFrame:
    """Daily sales of `stores` × 4 departments, one item each."""
    return retail_chain(last_day=last_day, days=days, stores=stores, items=1)


def do_each_work_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember what a fit or a child process answered for the same input: all of them are deterministic.

    The heart does not beat: its thread has a connection of its own, which sees nothing of a test's transaction.
    """
    read_each_file_once(monkeypatch)
    monkeypatch.setattr(services, "HEARTBEAT", timedelta(hours=1))
    fit = training._fit

    def remembered(recipe: dict[str, Any], ground: Any, tell: Any) -> Any:
        key = f"{sorted(recipe.items())} {ground.data.panel_sha256} {ground.panel.last_day} {ground.policy}"
        if key not in _fits:
            _fits[key] = fit(recipe, ground, tell)
        found = _fits[key]
        return replace(found, evaluation=replace(found.evaluation, data=ground.data))

    def tried(path: Path) -> ArtifactFacts:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest not in _trials:
            _trials[digest] = inspect_artifact(path)
        return _trials[digest]

    monkeypatch.setattr(training, "_fit", remembered)
    monkeypatch.setattr(registration, "inspect_artifact", tried)


def make_chain_model(
    folder: Path,
    by: Principal,
    *,
    name: str = "demand",
    frame: pl.DataFrame | None = None,
    policy: dict[str, Any] | None = None,
    mapping: dict[str, Any] | None = None,
    **options: Any,
) -> RegisteredModel:
    """A registered model whose data set is the chain."""
    model = register_model(name=name, by=by, at=NOON, policy=POLICY | (policy or {}), recipe=GOOD, **options)
    give_data(model, folder, by, chain() if frame is None else frame, mapping=mapping)
    return model


def give_data(model: RegisteredModel, folder: Path, by: Principal, frame: pl.DataFrame, *, mapping: dict[str, Any] | None = None) -> None:
    """Import the frame as the model's newest data."""
    path = folder / f"{model.name}.parquet"
    frame.write_parquet(path)
    import_path(name=f"{model.name}.sales", path=path, by=by, at=NOON, model=model, mapping=mapping, trusted=True)
    model.refresh_from_db()


def retrain(model: RegisteredModel, by: Principal, **options: Any) -> RetrainingRun:
    """Ask for a retraining and do its first attempt here."""
    given: dict[str, Any] = {"trigger": Trigger.MANUAL, "at": NOON} | options
    run = request_retrain(model=model, by=by, **given)
    return attempt(run)


def attempt(run: RetrainingRun) -> RetrainingRun:
    """Do the next attempt of the retraining's job here."""
    job = job_of(run)
    runner.run(job_id=job.pk, attempts=job.attempt)
    run.refresh_from_db()
    return run


def job_of(run: RetrainingRun) -> Job:
    """The retraining's job as it is now."""
    return Job.objects.get(pk=run.job_id)


def news(topic: str) -> list[dict[str, Any]]:
    """What the outbox holds under the topic, oldest first."""
    return [message.payload for message in Message.objects.filter(topic=topic).order_by("created_at", "id")]
