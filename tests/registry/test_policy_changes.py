"""A policy that asks for less: what counts as looser, who decides, and that one person alone never switches the second pair of eyes off."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rest_framework.test import APIClient

from mlops.audit.models import AuditEvent
from mlops.audit.services import verify
from mlops.lifecycle.mechanism import IllegalMove
from mlops.outbox.models import Message
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal, Role, system
from mlops.tenancy.services import create_api_key
from registry.models import PolicyChangeRequest, RegisteredModel
from registry.rules.policy import LOOSER, Policy, loosened
from registry.services.model_settings import configure_model
from registry.states import POLICY_REQUEST_LIFECYCLE, RequestStatus
from tests.conftest import NOON
from tests.registry.factories import make_champion, make_model, make_version

Api = Callable[..., APIClient]
BASE = "/api/v1/models/demand_forecast"
REQUESTS = "/api/v1/models/policy-requests"
BOUND = Policy(four_eyes=True, enforce_gates=True, auto_promote=False)


@pytest.mark.parametrize(
    ("setting", "looser", "stricter"),
    [
        ("min_improvement_pct", 3.0, 7.0),
        ("accuracy_tolerance_pct", 3.0, 1.0),
        ("bias_tolerance_pp", 2.0, 0.5),
        ("coverage_tolerance_pp", 1.0, None),
        ("nominal_coverage_pct", 80.0, 95.0),
        ("stock_tolerance_pp", 1.0, 0.0),
        ("segment_tolerance_pct", 1000.0, 0.0),
        ("max_p_value", 1.0, 0.01),
        ("auto_promote", True, None),
        ("enforce_gates", False, None),
        ("four_eyes", False, None),
        ("backtest_days", 28, 180),
        ("primary_metric", "wape", None),
        ("horizon", 1, None),
        ("horizon", 14, None),
        ("backtest_retrain_days", 7, None),
    ],
)
def test_each_setting_knows_which_way_it_asks_for_less(setting: str, looser: Any, stricter: Any) -> None:
    assert loosened(BOUND, replace(BOUND, **{setting: looser})) == [setting]
    assert loosened(BOUND, replace(BOUND, **({} if stricter is None else {setting: stricter}))) == []


def test_switching_guards_on_is_no_loosening() -> None:
    assert loosened(replace(BOUND, four_eyes=False, enforce_gates=False, auto_promote=True), BOUND) == []


def test_no_setting_is_without_a_direction() -> None:
    assert set(LOOSER) == set(Policy().to_json())


LEGAL = {("pending", "approved"), ("pending", "rejected"), ("pending", "overtaken")}


@pytest.mark.parametrize(("source", "target"), [(one, two) for one in RequestStatus.values for two in RequestStatus.values])
def test_a_request_is_decided_once(scope: Principal, source: str, target: str) -> None:
    def check() -> None:
        POLICY_REQUEST_LIFECYCLE.check(label="it", current=source, target=target, actor=scope, forced=target == "overtaken")

    if (source, target) in LEGAL:
        check()
    else:
        with pytest.raises(IllegalMove):
            check()


@pytest.fixture
def model(scope: Principal) -> RegisteredModel:
    """A model with a champion and a candidate, under four eyes and enforced gates."""
    found = make_model(policy={"four_eyes": True, "enforce_gates": True, "min_improvement_pct": 6.0})
    make_champion(found)
    make_version(found)
    return found


def policy_of(model: RegisteredModel) -> dict[str, Any]:
    model.refresh_from_db()
    return model.policy


def test_a_manager_cannot_switch_the_guards_off_promote_and_switch_them_on_again(api: Api, model: RegisteredModel) -> None:
    client = api(email="kim@shop.example")

    off = client.patch(BASE, {"policy": {"four_eyes": False, "enforce_gates": False}, "reason": "Too slow."})
    promoted = client.post(f"{BASE}/promote/v2", {"reason": "Better.", "override": True})

    request = off.json()["policy_request"]
    assert (off.status_code, off["Location"]) == (202, f"{REQUESTS}/{request['id']}")
    assert (request["before"], request["after"]) == (
        {"enforce_gates": True, "four_eyes": True},
        {"enforce_gates": False, "four_eyes": False},
    )
    assert (promoted.status_code, promoted.json()["outcome"]) == (202, "pending")
    assert policy_of(model)["four_eyes"] is True
    assert (off.json()["revision"], off.json()["policy_revision"]) == (model.revision, 1)


def test_of_one_change_what_is_stricter_applies_and_what_is_looser_waits(api: Api, model: RegisteredModel) -> None:
    changes = {"policy": {"min_improvement_pct": 2, "max_p_value": 0.01, "stock_tolerance_pp": 3}, "display_name": "Demand"}

    answer = api(email="kim@shop.example").patch(BASE, changes)

    body = answer.json()
    assert answer.status_code == 202
    assert body["policy_request"]["after"] == {"min_improvement_pct": 2, "stock_tolerance_pp": 3}
    assert (body["display_name"], body["policy_revision"]) == ("Demand", 2)
    assert {name: body["policy"][name] for name in changes["policy"]} == {
        "min_improvement_pct": 6.0,
        "max_p_value": 0.01,
        "stock_tolerance_pp": 0.5,
    }


def test_a_second_manager_lets_the_looser_policy_hold(api: Api, model: RegisteredModel) -> None:
    where = api(email="kim@shop.example").patch(BASE, {"policy": {"four_eyes": False}, "reason": "One manager left."})["Location"]

    own = api("admin", email="kim@shop.example").post(f"{where}/approve", {})
    granted = api(email="lee@shop.example").post(f"{where}/approve", {"reason": "Agreed."})

    assert (own.status_code, own.json()["code"]) == (403, "four_eyes")
    assert (granted.status_code, granted.json()["status"], granted.json()["decided_by"]) == (200, "approved", "lee@shop.example")
    assert granted["ETag"] == api().get(BASE)["ETag"]
    assert policy_of(model) == {"four_eyes": False, "enforce_gates": True, "min_improvement_pct": 6.0}
    assert model.policy_revision == 2
    trail = AuditEvent.objects.order_by("number").values_list("action", "actor")
    assert [row for row in trail if row[0].startswith(("policy", "model.conf"))] == [
        ("policy_request.created", "kim@shop.example"),
        ("policy_request.approved", "lee@shop.example"),
        ("model.configured", "lee@shop.example"),
        ("policy.loosened", "lee@shop.example"),
    ]
    assert verify().intact


def test_a_rejection_needs_a_reason_and_leaves_the_policy(api: Api, model: RegisteredModel) -> None:
    where = api(email="kim@shop.example").patch(BASE, {"policy": {"four_eyes": False}})["Location"]
    client = api(email="lee@shop.example")

    assert client.post(f"{where}/reject", {}).status_code == 400
    assert client.post(f"{where}/reject", {"reason": "No."}).json()["status"] == "rejected"
    late = client.post(f"{where}/approve", {})
    assert (late.status_code, late.json()["code"], late.json()["decided_by"]) == (409, "already_decided", "lee@shop.example")
    assert policy_of(model)["four_eyes"] is True


def test_news_tells_of_the_wish_and_of_its_end(api: Api, model: RegisteredModel) -> None:
    where = api(email="kim@shop.example").patch(BASE, {"policy": {"max_p_value": 0.5}, "reason": "Small shop."})["Location"]
    api(email="lee@shop.example").post(f"{where}/reject", {"reason": "No."})

    asked, decided = (
        Message.objects.get(topic=f"registry.{topic}").payload for topic in ("policy_change_pending", "policy_change_decided")
    )
    identifier = where.rpartition("/")[2]
    assert asked == {
        "model_name": "demand_forecast",
        "request_id": identifier,
        "actor": "kim@shop.example",
        "reason": "Small shop.",
        "before": {"max_p_value": 0.05},
        "after": {"max_p_value": 0.5},
    }
    assert (decided["request_id"], decided["status"], decided["decided_by"]) == (identifier, "rejected", "lee@shop.example")


@pytest.mark.parametrize("asks_by_key", [False, True])
def test_nobody_loosens_alone_through_a_key_of_their_own_making(
    api: Api, customer: Customer, principal: Callable[..., Principal], model: RegisteredModel, asks_by_key: bool
) -> None:
    admin = principal("admin", "ada@shop.example")
    _, secret = create_api_key(customer=customer, role=Role.ML_MANAGER, name="robot", user=None, at=NOON, by=admin)
    program, herself = APIClient(), api("admin", email="ada@shop.example")
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    first, second = (program, herself) if asks_by_key else (herself, program)

    where = first.patch(BASE, {"policy": {"four_eyes": False}})["Location"]
    refused = [second.post(f"{where}/approve", body) for body in ({}, {"user_id": "kim@shop.example"})]

    assert {one.json()["code"] for one in refused} <= {"four_eyes", "identity_mismatch"}
    assert refused[0].json()["code"] == "four_eyes"
    assert policy_of(model)["four_eyes"] is True


def test_the_same_wish_again_is_the_same_request_and_another_overtakes_it(api: Api, model: RegisteredModel) -> None:
    client = api(email="kim@shop.example")
    first, again = (client.patch(BASE, {"policy": {"min_improvement_pct": 4}})["Location"] for _ in range(2))

    third = client.patch(BASE, {"policy": {"min_improvement_pct": 3}})["Location"]

    assert first == again != third
    assert client.get(first).json()["status"] == "overtaken"
    assert client.get(f"{REQUESTS}?status=pending").json()["count"] == 1


def test_a_stricter_change_of_the_same_setting_overtakes_the_wish(api: Api, model: RegisteredModel) -> None:
    client = api(email="kim@shop.example")
    where = client.patch(BASE, {"policy": {"min_improvement_pct": 4}})["Location"]
    other = client.patch(BASE, {"policy": {"max_p_value": 0.5}})["Location"]

    client.patch(BASE, {"policy": {"min_improvement_pct": 8}})

    assert [client.get(one).json()["status"] for one in (where, other)] == ["overtaken", "pending"]
    late = api(email="lee@shop.example").post(f"{where}/approve", {})
    assert (late.status_code, late.json()["decision"]) == (409, "overtaken")


def test_a_decision_on_a_model_that_changed_since_is_stale(api: Api, model: RegisteredModel) -> None:
    where = api(email="kim@shop.example").patch(BASE, {"policy": {"four_eyes": False}})["Location"]
    client = api(email="lee@shop.example")
    seen = client.get(where)["ETag"]
    make_version(model)

    stale = [client.post(f"{where}/{act}", {"reason": "x"}, headers={"If-Match": seen}) for act in ("approve", "reject")]

    assert [(one.status_code, one.json()["code"]) for one in stale] == [(412, "stale")] * 2
    fresh = client.get(where)["ETag"]
    assert client.post(f"{where}/approve", {}, headers={"If-Match": fresh}).status_code == 200


def test_enforced_gates_alone_are_loosened_by_one_manager_and_the_trail_says_so(api: Api, scope: Principal) -> None:
    model = make_model(policy={"enforce_gates": True})

    answer = api(email="kim@shop.example").patch(BASE, {"policy": {"enforce_gates": False, "max_p_value": 0.01}, "reason": "Trial."})

    event = AuditEvent.objects.get(action="policy.loosened")
    assert (answer.status_code, answer.json()["policy_request"], policy_of(model)["enforce_gates"]) == (200, None, False)
    assert (event.actor, event.before, event.after, event.reason) == (
        "kim@shop.example",
        {"enforce_gates": True},
        {"enforce_gates": False},
        "Trial.",
    )


def test_a_policy_that_binds_nobody_is_changed_without_ado(api: Api, scope: Principal) -> None:
    make_model()

    answer = api().patch(BASE, {"policy": {"min_improvement_pct": 1}})

    assert answer.status_code == 200
    assert not AuditEvent.objects.filter(action="policy.loosened").exists()
    assert not PolicyChangeRequest.objects.exists()


def test_scheduled_work_is_not_asked_for_a_second_pair_of_eyes(scope: Principal) -> None:
    model = make_model(policy={"four_eyes": True})

    made = configure_model(model=model, changes={"policy": {"four_eyes": False}}, by=system(scope.customer_id), at=NOON)

    assert (made.request, made.model.policy["four_eyes"]) == (None, False)
    assert AuditEvent.objects.filter(action="policy.loosened", actor="system").exists()


def test_a_data_scientist_decides_nothing_and_a_viewer_sees_the_list(api: Api, model: RegisteredModel) -> None:
    where = api(email="kim@shop.example").patch(BASE, {"policy": {"four_eyes": False}})["Location"]

    assert api("data_scientist").post(f"{where}/approve", {}).status_code == 403
    assert api("data_scientist").post(f"{where}/reject", {"reason": "No."}).status_code == 403
    rows = api("viewer").get(f"{REQUESTS}?model_name=demand_forecast").json()
    assert (rows["count"], rows["results"][0]) == (1, api("viewer").get(where).json())
    assert api("viewer").get(f"{REQUESTS}?status=maybe").status_code == 400


@pytest.mark.parametrize("identifier", ["00000000-0000-4000-8000-000000000000", "-" * 36, "not-a-uuid"])
def test_unknown_requests_are_not_found(api: Api, customer: Customer, identifier: str) -> None:
    client = api()

    assert client.get(f"{REQUESTS}/{identifier}").status_code == 404
    assert client.post(f"{REQUESTS}/{identifier}/approve", {}).status_code == 404


def test_another_customers_request_is_not_found(api: Api, model: RegisteredModel, other_customer: Customer) -> None:
    where = api(email="kim@shop.example").patch(BASE, {"policy": {"four_eyes": False}})["Location"]
    stranger = api("admin", of=other_customer)

    assert (stranger.get(where).status_code, stranger.post(f"{where}/approve", {}).status_code) == (404, 404)
    assert stranger.get(REQUESTS).json()["count"] == 0
