"""`/api/v1/models/{model_name}/versions`: register, list, one version."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from rest_framework.test import APIClient

from engine import metrics as forecasts
from engine.formats.trial import ModelFacts
from engine.tabular import scoring
from mlops import places
from mlops.artifacts.storage import storage
from mlops.audit.models import AuditEvent
from mlops.errors import InvalidField
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.rules.metrics import direction_of
from registry.services import artifacts
from registry.services.registration import register_version
from tests.conftest import NOON
from tests.engine.formats import foreign
from tests.engine.formats.samples import model_text
from tests.registry.counting import frame, written_out
from tests.registry.factories import make_arena, make_champion, make_model, make_old_version, make_version

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
URL = "/api/v1/models/demand_forecast/versions"

TREE = model_text()


def fields_of(response: Any) -> set[str]:
    return {error["field"] for error in response.json()["errors"]}


def test_a_version_is_registered_by_its_metadata(api: Api, scope: Principal) -> None:
    make_model()
    body = {"metrics": {"mae": 11.2, "tier": "gold"}, "hyperparameters": {"depth": 6}, "algorithm": "catboost", "training_seconds": 3.5}
    body |= {"signature": {"features": [{"name": "price", "dtype": "float"}]}, "trained_through": "2026-03-01", "lineage": {"code": "abc"}}

    response = api("data_scientist").post(URL, body)

    found = response.json()
    assert (response.status_code, response["Location"]) == (201, f"{URL}/v1")
    assert (found["version"], found["status"], found["has_artifact"]) == ("v1", "candidate", False)
    assert {name: found[name] for name in body} == body
    assert found["feature_names"] == ["price"]
    assert response["ETag"] == '"model-2"'


def test_labels_follow_each_other_and_pass_over_given_ones(api: Api, scope: Principal) -> None:
    make_model()
    client = api()

    labels = [client.post(URL, body).json()["version"] for body in ({}, {"version": "v2"}, {"version": "2.1.0+rc"}, {}, {})]

    assert labels == ["v1", "v2", "2.1.0+rc", "v3", "v4"]
    assert [row["number"] for row in client.get(URL).json()["results"]] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"version": "history"}, "version"),
        ({"version": str(uuid4())}, "version"),
        ({"version": "with space"}, "version"),
        ({"metrics": [1]}, "metrics"),
        ({"metrics": "mae"}, "metrics"),
        ({"metrics": {"mae": "x"}}, "metrics.mae"),
        ({"metrics": {"mae": True}}, "metrics.mae"),
        ({"metrics": {"mae": -5}}, "metrics.mae"),
        ({"metrics": {"test_MAE": -1e-9}}, "metrics.test_MAE"),
        ({"metrics": {"r2": "0.5"}}, "metrics.r2"),
        ({"metrics": {"bias_pct": []}}, "metrics.bias_pct"),
        ({"metrics": {"tier": {"name": "gold"}}}, "metrics.tier"),
        ({"metrics": {"odd": [1]}}, "metrics.odd"),
        ({"metrics": {"odd": False}}, "metrics.odd"),
        ({"metrics": {f"m{number}": 1 for number in range(501)}}, "metrics"),
        ({"metrics": {"m" * 101: 1}}, "metrics"),
        ({"metrics": {f"m{number}": "x" * 200 for number in range(400)}}, "metrics"),
        ({"hyperparameters": {"note": "x" * 64 * 1024}}, "hyperparameters"),
        ({"lineage": {"note": "x" * 1024 * 1024}}, "lineage"),
        ({"training_seconds": "NaN"}, "training_seconds"),
        ({"training_seconds": -1}, "training_seconds"),
        ({"training_seconds": True}, "training_seconds"),
        ({"trained_through": "yesterday"}, "trained_through"),
        ({"signature": {"features": ["price"]}}, "signature"),
        ({"signature": {"features": [{"name": "a"}, {"name": "a"}]}}, "signature"),
        ({"parent": "v9"}, "parent"),
        ({"dataset_version_id": str(uuid4())}, "dataset_version_id"),
        ({"status": "champion"}, "status"),
    ],
)
def test_metadata_that_will_not_do_is_refused_naming_the_field(api: Api, scope: Principal, body: dict[str, Any], field: str) -> None:
    make_model()

    response = api().post(URL, body)

    assert (response.status_code, field in fields_of(response)) == (400, True)


def test_metrics_that_could_be_are_kept_as_they_came(api: Api, scope: Principal) -> None:
    make_model()
    metrics = {"mae": 0, "rmse": None, "r2": -3.5, "bias_pct": -4, "test_mae": 1.5, "tier": "gold", "odd": -1, "odder": "x", "oddest": None}

    response = api().post(URL, {"metrics": metrics})

    assert (response.status_code, response.json()["metrics"]) == (201, metrics)


@pytest.mark.parametrize("name", ["signature", "reference_statistics"])
def test_what_a_study_of_a_wide_table_makes_is_bounded_as_well(manager: Principal, scope: Principal, name: str) -> None:
    with pytest.raises(InvalidField, match="at most 8,388,608 are allowed") as refused:
        register_version(model=make_model(), by=manager, at=NOON, **{name: {"note": "x" * 8 * 1024 * 1024}})  # type: ignore[arg-type] # one of the two

    assert refused.value.field == name


def test_the_trail_keeps_the_metrics_that_are_known_and_a_digest_of_all(api: Api, scope: Principal) -> None:
    make_model()
    metrics = {"test_mae": 2.5, "mae": 2.0, **{f"m{number:03}": number for number in range(498)}}

    assert api().post(URL, {"metrics": metrics}).status_code == 201

    after = AuditEvent.objects.get(action="version.registered").after
    assert after["metrics"] == {"test_mae": 2.5, "mae": 2.0}
    assert after["metrics_sha256"] == hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()


def test_every_metric_that_will_not_do_is_named(api: Api, scope: Principal) -> None:
    make_model()
    parts = {"file": SimpleUploadedFile("model.txt", TREE.encode()), "metadata": '{"metrics": {"mae": -1, "f1": "x", "r2": -1}}'}

    for response in (api().post(URL, {"metrics": {"mae": -1, "f1": "x", "r2": -1}}), api().post(URL, parts, format="multipart")):
        assert (response.status_code, fields_of(response)) == (400, {"metrics.mae", "metrics.f1"})
    assert ModelVersion.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "low", "high", "said"),
    [
        ("mae", 0, 1e15, "Must not be negative: it is an error or a cost."),
        ("coverage", 0, 1, "Must lie between 0 and 1."),
        ("test_roc_auc", 0, 1, "Must lie between 0 and 1."),
        ("accuracy", 0, 1.0000000000000002, "Must lie between 0 and 1."),
        ("overstock_rate", 0, 1, "Must lie between 0 and 1."),
        ("brier", 0, 2, "Must lie between 0 and 2."),
        ("mcc", -1, 1, "Must lie between -1 and 1."),
        ("r2", -1e9, 1, "Must be at most 1."),
        ("value_over_naive_pct", -300, 100, "Must be at most 100."),
    ],
)
def test_a_metric_out_of_its_range_is_refused_with_the_range(
    api: Api, scope: Principal, name: str, low: float, high: float, said: str
) -> None:
    make_model()
    beyond = [low - 0.1] if said.startswith("Must not") else [high + 0.1] if said.startswith("Must be at most") else [low - 0.1, high + 0.1]

    taken = [api().post(URL, {"metrics": {name: value}}).status_code for value in (low, high)]
    refused = [api().post(URL, {"metrics": {name: value}}).json()["errors"] for value in beyond]

    assert taken == [201, 201]
    assert [[(one["field"], one["message"]) for one in errors] for errors in refused] == [[(f"metrics.{name}", said)]] * len(beyond)


def test_every_metric_that_the_engine_measures_is_known() -> None:
    named = {*forecasts.METRICS, *(name for found in scoring.METRICS.values() for name in found)}

    assert {name for name in named if direction_of(name) is None} == set()


@pytest.mark.parametrize(
    "content", [b'{"metrics": {"mae": NaN}}', b'{"metrics": {"a": "\\u0000"}}', b'{"notes": "\\ud800"}', b"[1]", b'{"a":1,"a":2}']
)
def test_json_that_could_not_be_stored_is_refused(api: Api, scope: Principal, content: bytes) -> None:
    make_model()

    assert api().generic("POST", URL, content, content_type="application/json").status_code == 400


@pytest.mark.django_db(transaction=True)
def test_a_refused_file_leaves_no_version(api: Api, manager: Principal) -> None:
    with acting(manager), transaction.atomic():
        make_model()
    client = api()

    refused = client.post(URL, {"file": SimpleUploadedFile("model.pkl", b"\x80\x04\x95cos\nsystem\n")}, format="multipart")

    assert refused.status_code == 400
    assert client.get(URL).json()["count"] == 0


def test_a_label_that_is_taken_is_a_conflict(api: Api, scope: Principal) -> None:
    make_version(make_model(), label="blue")

    assert api().post(URL, {"version": "blue"}).status_code == 409


def test_a_registration_that_is_refused_leaves_no_file(api: Api, scope: Principal, customer: Customer) -> None:
    make_version(make_model(), label="blue")
    parts = {"file": SimpleUploadedFile("model.txt", TREE.encode()), "metadata": '{"version": "blue"}'}

    assert api().post(URL, parts, format="multipart").status_code == 409
    assert storage().list(f"models/{customer.pk}") == []


def test_an_artifact_comes_with_its_metadata_in_a_multipart_body(api: Api, scope: Principal) -> None:
    make_model()
    parts = {"file": SimpleUploadedFile("model.txt", TREE.encode()), "metadata": json.dumps({"metrics": {"mae": 1.5}, "notes": "by hand"})}

    response = api("data_scientist").post(URL, parts, format="multipart")

    found = response.json()
    assert response.status_code == 201, found
    assert (found["artifact_format"], found["has_artifact"], len(found["artifact_sha256"])) == ("lightgbm", True, 64)
    assert (found["metrics"], found["notes"], found["feature_names"]) == ({"mae": 1.5}, "by hand", ["price", "stock", "weekday"])


def test_a_file_without_a_signature_has_the_one_that_it_tells(api: Api, scope: Principal) -> None:
    make_model()
    made = api().post(URL, {"file": SimpleUploadedFile("model.txt", TREE.encode())}, format="multipart")

    assert made.status_code == 201, made.content
    assert api().get(f"{URL}/v1").json()["signature"]["features"] == [
        {"name": "price", "dtype": "number", "categories": None, "low": -3.0, "high": 3.0},
        {"name": "stock", "dtype": "number", "categories": None, "low": 0.0, "high": 10.0},
        {"name": "weekday", "dtype": "category", "categories": ["-1", "0", "1", "2"], "low": None, "high": None},
    ]


def test_a_file_whose_features_cannot_be_a_signature_is_refused(api: Api, scope: Principal) -> None:
    make_model()
    content = model_text(names=f"{'p' * 201} stock weekday").encode()
    refused = api().post(URL, {"file": SimpleUploadedFile("model.txt", content)}, format="multipart")

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "unsafe_artifact"
    assert "features[0].name" in refused.json()["errors"][0]["message"]


def test_artifacts_are_tried_in_a_share_of_the_threads_and_no_more(api: Api, scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model()
    client, tried = api(), artifacts.try_model
    monkeypatch.setattr(places, "_free", cache(lambda: BoundedSemaphore(1)))

    def upload() -> Any:
        return client.post(URL, {"file": SimpleUploadedFile("model.txt", TREE.encode())}, format="multipart")

    def try_meanwhile(path: Path) -> ModelFacts:
        again = upload()
        assert (again.status_code, again.json()["code"], "Retry-After" in again.headers) == (503, "busy", True)
        assert client.get(URL).status_code == 200
        return tried(path)

    monkeypatch.setattr(artifacts, "try_model", try_meanwhile)

    assert [upload().status_code for _ in range(2)] == [201, 201]


@pytest.mark.parametrize("kind", ["xgboost", "catboost", "onnx"])
def test_an_artifact_of_another_library_is_registered_under_its_format(api: Api, scope: Principal, tmp_path: Path, kind: str) -> None:
    make_model()
    made = {"xgboost": foreign.xgboost_model, "onnx": foreign.onnx_model, "catboost": lambda: foreign.catboost_model(tmp_path)}
    content = made[kind]()

    found = api().post(URL, {"file": SimpleUploadedFile("model.bin", content)}, format="multipart").json()

    assert (found["artifact_format"], found["artifact_sha256"]) == (kind, hashlib.sha256(content).hexdigest())
    assert len(found["feature_names"]) == 3


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.pkl", b"\x80\x04\x95cos\nsystem\n", "unsafe_artifact"),
        ("model.txt", TREE[:200].encode(), "unsafe_artifact"),
        ("model.onnx", foreign.onnx_model(domain="elsewhere"), "unsafe_artifact"),
        ("model.cbm", b"CBM1" + bytes(100), "unsafe_artifact"),
        ("empty.txt", b"", "empty"),
    ],
)
def test_a_file_that_is_no_sound_model_is_refused(api: Api, scope: Principal, name: str, content: bytes, code: str) -> None:
    make_model()

    response = api().post(URL, {"file": SimpleUploadedFile(name, content)}, format="multipart")

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == code


@pytest.mark.parametrize(
    "parts",
    [
        {"metadata": "{}"},
        {"file": "no file", "metadata": "{}"},
        {"metadata": "not json", "file": None},
        {"metadata": "[1]", "file": None},
        {"metadata": '{"frobnicate": 1}', "file": None},
        {"metadata": '{"metrics": {"mae": NaN}}', "file": None},
        {"metadata": '{"training_seconds": "1"}', "file": None},
        {"metadata": '{"notes": 1}', "file": None},
        {"frobnicate": "1", "file": None},
    ],
)
def test_a_multipart_body_that_will_not_do_is_refused(api: Api, scope: Principal, parts: dict[str, Any]) -> None:
    make_model()
    sent = {name: SimpleUploadedFile("model.txt", TREE.encode()) if value is None else value for name, value in parts.items()}

    assert api().post(URL, sent, format="multipart").status_code == 400


def test_what_is_wrong_in_a_forms_metadata_is_named_there(api: Api, scope: Principal) -> None:
    make_model()
    parts = {"file": SimpleUploadedFile("model.txt", TREE.encode()), "metadata": '{"notes": 1, "lineage": [], "training_seconds": true}'}

    refused = api().post(URL, parts, format="multipart")

    assert (refused.status_code, fields_of(refused)) == (400, {"metadata.notes", "metadata.lineage", "metadata.training_seconds"})


def test_a_version_is_found_by_label_number_and_id(api: Api, scope: Principal) -> None:
    version = make_version(make_model())
    dotted = make_version(version.model, label="2.1.0")
    client = api()

    found = [client.get(f"{URL}/{reference}").json()["id"] for reference in ("v1", "1", version.pk, "2.1.0", dotted.pk)]

    assert found == [str(version.pk), str(version.pk), str(version.pk), str(dotted.pk), str(dotted.pk)]


def test_a_bare_number_registers_the_label_it_means(api: Api, scope: Principal) -> None:
    make_model()
    client = api()

    made = client.post(URL, {"version": "2"})

    assert (made.json()["version"], made["Location"]) == ("v2", f"{URL}/v2")
    assert [client.post(URL, {}).json()["version"] for _ in range(2)] == ["v1", "v3"]
    assert client.post(URL, {"version": "3"}).json()["code"] == "duplicate"


def test_an_exact_label_of_old_goes_before_a_bare_number(api: Api, scope: Principal) -> None:
    model = make_model()
    make_version(model)
    exact = make_old_version(model, label="1")

    assert api().get(f"{URL}/1").json()["id"] == str(exact.pk)


def test_a_version_of_another_model_or_customer_is_not_there(api: Api, scope: Principal, other_customer: Customer) -> None:
    version = make_version(make_model())
    make_model("other")

    assert api().get(f"/api/v1/models/other/versions/{version.pk}").status_code == 404
    stranger = api("admin", of=other_customer)
    assert stranger.get(f"{URL}/{version.pk}").status_code == 404
    assert stranger.post(f"/api/v1/models/{version.pk}/promote", {}).status_code == 404
    assert stranger.post(URL, {}).status_code == 404


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("", ["v4", "v3", "v2", "v1"]),
        ("limit=2", ["v4", "v3"]),
        ("limit=2&page=2", ["v2", "v1"]),
        ("page_size=1", ["v4"]),
        ("status=champion", ["v1"]),
        ("status=candidate&limit=1", ["v4"]),
        ("algorithm=catboost", ["v3"]),
        ("search=needle", ["v2"]),
        ("ordering=number", ["v1", "v2", "v3", "v4"]),
    ],
)
def test_versions_are_listed_newest_first_and_filtered(api: Api, scope: Principal, query: str, labels: list[str]) -> None:
    model = make_model()
    make_champion(model)
    make_version(model, notes="a needle in the hay")
    make_version(model, algorithm="catboost")
    make_version(model)

    body = api("viewer").get(f"{URL}?{query}").json()

    assert [row["version"] for row in body["results"]] == labels


def test_the_count_is_that_of_all_pages(api: Api, scope: Principal) -> None:
    model = make_model()
    make_champion(model)
    for _ in range(4):
        make_version(model)
    client = api()

    assert client.get(f"{URL}?limit=2").json()["count"] == 5
    assert client.get(f"{URL}?status=candidate&limit=2").json()["count"] == 4
    assert client.get(f"{URL}?limit=2").json()["next"].endswith("?limit=2&page=2")


@pytest.mark.parametrize("query", ["status=&limit=2", "status=&limit=2&ordering=-number", "status=&algorithm=&search=&limit=2"])
def test_an_empty_filter_is_no_filter(api: Api, scope: Principal, query: str) -> None:
    model = make_model()
    for _ in range(3):
        make_version(model)
    client = api()

    first = client.get(f"{URL}?{query}").json()

    assert (first["count"], [row["version"] for row in first["results"]]) == (3, ["v3", "v2"])
    assert [row["version"] for row in client.get(first["next"]).json()["results"]] == ["v1"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=2&page_size=2", "status=staging", "format=html", "ordering=metrics"]
)
def test_a_query_out_of_range_is_refused(api: Api, scope: Principal, query: str) -> None:
    make_model()

    assert api().get(f"{URL}?{query}").status_code == 400


@pytest.mark.parametrize("count", [3, 30])
def test_the_list_takes_the_same_queries_for_any_number(api: Api, scope: Principal, count: int, django_assert_num_queries: Any) -> None:
    model = make_model()
    for _ in range(count):
        make_version(model)
    client = api()
    client.get("/api/v1/me")

    with django_assert_num_queries(1 + written_out(2) + frame(atomic=False)):  # the key; the model, the page
        body = client.get(f"{URL}?limit=100").json()

    assert len(body["results"]) == count


def test_one_version_takes_as_few_queries(api: Api, scope: Principal, django_assert_num_queries: Any) -> None:
    make_arena()
    client = api()
    client.get("/api/v1/me")

    with django_assert_num_queries(1 + written_out(2) + frame(atomic=False)):  # the key; the version with its model, its verdict
        body = client.get(f"{URL}/v3").json()

    assert body["verdict"]["against"] == "v2"


def test_a_registration_repeated_under_its_key_happens_once(api: Api, scope: Principal) -> None:
    make_model()
    client = api()

    answers = [client.post(URL, {"notes": "once"}, headers={"Idempotency-Key": "abc"}) for _ in range(2)]

    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert ModelVersion.objects.count() == 1


def test_registering_is_in_the_audit_trail(api: Api, scope: Principal) -> None:
    make_model()

    api("data_scientist", email="kim@shop.example").post(URL, {"user_id": "kim@shop.example"})

    event = AuditEvent.objects.get(action="version.registered")
    assert (event.actor, event.on_behalf_of) == ("kim@shop.example", "")


def test_no_path_leaves_the_artifacts_folder(api: Api, scope: Principal, settings: Any) -> None:
    make_model()
    evil = SimpleUploadedFile("../../../../tmp/evil.txt", TREE.encode())

    found = api().post(URL, {"file": evil}, format="multipart").json()

    version = ModelVersion.objects.get(pk=found["id"])
    assert Path(version.artifact_path).name == "model.txt"
    assert ".." not in version.artifact_path
