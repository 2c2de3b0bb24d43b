"""Retrainings in tests: quick, and of a model with data."""

from pathlib import Path

import pytest

from mlops.tenancy.roles import Principal
from registry.models import RegisteredModel
from tests.experiments.chain import do_each_work_once, make_chain_model


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work is done once in the whole run."""
    do_each_work_once(monkeypatch)


@pytest.fixture
def model(scope: Principal, tmp_path: Path) -> RegisteredModel:
    """A registered model with data and no version."""
    return make_chain_model(tmp_path, scope)
