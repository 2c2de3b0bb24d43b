"""A folder that a retraining is given: for this once, in the name of whoever asked; a source only for a model without one."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.services.retraining import request_retrain
from mlops.audit.models import AuditEvent
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import RegisteredModel
from registry.services import panels
from registry.services.model_settings import configure_model, register_model
from registry.services.panels import newest_data
from registry.states import Trigger
from tests.experiments.chain import GOOD, LAST_DAY, NOON, POLICY, attempt, chain, do_each_work_once, make_chain_model, retrain

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> str:
    """A folder below an allowed root, with a day more than the chain has elsewhere."""
    do_each_work_once(monkeypatch)
    settings.DATA_ROOTS = [tmp_path]
    (tmp_path / "given").mkdir()
    chain(last_day=LAST_DAY + timedelta(days=1)).write_parquet(tmp_path / "given" / "sales.parquet")
    return "given"


@pytest.fixture
def scientist(principal: Callable[..., Principal]) -> Principal:
    """May retrain, and not configure."""
    return principal("data_scientist", "lou@example.com")


def without_source(by: Principal) -> RegisteredModel:
    return register_model(name="demand", by=by, at=NOON, policy=POLICY, recipe=GOOD)


def source_of(model: RegisteredModel) -> tuple[Any, str]:
    model.refresh_from_db()
    return model.dataset, model.data_dir


def test_a_folder_is_for_one_retraining_and_the_source_stays(scope: Principal, scientist: Principal, folder: str, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)
    before, data = source_of(model), newest_data(model)

    with acting(scientist):
        run = retrain(model, scientist, data_dir=folder)

    trained = run.produced
    assert trained is not None
    assert (trained.dataset_version.dataset.name, trained.trained_through) == ("demand.retrain", LAST_DAY + timedelta(days=1))
    assert (source_of(model), newest_data(model)) == (before, data)


def test_the_trail_names_who_gave_the_folder(scope: Principal, scientist: Principal, folder: str, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)

    with acting(scientist):
        retrain(model, scientist, data_dir=folder)

    events = AuditEvent.objects.filter(object_label__startswith="demand.retrain").order_by("number")
    assert events.count() >= 2
    assert set(events.values_list("actor", flat=True)) == {"lou@example.com"}


def test_a_second_folder_is_a_newer_version_of_the_same_data_set(scope: Principal, folder: str, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)
    numbers = []

    for days in (1, 1, 2):
        chain(last_day=LAST_DAY + timedelta(days=days)).write_parquet(tmp_path / "given" / "sales.parquet")
        numbers.append(retrain(model, scope, data_dir=folder).produced.dataset_version.number)

    assert numbers == [1, 1, 2]


def test_a_model_without_a_source_takes_a_managers_folder_as_its_own(scope: Principal, folder: str) -> None:
    model = without_source(scope)

    retrain(model, scope, data_dir=folder)

    dataset, data_dir = source_of(model)
    changed = AuditEvent.objects.get(action="model.configured")
    assert (dataset.name, data_dir, changed.actor) == ("demand.data", "", scope.name)


def test_a_model_without_a_source_takes_an_operators_folder_as_its_own(scope: Principal, folder: str) -> None:
    model = without_source(scope)

    retrain(model, system(scope.customer_id), data_dir=folder)

    assert source_of(model)[0].name == "demand.data"


def test_a_data_scientist_gives_a_model_no_source(scope: Principal, scientist: Principal, folder: str) -> None:
    model = without_source(scope)

    with acting(scientist):
        run = retrain(model, scientist, data_dir=folder)

    assert run.status == "completed"
    assert source_of(model) == (None, "")


def test_a_source_that_came_meanwhile_stays(scope: Principal, folder: str, tmp_path: Path) -> None:
    model = without_source(scope)
    run = request_retrain(model=model, trigger=Trigger.MANUAL, by=scope, at=NOON, data_dir=folder)
    other = make_chain_model(tmp_path, scope, name="other")
    configure_model(model=model, changes={"dataset": other.dataset}, by=scope, at=NOON)

    attempt(run)

    assert source_of(model)[0] == other.dataset
    assert run.produced.dataset_version.dataset.name == "demand.retrain"


def test_a_source_set_while_the_folder_is_read_stays(
    scope: Principal, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = without_source(scope)
    other = make_chain_model(tmp_path, scope, name="other")
    real = panels.import_path

    def overtaken(**given: Any) -> Any:
        read = real(**given)
        if given["name"] == "demand.data":
            configure_model(model=model, changes={"dataset": other.dataset}, by=scope, at=NOON)
        return read

    monkeypatch.setattr(panels, "import_path", overtaken)
    run = retrain(model, scope, data_dir=folder)

    assert source_of(model)[0] == other.dataset
    assert run.produced.dataset_version.dataset.name == "demand.retrain"
