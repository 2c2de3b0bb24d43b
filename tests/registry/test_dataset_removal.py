"""A data set goes only when nothing refers to it, and its files go with it; a version whose import was cancelled is not left waiting."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.artifacts.storage import storage
from mlops.audit.models import AuditEvent
from mlops.jobs import services as jobs
from mlops.jobs.models import Job
from mlops.outbox import services as outbox
from mlops.outbox.models import Message
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from registry.models import Dataset, DatasetVersion
from registry.services import dataset_removal, datasets
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
URL = "/api/v1/datasets"
ROWS = "date,units\n" + "".join(f"2025-01-{day:02},{day}\n" for day in range(1, 29))


@pytest.fixture
def sales(api: Api, scope: Principal) -> Dataset:
    """A data set of one version."""
    answer = api().post(URL, {"name": "sales", "file": SimpleUploadedFile("a.csv", ROWS.encode())}, format="multipart")
    assert answer.status_code == 201
    return Dataset.objects.get()


def tell() -> None:
    for pk, attempts in list(Message.objects.filter(handled_at=None).values_list("pk", "attempts")):
        outbox.handle(message_id=pk, attempts=attempts, at=timezone.now())


def files_of(dataset: Dataset) -> list[str]:
    return storage().list(f"datasets/{dataset.customer_id}/{dataset.pk}")


@pytest.mark.parametrize("by_id", [True, False])
def test_an_unused_data_set_goes_with_its_files_and_leaves_its_trace(api: Api, sales: Dataset, by_id: bool) -> None:
    digest = DatasetVersion.objects.get().source_sha256
    assert len(files_of(sales)) == 2

    answer = api("admin").delete(f"{URL}/{sales.pk if by_id else sales.name}")
    kept_until_told = len(files_of(sales))
    tell()
    tell()

    assert (answer.status_code, kept_until_told, files_of(sales)) == (204, 2, [])
    assert (Dataset.objects.count(), DatasetVersion.objects.count()) == (0, 0)
    assert AuditEvent.objects.get(action="dataset.deleted").before == {"name": "sales", "versions": {"1": digest}}


def test_only_administrators_delete(api: Api, sales: Dataset) -> None:
    assert api("ml_manager").delete(f"{URL}/sales").status_code == 403
    assert Dataset.objects.count() == 1


def test_another_customers_data_set_is_404(api: Api, sales: Dataset, other_customer: Customer) -> None:
    assert api("admin", of=other_customer).delete(f"{URL}/{sales.pk}").status_code == 404
    assert Dataset.objects.count() == 1


def test_what_refers_to_a_data_set_is_named_and_keeps_it(api: Api, sales: Dataset) -> None:
    version = DatasetVersion.objects.get()
    assert api().post("/api/v1/models", {"name": "shop", "dataset_id": str(sales.pk)}).status_code == 201
    assert api().post("/api/v1/models/shop/versions", {"version": "first", "dataset_version_id": str(version.pk)}).status_code == 201

    answer = api("admin").delete(f"{URL}/sales")

    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")
    assert [one.split()[-1] for one in answer.json()["referred_by"]] == ["shop", "first"]
    assert Dataset.objects.count() == 1


def test_an_open_job_that_was_given_the_data_set_keeps_it(api: Api, sales: Dataset, scope: Principal) -> None:
    jobs.request(kind="retrain", payload={"dataset_id": str(sales.pk)}, label="shop", by=scope, at=NOON)

    answer = api("admin").delete(f"{URL}/sales")

    assert (answer.status_code, "retrain" in answer.json()["referred_by"][0]) == (409, True)


def test_a_reference_made_while_it_is_deleted_keeps_it(api: Api, sales: Dataset, monkeypatch: pytest.MonkeyPatch, scope: Principal) -> None:
    assert api().post("/api/v1/models", {"name": "shop", "dataset_id": str(sales.pk)}).status_code == 201
    monkeypatch.setattr(dataset_removal, "_users", lambda *_: [])

    answer = api("admin").delete(f"{URL}/sales")

    assert (answer.status_code, answer.json()["referred_by"][0].split()[-1]) == (409, "shop")
    assert len(files_of(sales)) == 2


def test_a_file_for_a_data_set_that_was_deleted_meanwhile_is_404_and_not_kept(
    api: Api, sales: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = datasets.read

    def deleted_meanwhile(*args: Any, **named: Any) -> Any:
        assert api("admin").delete(f"{URL}/sales").status_code == 204
        tell()
        return read(*args, **named)

    monkeypatch.setattr(datasets, "read", deleted_meanwhile)
    newer = SimpleUploadedFile("b.csv", (ROWS + "2025-02-01,3\n").encode())

    answer = api().post(f"{URL}/sales/versions", {"file": newer}, format="multipart")

    assert (answer.status_code, files_of(sales)) == (404, [])


@pytest.mark.parametrize("asked_again", [False, True])
def test_a_version_whose_queued_import_was_cancelled_says_so(sales: Dataset, scope: Principal, tmp_path: Any, asked_again: bool) -> None:
    path = tmp_path / "new.csv"
    path.write_text(ROWS + "2025-02-01,3\n")

    def receive() -> datasets.Received:
        return datasets.new_version(dataset=sales, source=path, source_name="new.csv", by=scope, at=NOON, in_job=True)

    received = receive()
    assert received.job is not None
    jobs.cancel(job=received.job, at=NOON, by=scope)
    if asked_again:
        receive()
    tell()

    version = DatasetVersion.objects.get(pk=received.version.pk)
    told = [problem["code"] for problem in version.report.get("problems", [])]
    assert (version.status, told) == (("received", []) if asked_again else ("failed", ["cancelled"]))
    assert Job.objects.filter(pk=UUID(str(received.job.pk)), state="cancelled").exists()
