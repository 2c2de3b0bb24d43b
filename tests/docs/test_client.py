"""The example client against a real server, from a file to an audited promotion."""

import importlib.util
import math
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from pytest_django.live_server_helper import LiveServer

from mlops.jobs import runner

CLIENT = Path(__file__).resolve().parents[2] / "docs" / "client" / "tiltyard_client.py"
DAYS = 120
POLICY = {"backtest_days": 14, "horizon": 7}
RECIPE = {"rounds": 5, "num_leaves": 4, "min_data_in_leaf": 5, "calibration_days": 14}


@pytest.fixture(scope="module")
def client_module() -> ModuleType:
    """The example, imported from its file as a user would copy it."""
    spec = importlib.util.spec_from_file_location("tiltyard_client", CLIENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiltyard_client"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiltyard(transactional_db: None, live_server: LiveServer, client_module: ModuleType, key: Callable[..., str]) -> Any:
    """A client with a manager's key."""
    return client_module.Tiltyard(live_server.url, key("ml_manager", email="manager@example.com"))


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    """Four series with a weekly pattern."""
    rows = ["date,store,item,units"]
    for store, item, level in [("North", "ale", 12), ("North", "bun", 20), ("South", "ale", 9), ("South", "bun", 15)]:
        for day in range(DAYS):
            units = round(level * (1 + 0.3 * math.sin(2 * math.pi * day / 7)) + (day * 7) % 5)
            rows.append(f"{date(2025, 1, 6) + timedelta(days=day)},{store},{item},{units}")
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_client_brings_a_file_to_an_audited_promotion(tiltyard: Any, sales: Path) -> None:
    data = tiltyard.upload_dataset(sales, name="sales")
    tiltyard.register_model("corner_shop", policy=POLICY, recipe=RECIPE)
    tiltyard.set_data_source("corner_shop", dataset_id=data.dataset_id)
    retraining = tiltyard.retrain("corner_shop", reason="First training.")
    runner.run(job_id=UUID(retraining.job_id), attempts=0)  # what a worker does
    job = tiltyard.wait(retraining.job_id, patience=5, every=0.05)
    versions = {row.version: row for row in tiltyard.compare("corner_shop")}
    challenger = next(row.version for row in versions.values() if row.status != "champion")
    promotion = tiltyard.promote("corner_shop", challenger, reason="To see it serve.")

    assert (data.status, data.series, data.rows) == ("ready", 4, 4 * DAYS)
    assert job.result["version"] == "v2"
    assert set(versions) == {"v1", "v2"}
    assert all(row.value is not None and row.value > 0 for row in versions.values())
    assert (promotion.outcome, promotion.version) == ("promoted", challenger)
    assert tiltyard.health("corner_shop").champion["version"] == challenger
    assert [run.version_produced for run in tiltyard.retrainings("corner_shop")] == ["v2"]
    assert next(iter(tiltyard.audit(action="version.champion"))).actor == "manager@example.com"
    assert tiltyard.verify_audit() is True


def test_client_raises_the_problem_with_its_code_and_fields(tiltyard: Any, client_module: ModuleType) -> None:
    with pytest.raises(client_module.Problem) as refusal:
        tiltyard.register_model("No Such Name")

    assert (refusal.value.status, refusal.value.code) == (400, "invalid")
    assert refusal.value.errors[0]["field"] == "name"


def test_client_raises_when_a_job_failed(tiltyard: Any, client_module: ModuleType, tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("date,units\n" + "".join(f"{date(2025, 1, 6) + timedelta(days=day)},{day % 7 + 1}\n" for day in range(40)))
    data = tiltyard.upload_dataset(short, name="short")
    tiltyard.register_model("too_short", policy={"backtest_days": 39}, dataset_id=data.dataset_id)
    retraining = tiltyard.retrain("too_short")
    runner.run(job_id=UUID(retraining.job_id), attempts=0)

    with pytest.raises(client_module.JobFailed, match="does not allow it"):
        tiltyard.wait(retraining.job_id, patience=5, every=0.05)
