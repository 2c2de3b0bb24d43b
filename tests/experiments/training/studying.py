"""Studies for the tests, made row by row where no service is meant."""

from typing import Any

from experiments.models import Split, Study
from experiments.states import SplitStatus, StudyStatus
from registry.models import RegisteredModel
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
