"""`POST …/retrain` and `GET …/retraining`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from mlops.audit.models import AuditEvent
from mlops.jobs.models import Job
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from registry.models import RetrainingRun
from tests.registry.factories import make_dataset, make_model, make_retraining

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
BASE = "/api/v1/models/demand_forecast"


def test_a_retraining_is_accepted_and_says_where_to_look(api: Api, scope: Principal) -> None:
    make_dataset(models=[make_model()])

    response = api("data_scientist").post(f"{BASE}/retrain", {"reason": "New shops."})

    run = RetrainingRun.objects.get()
    body = response.json()
    assert (response.status_code, body["retraining_id"], body["status"], body["trigger_type"]) == (202, str(run.pk), "queued", "manual")
    assert response["Location"] == body["location"] == f"/api/v1/jobs/{run.job_id}"
    assert api("viewer").get(response["Location"]).json()["kind"] == "retrain"


def test_one_at_a_time(api: Api, scope: Principal) -> None:
    make_dataset(models=[make_model()])
    client = api()
    client.post(f"{BASE}/retrain")

    second = client.post(f"{BASE}/retrain")

    assert (second.status_code, second.json()["code"]) == (409, "already_running")
    assert second.json()["job_id"] == str(Job.objects.get().pk)


def test_data_may_be_named_for_this_once(api: Api, scope: Principal) -> None:
    make_model()
    data = make_dataset()

    assert api().post(f"{BASE}/retrain", {"dataset_id": str(data.dataset_id), "trigger": "new_data"}).status_code == 202
    assert Job.objects.get().payload["dataset_id"] == str(data.dataset_id)


def test_a_folder_below_an_allowed_root_will_do(api: Api, scope: Principal) -> None:
    make_model()
    folder = Path(settings.DATA_ROOTS[0]) / "seed"
    folder.mkdir(parents=True, exist_ok=True)

    assert api().post(f"{BASE}/retrain", {"data_dir": "seed"}).status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "dataset_id"),
        ({"dataset_id": str(uuid4())}, "dataset_id"),
        ({"data_dir": "/etc"}, "data_dir"),
        ({"data_dir": "../../etc"}, "data_dir"),
        ({"data_dir": "x" * 500}, "data_dir"),
        ({"data_dir": "a", "dataset_id": str(uuid4())}, "data_dir"),
        ({"trigger": "boredom"}, "trigger"),
        ({"reason": 5}, "reason"),
        ({"when": "now"}, "when"),
    ],
)
def test_a_retraining_that_will_not_do_is_refused_naming_the_field(api: Api, scope: Principal, body: dict[str, Any], field: str) -> None:
    make_model()

    response = api().post(f"{BASE}/retrain", body)

    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == field


def test_only_forecast_models_are_retrained(api: Api, scope: Principal) -> None:
    make_dataset(models=[make_model(task="regression")])

    response = api().post(f"{BASE}/retrain")

    assert (response.status_code, response.json()["code"]) == (409, "not_retrainable")


def test_a_viewer_and_a_service_may_not(api: Api, scope: Principal) -> None:
    make_dataset(models=[make_model()])

    assert api("viewer").post(f"{BASE}/retrain").status_code == 403
    assert api("service").post(f"{BASE}/retrain").status_code == 403


def test_another_customer_finds_no_model(api: Api, scope: Principal, other_customer: Customer) -> None:
    make_dataset(models=[make_model()])
    stranger = api("admin", of=other_customer)

    assert stranger.post(f"{BASE}/retrain").status_code == 404
    assert stranger.get(f"{BASE}/retraining").status_code == 404


def test_another_customers_data_set_is_not_there(api: Api, scope: Principal, other_customer: Customer) -> None:
    data = make_dataset()
    stranger = api("admin", of=other_customer)
    stranger.post("/api/v1/models", {"name": "theirs"})

    assert stranger.post("/api/v1/models/theirs/retrain", {"dataset_id": str(data.dataset_id)}).status_code == 400


def test_the_log_is_newest_first_and_filtered(api: Api, scope: Principal) -> None:
    model = make_model()
    make_retraining(model, reason="first")
    make_retraining(model, status="failed", trigger_type="drift_detected", started_at=model.created_at)
    client = api("viewer")

    everything = client.get(f"{BASE}/retraining").json()

    assert [row["status"] for row in everything["results"]] == ["completed", "failed"]
    assert client.get(f"{BASE}/retraining?status=failed").json()["count"] == 1
    assert client.get(f"{BASE}/retraining?trigger_type=scheduled").json()["count"] == 1
    assert client.get(f"{BASE}/retraining?trigger_type=boredom").status_code == 400


def test_asking_again_under_one_key_starts_one_job(api: Api, scope: Principal) -> None:
    make_dataset(models=[make_model()])
    client = api()

    answers = [client.post(f"{BASE}/retrain", {}, headers={"Idempotency-Key": "weekly"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["job_id"] == answers[1].json()["job_id"]
    assert Job.objects.count() == 1
    assert not AuditEvent.objects.filter(action="version.registered").exists()
