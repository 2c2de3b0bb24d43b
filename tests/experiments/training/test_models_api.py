"""`/v1/models`: versions by stage and study, promoted, archived and taken away by their id."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from experiments.models import Experiment, ExperimentVersion, Trial
from experiments.services.version_removal import delete_version
from mlops.artifacts.storage import storage
from mlops.audit.models import AuditEvent
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import DecisionRecord, ModelVersion, PromotionRequest, RegisteredModel
from registry.services import moves
from registry.services.artifacts import ArtifactFacts
from registry.services.registration import PreparedArtifact
from tests.conftest import NOON, PASSWORD
from tests.experiments.training.studying import make_study
from tests.registry.factories import make_champion, make_job, make_model, make_person, make_version
from tests.registry.test_races import at_once

pytestmark = pytest.mark.django_db
URL = "/v1/models"
Api = Callable[..., APIClient]


@pytest.fixture
def churn(scope: Principal) -> RegisteredModel:
    return make_model("churn", task="regression")


@pytest.fixture
def candidate(churn: RegisteredModel) -> ModelVersion:
    return make_version(churn, metrics={"rmse": 1.5})


def with_file(model: RegisteredModel) -> ModelVersion:
    """A version whose file is in the storage."""
    version_id = uuid4()
    stored = storage().put_bytes(f"models/{model.customer_id}/{model.name}/{version_id}/model.json", b"{}")
    return make_version(model, artifact=PreparedArtifact(version_id, stored, ArtifactFacts("tabular", ".json", "lightgbm", {})))


def test_a_row_has_the_documented_members(api: Api, candidate: ModelVersion) -> None:
    study = make_study(model=candidate.model, version=candidate)

    (row,) = api("viewer").get(URL).json()["results"]

    named = {name: row[name] for name in ("id", "name", "version", "stage", "status", "experiment_id", "metrics")}
    assert named == {
        "id": str(candidate.pk),
        "name": "churn",
        "version": "v1",
        "stage": "staging",
        "status": "candidate",
        "experiment_id": str(study.pk),
        "metrics": {"rmse": 1.5},
    }


def test_versions_are_found_by_stage_and_study(api: Api, churn: RegisteredModel) -> None:
    champion, candidate, retired = make_champion(churn), make_version(churn), make_version(churn)
    moves.archive(version_id=retired.pk, by=system(churn.customer_id), at=NOON, reason="Worse.")
    study = make_study(model=churn, version=candidate)
    client = api("viewer")

    def found(query: str) -> set[str]:
        return {row["id"] for row in client.get(f"{URL}?{query}").json()["results"]}

    assert found("stage=production") == {str(champion.pk)}
    assert found("stage=staging") == {str(candidate.pk)}
    assert found("stage=archived") == {str(retired.pk)}
    assert found(f"experiment_id={study.pk}") == {str(candidate.pk)}
    assert found(f"experiment_id={uuid4()}") == set()
    assert found("name=churn&status=champion") == {str(champion.pk)}


@pytest.mark.parametrize("query", ["stage=testing", "experiment_id=seven", "stages=production", "page_size=101", "ordering=metrics"])
def test_a_query_that_means_nothing_is_refused(api: Api, scope: Principal, query: str) -> None:
    assert api("viewer").get(f"{URL}?{query}").status_code == 400


def test_a_list_of_any_length_costs_the_same_queries(api: Api, churn: RegisteredModel) -> None:
    client = api("viewer")
    client.get(URL)  # the first use of a key is written down
    counts = []
    for _ in range(2):
        study = make_study(model=churn, version=make_version(churn))
        Trial.objects.create(study=study, number=0, version=make_version(churn))
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"{URL}?page_size=50").status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_one_version_tells_its_signature_and_what_may_follow(api: Api, candidate: ModelVersion) -> None:
    answered = api("viewer").get(f"{URL}/{candidate.pk}")

    body = answered.json()
    assert (body["lineage"]["recipe"]["kind"], body["has_artifact"]) == ("lightgbm", False)
    assert "archived" in body["allowed_moves"]
    assert answered.headers["ETag"].startswith('"model-')


def test_promotion_to_production_crowns_and_demotes(api: Api, churn: RegisteredModel) -> None:
    former, candidate = make_champion(churn), make_version(churn)

    answered = api().post(f"{URL}/{candidate.pk}/promote", {"stage": "production"})

    body = answered.json()
    assert (answered.status_code, body["outcome"], body["stage"], body["id"]) == (200, "promoted", "production", str(candidate.pk))
    assert body["override"], "nothing was measured, and the gates only advise"
    former.refresh_from_db()
    assert former.status == "deprecated"


def test_promotion_waits_where_four_eyes_are_wanted(api: Api, scope: Principal) -> None:
    model = make_model("churn", policy={"four_eyes": True})
    candidate = make_version(model)

    answered = api().post(f"{URL}/{candidate.pk}/promote", {"stage": "production", "reason": "Better."})

    assert (answered.status_code, answered.json()["outcome"], answered.json()["stage"]) == (202, "pending", "staging")
    assert answered.headers["Location"]
    assert PromotionRequest.objects.get().version_id == candidate.pk


@pytest.mark.parametrize(
    "body", [{}, {"stage": "staging"}, {"stage": "archived"}, {"stage": "Production"}, {"stage": "production", "x": 1}]
)
def test_promotion_needs_the_stage_that_there_is(api: Api, candidate: ModelVersion, body: dict[str, Any]) -> None:
    refused = api().post(f"{URL}/{candidate.pk}/promote", body)

    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")


def test_archiving_ends_a_version_and_says_whether_a_reason_was_given(api: Api, churn: RegisteredModel) -> None:
    silent, spoken = make_version(churn), make_version(churn)
    client = api()

    first = client.post(f"{URL}/{silent.pk}/archive")
    client.post(f"{URL}/{spoken.pk}/archive", {"reason": "It forgets Sundays."})
    again = client.post(f"{URL}/{silent.pk}/archive")

    assert (first.status_code, first.json()["stage"], first.json()["status"]) == (200, "archived", "archived")
    assert set(DecisionRecord.objects.values_list("rationale", flat=True)) == {"No reason was given.", "It forgets Sundays."}
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")


def test_deleting_archives_and_hides_but_keeps_row_and_file(api: Api, churn: RegisteredModel) -> None:
    version = with_file(churn)
    client = api("admin")

    deleted = client.delete(f"{URL}/{version.pk}")

    version.refresh_from_db()
    assert (deleted.status_code, version.status, version.deleted_at is not None) == (204, "archived", True)
    assert version.has_artifact
    assert storage().read(version.artifact_path, sha256=version.artifact_sha256) == b"{}"
    assert client.get(f"{URL}/{version.pk}").status_code == 404
    assert client.get(URL).json()["count"] == 0
    assert client.delete(f"{URL}/{version.pk}").status_code == 404
    assert list(AuditEvent.objects.filter(object_id=version.pk).order_by("number").values_list("action", flat=True)) == [
        "version.registered",
        "version.archived",
        "version.deleted",
    ]


def test_deleting_with_artifacts_removes_the_file_and_keeps_its_digest(
    api: Api, churn: RegisteredModel, django_capture_on_commit_callbacks: Any
) -> None:
    version = with_file(churn)

    with django_capture_on_commit_callbacks(execute=True):
        api("admin").delete(f"{URL}/{version.pk}?delete_artifacts=true")

    version.refresh_from_db()
    assert not storage().list(f"models/{churn.customer_id}/churn/{version.pk}")
    assert (version.has_artifact, len(version.artifact_sha256)) == (False, 64)
    listed = api("viewer").get(f"/api/v1/models/churn/versions/{version.version}").json()
    assert (listed["has_artifact"], listed["status"], listed["deleted_at"] is not None) == (False, "archived", True)


def champion_of(model: RegisteredModel) -> ModelVersion:
    return make_champion(model)


def rollback_target(model: RegisteredModel) -> ModelVersion:
    former = make_champion(model)
    make_champion(model)
    return former


def retired_champion(model: RegisteredModel) -> ModelVersion:
    former = rollback_target(model)
    return moves.archive(version_id=former.pk, by=system(model.customer_id), at=NOON, reason="Too old.")


def challenger(model: RegisteredModel) -> ModelVersion:
    return moves.challenge(version_id=make_version(model).pk, by=system(model.customer_id), at=NOON)


def parent(model: RegisteredModel) -> ModelVersion:
    version = make_version(model)
    make_version(model, parent=version)
    return version


def asked_for(model: RegisteredModel) -> ModelVersion:
    version = make_version(model)
    PromotionRequest.objects.create(model=model, version=version, requested_by="kim@example.com", requested_at=NOON)
    return version


def of_an_experiment(model: RegisteredModel) -> ModelVersion:
    version = make_version(model)
    experiment = Experiment.objects.create(
        experiment_name="Sundays", experiment_type="other", proposed_by="kim@example.com", created_at=NOON, updated_at=NOON
    )
    ExperimentVersion.objects.create(experiment=experiment, version=version, linked_by="kim@example.com", linked_at=NOON)
    return version


def being_judged(model: RegisteredModel) -> ModelVersion:
    version = make_version(model)
    make_job("judge", payload={"version_id": str(version.pk)})
    return version


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (champion_of, "serves"),
        (rollback_target, "rollback"),
        (retired_champion, "has served"),
        (challenger, "archive it first"),
        (parent, "churn v2"),
        (asked_for, "pending request"),
        (of_an_experiment, "Sundays"),
        (being_judged, "judge"),
    ],
)
def test_what_serves_or_is_in_use_stays(
    api: Api, churn: RegisteredModel, make: Callable[[RegisteredModel], ModelVersion], said: str
) -> None:
    version = make(churn)

    refused = api("admin").delete(f"{URL}/{version.pk}?delete_artifacts=true")

    assert (refused.status_code, refused.json()["code"]) == (409, "version_in_use")
    assert said in refused.json()["detail"]
    version.refresh_from_db()
    assert version.deleted_at is None


@pytest.mark.parametrize("role", ["viewer", "data_scientist", "ml_manager"])
def test_only_an_administrator_deletes(api: Api, candidate: ModelVersion, role: str) -> None:
    assert api(role).delete(f"{URL}/{candidate.pk}").status_code == 403


@pytest.mark.parametrize("act", ["promote", "archive"])
def test_a_data_scientist_does_not_decide(api: Api, candidate: ModelVersion, act: str) -> None:
    assert api("data_scientist").post(f"{URL}/{candidate.pk}/{act}", {"stage": "production"} if act == "promote" else {}).status_code == 403


@pytest.mark.parametrize(("method", "act"), [("post", "/promote"), ("post", "/archive"), ("delete", "")])
def test_a_decision_on_numbers_that_changed_is_refused(api: Api, candidate: ModelVersion, method: str, act: str) -> None:
    client = api("admin")
    seen = client.get(f"{URL}/{candidate.pk}").headers["ETag"]
    make_version(candidate.model)

    body = {"stage": "production"} if act == "/promote" else {}
    refused = getattr(client, method)(f"{URL}/{candidate.pk}{act}", body, headers={"If-Match": seen})

    assert (refused.status_code, refused.json()["code"]) == (412, "stale")


@pytest.mark.parametrize("act", ["", "/promote", "/archive"])
def test_another_customer_finds_no_version(api: Api, other_customer: Customer, scope: Principal, act: str) -> None:
    with acting(system(other_customer.pk)), transaction.atomic():
        foreign = make_version(make_model("churn"))
    client = api("admin")
    path = f"{URL}/{foreign.pk}{act}"

    answered = client.post(path, {"stage": "production"} if act == "/promote" else {}) if act else client.get(path)

    assert answered.status_code == 404
    assert client.get(URL).json()["count"] == 0
    assert client.delete(f"{URL}/{foreign.pk}").status_code == 404


@pytest.mark.parametrize("identifier", ["1d2b6f0e-3c43-4f0a-9b53-6f6d8d3f5b11", "0" * 36, "-" * 36, "v1"])
def test_what_is_no_id_is_not_found(api: Api, scope: Principal, identifier: str) -> None:
    assert api("viewer").get(f"{URL}/{identifier}").status_code == 404


def test_a_deleted_version_keeps_its_label_and_never_returns(candidate: ModelVersion, churn: RegisteredModel, scope: Principal) -> None:
    admin = make_person("root@example.com", "admin", PASSWORD)
    delete_version(version_id=candidate.pk, by=admin, at=NOON, reason="A mistake.")

    following = make_version(churn)

    assert following.version == "v2"
    assert DecisionRecord.objects.get(version=candidate).rationale == "A mistake."


@pytest.mark.parametrize("selector", ["model_id", "experiment_id", "label", "stage"])
def test_a_deleted_version_answers_nobody(api: Api, churn: RegisteredModel, scope: Principal, selector: str) -> None:
    version = with_file(churn)
    study = make_study(model=churn, version=version)
    names = {
        "model_id": {"model_id": str(version.pk)},
        "experiment_id": {"experiment_id": str(study.pk)},
        "label": {"model_name": "churn", "version": "v1"},
        "stage": {"model_name": "churn", "stage": "archived"},
    }
    delete_version(version_id=version.pk, by=make_person("root@example.com", "admin", PASSWORD), at=NOON)

    answered = api().post("/v1/predict", {**names[selector], "instances": [{"x1": 1}]})

    assert (answered.status_code, answered.json()["code"]) == (404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_promoting_and_deleting_at_once_leaves_one_of_the_two(api: Api, manager: Principal) -> None:
    with acting(manager), transaction.atomic():
        version = make_version(make_model("churn"))
    path = f"{URL}/{version.pk}"
    clients = [api("admin") for _ in range(6)]
    deleters = [partial(client.delete, path) for client in clients[:3]]
    promoters = [partial(client.post, f"{path}/promote", {"stage": "production"}) for client in clients[3:]]

    answered = [response.status_code for response in at_once(*deleters, *promoters)]

    with acting(manager), reading():
        version.refresh_from_db()
        assert verify().intact
    ending = {"archived": 204, "champion": 200}[version.status]
    assert (answered.count(ending), set(answered) - {ending} <= {404, 409}) == (1, True)
    assert (version.deleted_at is not None) == (ending == 204)
