"""Deleting a data set while something comes to refer to it: one of the two is refused, and says so."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from rest_framework.test import APIClient

from experiments.models import Study
from mlops.database.reading import reading
from mlops.errors import NotFound
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from registry.models import Dataset, DatasetVersion, RegisteredModel
from registry.services import dataset_removal
from registry.services.model_settings import configure_model, register_model
from registry.services.registration import register_version
from tests.conftest import NOON
from tests.experiments.training.studying import ask_for_study
from tests.registry.factories import make_model

pytestmark = pytest.mark.django_db(transaction=True)
Api = Callable[..., APIClient]
Act = Callable[[Principal, DatasetVersion, RegisteredModel], Any]
ROWS = "date,units\n" + "".join(f"2025-01-{day:02},{day}\n" for day in range(1, 29))


@pytest.fixture
def sales(api: Api, manager: Principal) -> Iterator[DatasetVersion]:
    """A data set of one version, committed; the test goes on in the manager's scope."""
    with acting(manager):
        answer = api().post("/api/v1/datasets", {"name": "sales", "file": SimpleUploadedFile("a.csv", ROWS.encode())}, format="multipart")
        assert answer.status_code == 201
        with reading():
            found = DatasetVersion.objects.select_related("dataset").get()
        yield found


def a_model(by: Principal, data: DatasetVersion, _: RegisteredModel) -> None:
    register_model(name="shop", by=by, at=NOON, dataset=data.dataset)


def a_configured_model(by: Principal, data: DatasetVersion, model: RegisteredModel) -> None:
    configure_model(model=model, changes={"dataset": data.dataset}, by=by, at=NOON)


def a_version(by: Principal, data: DatasetVersion, model: RegisteredModel) -> None:
    register_version(model=model, by=by, at=NOON, dataset_version=data)


def a_study(by: Principal, data: DatasetVersion, _: RegisteredModel) -> None:
    ask_for_study(by, split_id=None, task="forecast", dataset=data.dataset, model_name="shop", search_space=None, metric="mase")


@pytest.mark.parametrize("act", [a_model, a_configured_model, a_version, a_study])
def test_what_would_refer_to_a_data_set_that_is_being_deleted_is_404(
    api: Api, manager: Principal, sales: DatasetVersion, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction.atomic():
        model = make_model("churn")
    admin, deleted, publish = api("admin"), Event(), dataset_removal.publish

    def publish_while_the_other_acts(*args: Any, **named: Any) -> Any:
        deleted.set()
        wait([other], timeout=0.5)
        return publish(*args, **named)

    def refer() -> str:
        try:
            deleted.wait(20)
            with acting(manager):
                act(manager, sales, model)
        except NotFound:
            return "refused"
        finally:
            connection.close()
        return "made"

    monkeypatch.setattr(dataset_removal, "publish", publish_while_the_other_acts)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(refer)
        answer = admin.delete("/api/v1/datasets/sales")
        outcome = other.result(60)

    with reading():
        left = (Dataset.objects.count(), RegisteredModel.objects.exclude(dataset=None).count(), Study.objects.count())
    assert (answer.status_code, outcome, left) == (204, "refused", (0, 0, 0))


@pytest.mark.parametrize("act", [a_model, a_configured_model, a_version, a_study])
def test_a_deletion_waits_for_what_is_about_to_refer_to_the_data_set_and_names_it(
    api: Api, manager: Principal, sales: DatasetVersion, act: Act
) -> None:
    with transaction.atomic():
        model = make_model("churn")
    admin = api("admin")

    def delete() -> Any:
        try:
            return admin.delete("/api/v1/datasets/sales")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            act(manager, sales, model)
            deletion = pool.submit(delete)
            wait([deletion], timeout=0.5)
        answer = deletion.result(60)

    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")
