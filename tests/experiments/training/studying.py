"""Studies for the tests, made row by row where no service is meant."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from engine.tabular.artifact import FORMAT
from experiments import jobs as work  # noqa: F401 - importing makes the kinds of job known
from experiments import jobs_training as training_work  # noqa: F401
from experiments.models import Split, Study, Trial
from experiments.services.studies import create_study
from experiments.services.study_rows import open_jobs
from experiments.states import SplitStatus, StudyStatus
from mlops.artifacts.storage import storage
from mlops.jobs import runner
from mlops.tenancy.roles import Principal
from registry.models import RegisteredModel
from registry.services import registration
from registry.services.artifacts import ArtifactFacts
from tests.conftest import NOON


def make_model(name: str = "churn", task: str = "regression") -> RegisteredModel:
    """A registered model without versions."""
    found = RegisteredModel.objects.filter(name=name).first()
    return found or RegisteredModel.objects.create(name=name, task=task, created_by="test", created_at=NOON)


def make_study(**values: Any) -> Study:
    """A running study that searches nothing in particular."""
    made: dict[str, Any] = {
        "name": "Search",
        "status": StudyStatus.RUNNING,
        "algorithm": "lightgbm",
        "task": "regression",
        "metric": "mae",
        "direction": "minimize",
        "n_trials": 1000,
        "created_by": "test",
        "created_at": NOON,
        "updated_at": NOON,
        "started_at": NOON,
    } | values
    if "split" not in made:
        made["split"] = make_split(task=made["task"])
    if "model" not in made:
        made["model"] = make_model(task=made["task"])
    return Study.objects.create(**made)


def make_split(**values: Any) -> Split:
    """A ready split without files."""
    made: dict[str, Any] = {
        "name": "Rows",
        "status": SplitStatus.READY,
        "task": "regression",
        "target": "y",
        "strategy": "random",
        "fractions": {"train": 0.6, "validation": 0.2, "test": 0.2},
        "features": ["x1", "x2"],
        "source": "records",
        "rows": 100,
        "created_by": "test",
        "created_at": NOON,
        "updated_at": NOON,
    } | values
    return Split.objects.create(**made)


PARTS = ("train", "validation", "test")
ROWS = {"train": 120, "validation": 40, "test": 40}
SMALL = {"n_estimators": 12, "min_child_samples": 5, "learning_rate": {"type": "float", "low": 0.05, "high": 0.5}}
"""A search whose trials take milliseconds."""


def table(rows: int, *, seed: int, task: str = "regression") -> pl.DataFrame:
    """Two features that matter, one that does not, and a target."""
    rng = np.random.default_rng(seed)
    x1, x2, noise = rng.normal(size=(3, rows))
    kind = rng.choice(["a", "b", "c"], size=rows)
    score = 3 * x1 - x2 + (kind == "a") + 0.1 * noise
    target = score if task == "regression" else np.where(score > 0, "yes", "no")
    return pl.DataFrame({"x1": x1, "x2": x2, "kind": kind, "y": target})


def make_ready_split(task: str = "regression", **frames: pl.DataFrame) -> Split:
    """A split whose parts are really there."""
    split = make_split(task=task, features=["x1", "x2", "kind"])
    for place, name in enumerate(PARTS):
        frame = frames.get(name, table(ROWS[name], seed=place, task=task))
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        stored = storage().put_bytes(f"splits/{split.customer_id}/{split.pk}/{name}.parquet", buffer.getvalue())
        split.parts[name] = {"rows": frame.height, "path": stored.path, "sha256": stored.sha256, "size": stored.size}
    split.save()
    return split


def ask_for_study(by: Principal, **values: Any) -> Study:
    """A study asked for by the service, small unless told otherwise."""
    given: dict[str, Any] = {
        "name": "Churn search",
        "at": NOON,
        "algorithm": "lightgbm",
        "metric": "rmse",
        "n_trials": 3,
        "search_space": SMALL,
        "pruner": "none",
    } | values
    if "split_id" not in given:
        given["split_id"] = make_ready_split().pk
    return create_study(by=by, **given)


def believe_own_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store tabular models without their trial in a child process, which takes seconds; `test_workers` has it done for real."""
    tried = registration.inspect_artifact

    def inspect(path: Path) -> ArtifactFacts:
        document = orjson.loads(path.read_bytes())
        if document["format"] == FORMAT:
            return ArtifactFacts("tabular", ".json", document["algorithm"], {})
        return tried(path)

    monkeypatch.setattr(registration, "inspect_artifact", inspect)


def run_study(study: Study) -> Study:
    """Do the next attempt of every open job of the study here, one after the other."""
    for job in open_jobs(study):
        runner.run(job_id=job.pk, attempts=job.attempt)
    return Study.objects.get(pk=study.pk)


def trials_of(study: Study) -> list[Trial]:
    """The trials by number."""
    return list(Trial.objects.filter(study=study).order_by("number"))
