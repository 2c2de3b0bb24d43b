"""Moves by API: promote, the other moves, four eyes, judging, and whom a body may name."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from mlops.audit.models import AuditEvent
from mlops.audit.services import verify
from mlops.jobs.models import Job
from mlops.outbox.models import Message
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal, Role
from mlops.tenancy.services import create_api_key
from registry.events import EmergencyRollback
from registry.models import DecisionRecord, ModelVersion, PromotionRequest, RegisteredModel
from tests.conftest import NOON
from tests.registry.factories import make_arena, make_champion, make_dataset, make_model, make_version

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
BASE = "/api/v1/models/demand_forecast"


def status_of(version: ModelVersion) -> str:
    return str(ModelVersion.objects.values_list("status", flat=True).get(pk=version.pk))


@pytest.fixture
def candidate(scope: Principal) -> ModelVersion:
    model = make_model()
    make_champion(model)
    return make_version(model)


def test_the_documented_promotion_works_as_printed(api: Api, scope: Principal) -> None:
    make_version(make_model("random_forest"), label="v20250127_abc123")

    response = api().post("/api/v1/models/random_forest/promote/v20250127_abc123", {"user_id": "data_scientist"})

    body = response.json()
    assert response.status_code == 200
    assert (body["outcome"], body["status"], body["former_champion"], body["override"]) == ("promoted", "champion", None, False)
    event = AuditEvent.objects.get(action="version.champion")
    assert (event.actor, event.on_behalf_of) == ("key:ml_manager key", "data_scientist")
    assert api("viewer").get("/api/v1/models/random_forest/production").json()["version"] == "v20250127_abc123"


@pytest.mark.parametrize(
    "path", ["/v2/promote", "/2/promote", "/{id}/promote", "/demand_forecast/promote/v2", "/demand_forecast/versions/{id}/promote"]
)
def test_every_way_to_promote_leads_to_the_throne(api: Api, candidate: ModelVersion, path: str) -> None:
    response = api().post("/api/v1/models" + path.format(id=candidate.pk), {"reason": "Better."})

    assert (response.status_code, response.json()["former_champion"]) == (200, "v1")
    assert status_of(candidate) == "champion"
    assert response["ETag"] == api().get(BASE)["ETag"]


def test_the_model_is_named_in_the_query_or_the_body(api: Api, scope: Principal) -> None:
    make_version(make_model("price"))
    make_version(make_model("words"))
    client = api()

    assert client.post("/api/v1/models/v1/promote?model_name=price").json()["model_name"] == "price"
    assert client.post("/api/v1/models/v1/promote", {"model_name": "words"}).json()["model_name"] == "words"
    assert client.post("/api/v1/models/v1/promote?model_name=price", {"model_name": "words"}).status_code == 400
    assert client.post("/api/v1/models/v1/promote").status_code == 404
    assert client.post(f"/api/v1/models/{uuid4()}/promote").status_code == 404


def test_an_id_of_another_model_than_the_named_one_is_not_found(api: Api, candidate: ModelVersion) -> None:
    make_model("price")

    assert api().post(f"/api/v1/models/{candidate.pk}/promote?model_name=price").status_code == 404


def test_a_promotion_past_unmeasured_gates_is_marked(api: Api, candidate: ModelVersion) -> None:
    body = api().post(f"{BASE}/promote/v2", {"user_id": "kim"}).json()

    assert (body["override"], body["gates"], body["verdict"]) == (True, [], None)
    assert DecisionRecord.objects.get(version=candidate).override


def test_a_promotion_shows_its_gates(api: Api, scope: Principal) -> None:
    make_arena()

    body = api().post(f"{BASE}/promote/v3").json()

    assert (body["override"], body["verdict"]["passed"], len(body["gates"])) == (False, True, 13)


def test_enforced_gates_need_an_override_with_a_reason(api: Api, scope: Principal) -> None:
    make_arena(better=0.99)
    RegisteredModel.objects.update(policy={"enforce_gates": True})
    client = api()

    refused = client.post(f"{BASE}/promote/v3", {"reason": "I like it."})

    assert (refused.status_code, refused.json()["code"]) == (409, "gates_failed")
    assert [gate["name"] for gate in refused.json()["gates"] if not gate["passed"]] == ["improvement"]
    assert client.post(f"{BASE}/promote/v3", {"override": True}).status_code == 409
    passed = client.post(f"{BASE}/promote/v3", {"override": True, "reason": "The season is over."})
    assert (passed.status_code, passed.json()["override"]) == (200, True)


def test_promoting_the_champion_again_is_an_illegal_transition(api: Api, scope: Principal) -> None:
    make_champion(make_model())

    response = api().post(f"{BASE}/promote/v1")

    body = response.json()
    assert (response.status_code, body["code"], body["current"], body["allowed"]) == (409, "illegal_transition", "champion", [])
    assert "it is an end state" not in body["detail"]


@pytest.mark.parametrize(
    ("move", "body", "status"),
    [("shadow", {}, "shadow"), ("challenge", {"reason": "Compete."}, "challenger"), ("archive", {"reason": "Worse."}, "archived")],
)
def test_the_other_moves(api: Api, candidate: ModelVersion, move: str, body: dict[str, str], status: str) -> None:
    response = api().post(f"{BASE}/versions/v2/{move}", body)

    assert (response.status_code, response.json()["status"]) == (200, status)
    assert response["ETag"] == api().get(f"{BASE}/versions/v2")["ETag"]


def test_archiving_needs_a_reason(api: Api, candidate: ModelVersion) -> None:
    response = api().post(f"{BASE}/versions/v2/archive", {"reason": "  "})

    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "reason")


def test_rolling_back_brings_the_former_champion_back(api: Api, candidate: ModelVersion) -> None:
    client = api()
    client.post(f"{BASE}/promote/v2")

    body = client.post(f"{BASE}/versions/v1/rollback", {"reason": "Errors doubled."}).json()

    assert (body["status"], body["former_champion"]) == ("champion", "v2")
    assert [row["kind"] for row in client.get(f"{BASE}/deployment-history").json()["results"]] == ["rollback", "promotion", "promotion"]


def test_only_a_former_champion_can_be_rolled_back_to(api: Api, candidate: ModelVersion) -> None:
    assert api().post(f"{BASE}/versions/v2/rollback").json()["code"] == "illegal_transition"


ROLES = {
    "promote": {"viewer": 403, "data_scientist": 403, "ml_manager": 200, "admin": 200, "service": 403},
    "shadow": {"viewer": 403, "data_scientist": 200, "ml_manager": 200, "admin": 200, "service": 403},
    "challenge": {"viewer": 403, "data_scientist": 200, "ml_manager": 200, "admin": 200, "service": 403},
    "archive": {"viewer": 403, "data_scientist": 403, "ml_manager": 200, "admin": 200, "service": 403},
    "rollback": {"viewer": 403, "data_scientist": 403, "ml_manager": 409, "admin": 409, "service": 403},
    "judge": {"viewer": 403, "data_scientist": 200, "ml_manager": 200, "admin": 200, "service": 403},
}


@pytest.mark.parametrize(("move", "role"), [(move, role) for move, roles in ROLES.items() for role in roles])
def test_each_move_asks_for_its_role(api: Api, candidate: ModelVersion, move: str, role: str) -> None:
    body = {} if move == "judge" else {"reason": "Because."}

    assert api(role).post(f"{BASE}/versions/v2/{move}", body).status_code == ROLES[move][role]


@pytest.mark.parametrize("move", ["promote", "shadow", "challenge", "archive"])
def test_a_stale_page_decides_nothing(api: Api, candidate: ModelVersion, move: str) -> None:
    client = api()
    seen = client.get(f"{BASE}/versions/v2")["ETag"]
    make_version(candidate.model)

    response = client.post(f"{BASE}/versions/v2/{move}", {"reason": "Old numbers."}, headers={"If-Match": seen})

    assert (response.status_code, response.json()["code"]) == (412, "stale")
    assert status_of(candidate) == "candidate"


def test_a_promotion_on_the_present_revision_goes_through(api: Api, candidate: ModelVersion) -> None:
    client = api()
    seen = client.get(BASE)["ETag"]

    assert client.post(f"{BASE}/promote/v2", headers={"If-Match": seen}).status_code == 200


def test_a_person_names_only_themselves(api: Api, candidate: ModelVersion) -> None:
    client = api(email="kim@shop.example")

    other = client.post(f"{BASE}/promote/v2", {"user_id": "lee@shop.example"})
    own = client.post(f"{BASE}/promote/v2", {"user_id": "Kim@shop.example"})

    assert (other.status_code, other.json()["code"]) == (403, "identity_mismatch")
    assert own.status_code == 200
    assert AuditEvent.objects.get(action="version.champion", object_id=str(candidate.pk)).on_behalf_of == ""


def test_a_session_names_only_itself(site: Any, candidate: ModelVersion, principal: Any) -> None:
    client = site("ml_manager", "lee@shop.example")

    refused = client.post(f"{BASE}/versions/v2/shadow", {"user_id": "kim"}, content_type="application/json")

    assert (refused.status_code, refused.json()["code"]) == (403, "identity_mismatch")


@pytest.mark.parametrize("role", ["ml_manager", "admin"])
def test_a_key_without_a_person_names_whom_it_acts_for(api: Api, candidate: ModelVersion, role: str) -> None:
    assert api(role).post(f"{BASE}/versions/v2/shadow", {"user_id": "kim"}).status_code == 200
    assert AuditEvent.objects.get(action="version.shadow").on_behalf_of == "kim"


def test_an_administrators_key_names_another_person(api: Api, candidate: ModelVersion) -> None:
    api("admin", email="root@shop.example").post(f"{BASE}/versions/v2/shadow", {"user_id": "kim"})

    event = AuditEvent.objects.get(action="version.shadow")
    assert (event.actor, event.on_behalf_of) == ("root@shop.example", "kim")


def test_judging_metadata_answers_at_once_and_fails_closed(api: Api, candidate: ModelVersion) -> None:
    response = api("data_scientist").post(f"{BASE}/versions/v2/judge")

    body = response.json()
    assert (response.status_code, body["passed"], body["against"]) == (200, False, "v1")
    assert "missing" in body["gates"][0]["why"]
    assert api().get(f"{BASE}/versions/v2").json()["verdict"]["id"] == body["id"]


def test_judging_an_artifact_answers_with_the_job(api: Api, candidate: ModelVersion) -> None:
    predicting = make_predicting(candidate)

    response = api("data_scientist").post(f"{BASE}/versions/{predicting.version}/judge")

    job = Job.objects.get(kind="judge_version")
    assert (response.status_code, response.json()["job_id"]) == (202, str(job.pk))
    assert response["Location"] == f"/api/v1/jobs/{job.pk}"
    assert api().get(response["Location"]).json()["status"] == "queued"
    again = api().post(f"{BASE}/versions/{predicting.version}/judge")
    assert (again.status_code, again.json()["code"]) == (409, "already_running")


def make_predicting(candidate: ModelVersion) -> ModelVersion:
    row = ModelVersion(
        model=candidate.model,
        model_name=candidate.model_name,
        version="v77",
        number=77,
        artifact_path="models/x/model.json",
        artifact_sha256="a" * 64,
        artifact_format="forecaster",
        created_by="x",
        created_at=candidate.created_at,
        status_changed_at=candidate.created_at,
    )
    row.save(force_insert=True)
    return row


def test_judging_the_champion_makes_no_sense(api: Api, candidate: ModelVersion) -> None:
    assert api().post(f"{BASE}/versions/v1/judge").status_code == 400


@pytest.fixture
def four_eyes(candidate: ModelVersion) -> ModelVersion:
    RegisteredModel.objects.filter(pk=candidate.model_id).update(policy={"four_eyes": True})
    return candidate


def test_with_four_eyes_a_promotion_waits_for_another_manager(api: Api, four_eyes: ModelVersion) -> None:
    asked = api(email="kim@shop.example").post(f"{BASE}/promote/v2", {"reason": "Better."})

    request = asked.json()["promotion_request"]
    assert (asked.status_code, asked.json()["outcome"], request["status"]) == (202, "pending", "pending")
    assert asked["Location"] == f"/api/v1/models/promotion-requests/{request['id']}"
    assert api("viewer").get(asked["Location"]).json() == request
    assert status_of(four_eyes) == "candidate"
    granted = api(email="lee@shop.example").post(f"{asked['Location']}/approve", {"approved_by": "lee@shop.example", "reason": "Agreed."})
    assert (granted.status_code, granted.json()["status"]) == (200, "champion")
    decision = DecisionRecord.objects.get(version=four_eyes)
    assert (decision.proposer, decision.approvers) == ("kim@shop.example", ["lee@shop.example"])
    assert verify().intact


def test_whoever_asked_cannot_approve(api: Api, four_eyes: ModelVersion) -> None:
    client = api("admin", email="kim@shop.example")
    where = client.post(f"{BASE}/promote/v2")["Location"]

    refused = client.post(f"{where}/approve", {})

    assert (refused.status_code, refused.json()["code"]) == (403, "four_eyes")


@pytest.mark.parametrize("form", ["id", "mail", "wide"])
def test_whoever_a_key_asked_for_cannot_approve_however_they_were_named(
    api: Api, four_eyes: ModelVersion, principal: Any, form: str
) -> None:
    mia = principal("ml_manager", "mia@shop.example")
    sent = {"id": str(mia.user_id), "mail": "Mia@shop.example", "wide": "ｍｉａ@shop.example"}[form]

    asked = api("admin", email="root@shop.example").post(f"{BASE}/promote/v2", {"user_id": sent}).json()
    refused = api(email=mia.name).post(f"/api/v1/models/promotion-requests/{asked['promotion_request']['id']}/approve")

    assert (refused.status_code, refused.json()["code"]) == (403, "four_eyes")
    assert AuditEvent.objects.get(action="promotion_request.created").on_behalf_of == mia.name


def test_an_id_that_is_no_members_names_nobody(api: Api, candidate: ModelVersion) -> None:
    refused = api().post(f"{BASE}/promote/v2", {"user_id": "6f1f3c1e-0000-4000-8000-000000000001"})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "user_id")
    assert status_of(candidate) == "candidate"


def test_a_key_cannot_approve_what_it_asked_for_in_anothers_name(api: Api, four_eyes: ModelVersion) -> None:
    client = api()
    where = client.post(f"{BASE}/promote/v2", {"user_id": "kim@shop.example"})["Location"]

    own = client.post(f"{where}/approve", {"user_id": "lee@shop.example"})
    named = api(email="kim@shop.example").post(f"{where}/approve", {})

    assert [(one.status_code, one.json()["code"]) for one in (own, named)] == [(403, "four_eyes")] * 2


def test_a_key_cannot_approve_what_it_registered_in_anothers_name(api: Api, scope: Principal) -> None:
    make_champion(make_model(policy={"four_eyes": True}))
    client = api()
    client.post(f"{BASE}/versions", {"user_id": "kim@shop.example"})
    where = api(email="lee@shop.example").post(f"{BASE}/promote/v2")["Location"]

    assert client.post(f"{where}/approve", {}).json()["code"] == "four_eyes"
    assert api(email="kim@shop.example").post(f"{where}/approve", {}).json()["code"] == "four_eyes"


@pytest.mark.parametrize("asks_by_key", [False, True])
def test_nobody_is_the_second_pair_of_eyes_through_a_key_of_their_own_making(
    api: Api, customer: Customer, principal: Callable[..., Principal], four_eyes: ModelVersion, asks_by_key: bool
) -> None:
    admin = principal("admin", "ada@shop.example")
    _, secret = create_api_key(customer=customer, role=Role.ML_MANAGER, name="robot", user=None, at=NOON, by=admin)
    program, herself, other = APIClient(), api("admin", email="ada@shop.example"), api()
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    first, second = (program, herself) if asks_by_key else (herself, program)

    where = first.post(f"{BASE}/promote/v2", {})["Location"]
    refused = [second.post(f"{where}/approve", body) for body in ({}, {"user_id": "kim@shop.example"})]

    assert {one.json()["code"] for one in refused} == {"four_eyes"}
    assert other.post(f"{where}/approve", {}).status_code == 200


def test_a_rejection_needs_a_reason_and_moves_nothing(api: Api, four_eyes: ModelVersion) -> None:
    where = api(email="kim@shop.example").post(f"{BASE}/promote/v2")["Location"]
    client = api(email="lee@shop.example")

    assert client.post(f"{where}/reject", {}).status_code == 400
    rejected = client.post(f"{where}/reject", {"reason": "Too early."}).json()
    assert (rejected["status"], rejected["decided_by"], rejected["decision_reason"]) == ("rejected", "lee@shop.example", "Too early.")
    assert status_of(four_eyes) == "candidate"
    late = client.post(f"{where}/approve", {})
    assert (late.status_code, late.json()["code"], late.json()["decided_by"]) == (409, "already_decided", "lee@shop.example")
    assert late.json()["decided_at"] == rejected["decided_at"]


@pytest.mark.parametrize("act", ["approve", "reject"])
def test_a_request_is_not_decided_on_numbers_that_have_changed_since(api: Api, four_eyes: ModelVersion, act: str) -> None:
    where = api(email="kim@shop.example").post(f"{BASE}/promote/v2")["Location"]
    client = api(email="lee@shop.example")
    seen = client.get(where)["ETag"]
    make_version(four_eyes.model)

    stale = client.post(f"{where}/{act}", {"reason": "Old numbers."}, headers={"If-Match": seen})
    waits = client.get(where)
    fresh = client.post(f"{where}/{act}", {"reason": "New numbers."}, headers={"If-Match": waits["ETag"]})
    late = client.post(f"{where}/{act}", {"reason": "Old numbers."}, headers={"If-Match": seen})

    assert (stale.status_code, stale.json()["code"], stale.json()["current_etag"]) == (412, "stale", waits["ETag"])
    assert waits.json()["status"] == "pending"
    assert (fresh.status_code, late.status_code, late.json()["code"]) == (200, 409, "already_decided")


def test_a_data_scientist_does_not_decide(api: Api, four_eyes: ModelVersion) -> None:
    where = api(email="kim@shop.example").post(f"{BASE}/promote/v2")["Location"]

    refused = api("viewer").post(f"{where}/approve", {})
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "The role viewer may not decide on promotion requests: that takes the role ml_manager.",
    )
    assert api("data_scientist").post(f"{where}/approve", {}).status_code == 403
    assert api("data_scientist").post(f"{where}/reject", {"reason": "No."}).status_code == 403


def test_requests_are_listed_and_filtered(api: Api, four_eyes: ModelVersion) -> None:
    api(email="kim@shop.example").post(f"{BASE}/promote/v2")
    client = api("viewer")

    assert client.get("/api/v1/models/promotion-requests?status=pending").json()["count"] == 1
    assert client.get("/api/v1/models/promotion-requests?model_name=demand_forecast&kind=promote").json()["count"] == 1
    assert client.get("/api/v1/models/promotion-requests?status=rejected").json()["count"] == 0
    assert client.get("/api/v1/models/promotion-requests?status=maybe").status_code == 400


@pytest.mark.parametrize("identifier", ["00000000-0000-4000-8000-000000000000", "-" * 36, "not-a-uuid"])
def test_unknown_requests_are_not_found(api: Api, identifier: str) -> None:
    client = api()

    assert client.get(f"/api/v1/models/promotion-requests/{identifier}").status_code == 404
    assert client.post(f"/api/v1/models/promotion-requests/{identifier}/approve", {}).status_code == 404
    assert client.post(f"/api/v1/models/promotion-requests/{identifier}/reject", {"reason": "x"}).status_code == 404


def test_a_version_that_moves_on_overtakes_its_request(api: Api, four_eyes: ModelVersion) -> None:
    where = api(email="kim@shop.example").post(f"{BASE}/promote/v2")["Location"]
    api().post(f"{BASE}/versions/v2/archive", {"reason": "Leaks the future."})

    assert api(email="lee@shop.example").post(f"{where}/approve", {}).json()["code"] == "already_decided"
    assert PromotionRequest.objects.get().status == "overtaken"


def test_an_emergency_rollback_passes_four_eyes_and_is_marked(api: Api, four_eyes: ModelVersion) -> None:
    RegisteredModel.objects.update(policy={})
    client = api(email="kim@shop.example")
    client.post(f"{BASE}/promote/v2")
    RegisteredModel.objects.update(policy={"four_eyes": True})

    waits = client.post(f"{BASE}/versions/v1/rollback", {"reason": "Errors."})
    silent = client.post(f"{BASE}/versions/v1/rollback", {"emergency": True})
    done = client.post(f"{BASE}/versions/v1/rollback", {"emergency": True, "reason": "Orders are wrong."})

    assert [one.status_code for one in (waits, silent, done)] == [202, 400, 200]
    assert DecisionRecord.objects.get(kind="rollback").emergency


def test_a_second_ask_with_an_override_overtakes_a_request_without_one(api: Api, four_eyes: ModelVersion) -> None:
    kim, lee = api(email="kim@shop.example"), api(email="lee@shop.example")
    first = kim.post(f"{BASE}/promote/v2", {"reason": "Looks good."})
    again = lee.post(f"{BASE}/promote/v2", {"reason": "Me too."})
    RegisteredModel.objects.update(policy={"four_eyes": True, "enforce_gates": True})

    stronger = lee.post(f"{BASE}/promote/v2", {"reason": "The season begins.", "override": True})
    repeated = lee.post(f"{BASE}/promote/v2", {"reason": "Now!", "override": True})
    old = kim.post(f"{first['Location']}/approve", {})
    own = lee.post(f"{stronger['Location']}/approve", {})
    granted = kim.post(f"{stronger['Location']}/approve", {})

    assert [one.status_code for one in (first, again, stronger, repeated)] == [202] * 4
    assert first["Location"] == again["Location"] != stronger["Location"] == repeated["Location"]
    assert [(one.status_code, one.json().get("code")) for one in (old, own)] == [(409, "already_decided"), (403, "four_eyes")]
    assert (granted.status_code, DecisionRecord.objects.get(version=four_eyes).override) == (200, True)
    asked = list(PromotionRequest.objects.values_list("requested_by", "status", "override", "reason"))
    assert asked == [("kim@shop.example", "overtaken", False, "Looks good."), ("lee@shop.example", "approved", True, "The season begins.")]


@pytest.mark.parametrize("four", [True, False])
def test_a_rollback_past_enforced_gates_is_an_emergency(api: Api, candidate: ModelVersion, four: bool) -> None:
    client = api()
    client.post(f"{BASE}/promote/v2")
    RegisteredModel.objects.update(policy={"enforce_gates": True, "four_eyes": four})

    back = client.post(f"{BASE}/versions/v1/rollback", {"reason": "Errors."})
    promoted = client.post(f"{BASE}/promote/v1", {"reason": "Errors.", "override": True})
    silent = client.post(f"{BASE}/versions/v1/rollback", {"emergency": True})
    emergency = client.post(f"{BASE}/versions/v1/rollback", {"reason": "Orders are wrong.", "emergency": True})

    assert [(one.status_code, one.json()["code"]) for one in (back, promoted)] == [(409, "gates_failed")] * 2
    assert ["as an `emergency`" in one.json()["detail"] for one in (back, promoted)] == [True, True]
    assert (silent.status_code, emergency.status_code) == (400, 200)
    [kept] = DecisionRecord.objects.filter(kind="rollback")
    assert (kept.version.version, kept.emergency, kept.override, PromotionRequest.objects.count()) == ("v1", True, False, 0)
    assert Message.objects.filter(topic=EmergencyRollback.TOPIC).count() == 1


def test_a_second_manager_does_not_grant_a_rollback_past_gates_enforced_since_it_was_asked_for(api: Api, candidate: ModelVersion) -> None:
    kim, lee = api(email="kim@shop.example"), api(email="lee@shop.example")
    kim.post(f"{BASE}/promote/v2")
    RegisteredModel.objects.update(policy={"four_eyes": True})
    where = kim.post(f"{BASE}/versions/v1/rollback", {"reason": "Errors."})["Location"]
    RegisteredModel.objects.update(policy={"four_eyes": True, "enforce_gates": True})

    refused = lee.post(f"{where}/approve", {"reason": "Agreed."})
    RegisteredModel.objects.update(policy={"four_eyes": True})
    granted = lee.post(f"{where}/approve", {"reason": "Agreed."})

    assert (refused.status_code, refused.json()["code"], "as an `emergency`" in refused.json()["detail"]) == (409, "gates_failed", True)
    assert (granted.status_code, granted.json()["status"]) == (200, "champion")


@pytest.mark.parametrize("value", ["yes", "true", 1, 0.0, [], {}])
def test_an_override_is_true_or_false(api: Api, candidate: ModelVersion, value: Any) -> None:
    refused = api().post(f"{BASE}/promote/v2", {"override": value, "reason": "Now."})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "override")
    candidate.refresh_from_db()
    assert candidate.status == "candidate"


@pytest.mark.parametrize("value", ["false", 0])
def test_an_emergency_is_true_or_false(api: Api, candidate: ModelVersion, value: Any) -> None:
    api().post(f"{BASE}/promote/v2", {})

    refused = api().post(f"{BASE}/versions/v1/rollback", {"emergency": value, "reason": "Errors."})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "emergency")


@pytest.mark.parametrize("body", [{"reason": "x" * 4001}, {"reason": {}}, {"override": "maybe"}, {"user_id": "x" * 255}, {"sorcery": 1}])
def test_a_body_that_will_not_do_is_refused(api: Api, candidate: ModelVersion, body: dict[str, Any]) -> None:
    assert api().post(f"{BASE}/promote/v2", body).status_code == 400


def test_the_longest_accepted_texts_can_be_read_back(api: Api, candidate: ModelVersion) -> None:
    client = api()

    moved = client.post(f"{BASE}/promote/v2", {"reason": "🦄" * 4000, "user_id": "ü" * 254})

    assert moved.status_code == 200
    assert client.get(f"{BASE}/versions/v2/evidence").json()["decisions"][0]["rationale"] == "🦄" * 4000
    assert client.get("/api/v1/models/history").status_code == 200
    assert client.get(f"{BASE}/versions/v2/evidence?format=html").status_code == 200


def test_a_repeated_promotion_under_one_key_happens_once(api: Api, candidate: ModelVersion) -> None:
    client = api()

    answers = [client.post(f"{BASE}/promote/v2", {}, headers={"Idempotency-Key": "k"}) for _ in range(2)]

    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert DecisionRecord.objects.filter(version=candidate).count() == 1


def test_registering_over_a_data_set_keeps_it_as_evidence(api: Api, scope: Principal) -> None:
    model = make_model()
    data = make_dataset(models=[model])

    found = api().post(f"{BASE}/versions", {"dataset_version_id": str(data.pk)}).json()

    assert found["dataset_version_id"] == str(data.pk)
