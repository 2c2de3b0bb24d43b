"""Experiments by API: the documented calls, roles, four eyes, bad bodies, other tenants, results and comments."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from experiments.models import Experiment, ExperimentComment, ExperimentVersion
from experiments.states import ExperimentStatus
from mlops.audit.models import AuditEvent
from mlops.outbox.models import Message
from mlops.outbox.services import handle
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import ModelVersion, PromotionRequest, RegisteredModel
from registry.services import moves
from tests.conftest import NOON
from tests.experiments.chain import news
from tests.experiments.proposals import make_days, make_experiment
from tests.registry.factories import make_arena, make_champion, make_dataset, make_model, make_verdict, make_version

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
BASE = "/api/v1/experiments"
PROPOSAL = {
    "experiment_name": "Department-Tiered Forecasting",
    "hypothesis": "Electronics demand differs from Grocery. Dedicated model will improve MAE by 12%",
    "experiment_type": "segmentation",
    "proposed_by": "jane.doe@shelfops.com",
}
APPROVAL = {"approved_by": "ml_manager@shelfops.com", "rationale": "Approved with constraint: top 500 SKUs only"}
COMPLETION: dict[str, Any] = {
    "decision": "adopt",
    "decision_rationale": "Exceeded target (22% improvement)",
    "results": {"baseline_mae": 12.8, "experimental_mae": 10.0, "improvement_pct": 21.9},
    "experimental_version": "v14",
}


def at(experiment: Experiment, path: str = "") -> str:
    return f"{BASE}/{experiment.pk}{path}"


def fields(response: Any) -> list[str]:
    assert response.status_code == 400, response.content
    return [error["field"] for error in response.json()["errors"]]


def relay(topic: str) -> None:
    """Tell everybody the news of a topic, as the relay would."""
    for message in Message.objects.filter(topic=topic, handled_at=None):
        handle(message_id=message.pk, attempts=message.attempts, at=NOON)


def test_the_documented_flow_works_as_printed(api: Api, scope: Principal) -> None:
    model = make_model()
    make_champion(model, label="v13")
    make_version(model, label="v14")
    client = api()

    proposed = client.post(BASE, PROPOSAL)
    where = f"{BASE}/{proposed.json()['id']}"
    approved = client.patch(f"{where}/approve", APPROVAL)
    completed = client.post(f"{where}/complete", COMPLETION)
    results = client.get(f"{where}/results")

    assert (proposed.status_code, approved.status_code, completed.status_code, results.status_code) == (201, 200, 200, 200)
    assert (proposed.json()["status"], proposed.json()["proposed_by"], proposed["Location"]) == ("proposed", PROPOSAL["proposed_by"], where)
    assert (approved.json()["status"], approved.json()["approved_by"]) == ("approved", APPROVAL["approved_by"])
    body = completed.json()
    assert (body["status"], body["decision"], body["results"]) == ("completed", "adopt", COMPLETION["results"])
    assert (body["baseline_version"], body["experimental_version"], body["promotion"]) == ("v13", "v14", "pending")
    assert (results.json()["results"], results.json()["comparison"]) == (COMPLETION["results"], None)
    events = AuditEvent.objects.filter(object_type="experiments.experiment").order_by("number")
    assert [(one.action, one.on_behalf_of) for one in events][:2] == [
        ("experiment.proposed", "jane.doe@shelfops.com"),
        ("experiment.approved", "ml_manager@shelfops.com"),
    ]
    assert [told["version"] for told in news("registry.promotion_pending")] == ["v14"]
    assert [(told["decision"], told["version"]) for told in news("experiments.experiment_completed")] == [("adopt", "v14")]


def test_an_adoption_takes_the_throne_when_the_policy_lets_a_winner(api: Api, scope: Principal) -> None:
    _, challenger = make_arena()
    experiment = make_experiment(scope, "shadow_testing")

    body = api().post(at(experiment, "/complete"), COMPLETION | {"experimental_version": "v3"}).json()

    assert body["promotion"] == "promoted"
    assert ModelVersion.objects.get(pk=challenger.pk).status == "champion"
    assert (body["baseline_version"], body["model_name"]) == ("v2", "demand_forecast")


@pytest.mark.parametrize(
    ("policy", "better", "requests"),
    [
        ({"four_eyes": True}, 0.93, 1),
        ({"auto_promote": False}, 0.93, 0),
        ({}, 0.99, 0),
        ({"four_eyes": True, "enforce_gates": True}, 0.99, 0),
    ],
)
def test_an_adoption_asks_a_person_where_the_policy_wants_one(
    api: Api, scope: Principal, policy: dict[str, Any], better: float, requests: int
) -> None:
    _, challenger = make_arena(better=better)
    RegisteredModel.objects.update(policy=policy)
    experiment = make_experiment(scope, "shadow_testing")

    body = api().post(at(experiment, "/complete"), COMPLETION | {"experimental_version": "v3"}).json()

    assert body["promotion"] == "pending"
    assert ModelVersion.objects.get(pk=challenger.pk).status == "challenger"
    assert PromotionRequest.objects.count() == requests
    assert [told["version"] for told in news("registry.promotion_pending")] == ["v3"]


@pytest.mark.parametrize("decision", ["partial_adopt", "reject", "rollback"])
def test_any_other_decision_promotes_nobody(api: Api, scope: Principal, decision: str) -> None:
    make_arena()
    experiment = make_experiment(scope, "shadow_testing")

    body = api().post(at(experiment, "/complete"), COMPLETION | {"experimental_version": "v3", "decision": decision}).json()

    assert (body["status"], body["decision"], body["promotion"]) == ("completed", decision, "none")
    assert ModelVersion.objects.get(version="v2").status == "champion"
    assert news("registry.promotion_pending") == []


def test_an_archived_version_cannot_be_adopted(api: Api, scope: Principal) -> None:
    _, challenger = make_arena()
    moves.archive(version_id=challenger.pk, by=scope, at=NOON, reason="Worse.")
    experiment = make_experiment(scope, "approved")

    response = api().post(at(experiment, "/complete"), COMPLETION | {"experimental_version": "v3"})

    assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
    assert Experiment.objects.get(pk=experiment.pk).status == "approved"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"experiment_name": " "}, "experiment_name"),
        ({"experiment_name": "x" * 201}, "experiment_name"),
        ({"experiment_name": 5}, "experiment_name"),
        ({"hypothesis": None}, "hypothesis"),
        ({"experiment_type": "magic"}, "experiment_type"),
        ({"model_name": "nowhere"}, "model_name"),
        ({"status": "approved"}, "status"),
    ],
)
def test_a_bad_proposal_is_refused_by_field(api: Api, customer: Customer, change: dict[str, Any], field: str) -> None:
    assert fields(api().post(BASE, PROPOSAL | change)) == [field]


@pytest.mark.parametrize("field", ["experiment_name", "hypothesis", "experiment_type"])
def test_a_proposal_lacks_nothing(api: Api, customer: Customer, field: str) -> None:
    assert fields(api().post(BASE, {name: value for name, value in PROPOSAL.items() if name != field})) == [field]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"decision": "maybe"}, "decision"),
        ({"decision_rationale": " "}, "decision_rationale"),
        ({"results": None}, "results"),
        ({"results": {"baseline_mae": 12.8}}, "results.experimental_mae"),
        ({"results": {"baseline_mae": 0, "experimental_mae": 1}}, "results.baseline_mae"),
        ({"results": {"baseline_mae": -1, "experimental_mae": 1}}, "results.baseline_mae"),
        ({"results": {"baseline_mae": True, "experimental_mae": 1}}, "results.baseline_mae"),
        ({"results": {"baseline_mae": "12.8", "experimental_mae": 1}}, "results.baseline_mae"),
        ({"results": {"baseline_mae": 12.8, "experimental_mae": 10.0, "improvement_pct": 22.5}}, "results.improvement_pct"),
        ({"results": {"baseline_mae": 12.8, "experimental_mae": 10.0, "mape": 3}}, "results.mape"),
        ({"experimental_version": "v99"}, "experimental_version"),
        ({"experimental_version": str(uuid4())}, "experimental_version"),
        ({"experimental_version": ""}, "experimental_version"),
        ({"model_name": "nowhere"}, "model_name"),
    ],
)
def test_a_bad_completion_is_refused_by_field(api: Api, scope: Principal, change: dict[str, Any], field: str) -> None:
    make_arena()
    experiment = make_experiment(scope, "approved")

    assert fields(api().post(at(experiment, "/complete"), COMPLETION | {"experimental_version": "v3"} | change)) == [field]
    assert Experiment.objects.get(pk=experiment.pk).status == "approved"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_refused(api: Api, scope: Principal, number: str) -> None:
    experiment = make_experiment(scope, "approved")
    body = f'{{"decision": "reject", "decision_rationale": "x", "results": {{"baseline_mae": {number}, "experimental_mae": 1}}}}'

    response = api().generic("POST", at(experiment, "/complete"), body, content_type="application/json")

    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/reject", "/rollback"])
def test_ending_an_experiment_needs_a_rationale(api: Api, scope: Principal, path: str) -> None:
    experiment = make_experiment(scope, "in_progress" if path == "/rollback" else "proposed")
    client = api()

    assert fields(client.patch(at(experiment, path), {})) == ["rationale"]
    assert fields(client.patch(at(experiment, path), {"rationale": "  "})) == ["rationale"]


ACTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "/approve": ("patch", "proposed", {}),
    "/reject": ("patch", "proposed", {"rationale": "No."}),
    "/start": ("patch", "approved", {}),
    "/shadow-test": ("patch", "in_progress", {}),
    "/rollback": ("patch", "in_progress", {"rationale": "It broke."}),
    "/complete": ("post", "shadow_testing", {"decision": "reject", "decision_rationale": "No gain."}),
    "/comments": ("post", "completed", {"body": "Pity."}),
    "": ("patch", "approved", {"hypothesis": "Another one."}),
}
MANAGERS = {"viewer": 403, "service": 403, "data_scientist": 403, "ml_manager": 200, "admin": 200}
SCIENTISTS = MANAGERS | {"data_scientist": 200}
ROLES = {
    "/approve": MANAGERS,
    "/reject": MANAGERS,
    "/rollback": MANAGERS,
    "/complete": MANAGERS,
    "/start": SCIENTISTS,
    "/shadow-test": SCIENTISTS,
    "": SCIENTISTS,
    "/comments": SCIENTISTS | {"data_scientist": 201, "ml_manager": 201, "admin": 201},
}


@pytest.mark.parametrize(("path", "role", "status"), [(path, role, code) for path, rows in ROLES.items() for role, code in rows.items()])
def test_each_act_needs_its_role(api: Api, scope: Principal, path: str, role: str, status: int) -> None:
    verb, standing, body = ACTS[path]
    experiment = make_experiment(scope, standing)

    response = getattr(api(role), verb)(at(experiment, path), body)

    assert response.status_code == status, response.content


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("service", 403), ("data_scientist", 201), ("ml_manager", 201)])
def test_proposing_needs_a_data_scientist(api: Api, customer: Customer, role: str, status: int) -> None:
    assert api(role).post(BASE, PROPOSAL).status_code == status


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, (_, _, body) in ACTS.items()])
def test_another_tenants_experiment_is_not_there(
    api: Api, scope: Principal, other_customer: Customer, path: str, body: dict[str, Any]
) -> None:
    experiment = make_experiment(scope)
    client = api("admin", of=other_customer)

    answers = [client.get(at(experiment)), client.get(at(experiment, "/results")), client.get(at(experiment, "/comments"))]
    answers.append(getattr(client, ACTS[path][0])(at(experiment, path), body))

    assert [answer.status_code for answer in answers] == [404] * 4
    assert client.get(BASE).json()["count"] == 0


def test_a_version_of_another_tenant_cannot_be_named(api: Api, scope: Principal, other_customer: Customer) -> None:
    with acting(system(other_customer.pk)):
        foreign = make_version(make_model())
    make_model()
    experiment = make_experiment(scope, "in_progress")

    assert fields(api().patch(at(experiment, "/shadow-test"), {"experimental_version": str(foreign.pk)})) == ["experimental_version"]


@pytest.mark.parametrize("role", ["ml_manager", "admin"])
def test_nobody_approves_their_own_experiment(api: Api, customer: Customer, role: str) -> None:
    client = api(role, email="kim@shop.example")
    where = client.post(BASE, {**PROPOSAL, "proposed_by": "kim@shop.example"})["Location"]

    refused = client.patch(f"{where}/approve", {})

    assert (refused.status_code, refused.json()["code"]) == (403, "four_eyes")
    assert api(email="lee@shop.example").patch(f"{where}/approve", {}).json()["approved_by"] == "lee@shop.example"


def test_an_admin_key_is_bound_whomever_it_names(api: Api, customer: Customer) -> None:
    client = api("admin", email="root@shop.example")
    where = client.post(BASE, PROPOSAL)["Location"]

    refused = client.patch(f"{where}/approve", APPROVAL)

    assert (refused.status_code, refused.json()["code"]) == (403, "four_eyes")


def test_a_programs_key_cannot_bring_proposal_and_approval_of_one_person(api: Api, customer: Customer) -> None:
    client = api()
    where = client.post(BASE, PROPOSAL)["Location"]

    assert client.patch(f"{where}/approve", {"approved_by": "Jane.Doe@shelfops.com"}).json()["code"] == "four_eyes"
    assert client.patch(f"{where}/approve", {}).json()["code"] == "four_eyes"


def test_a_programs_key_does_not_bring_one_member_by_two_names(api: Api, principal: Any, scope: Principal) -> None:
    mia, client = principal("ml_manager", "mia@alpha.example"), api()
    sent = {"id": str(mia.user_id), "mail": mia.name, "wide": "ＭＩＡ@alpha.example"}

    for first, second in [("mail", "id"), ("id", "mail"), ("mail", "wide")]:
        where = f"{BASE}/{client.post(BASE, PROPOSAL | {'proposed_by': sent[first]}).json()['id']}"
        refused = client.patch(f"{where}/approve", {"approved_by": sent[second]})
        assert (refused.status_code, refused.json()["code"]) == (403, "four_eyes")

    assert set(Experiment.objects.values_list("proposed_by", flat=True)) == {mia.name}
    assert fields(client.patch(f"{where}/approve", {"approved_by": str(uuid4())})) == ["approved_by"]
    assert client.patch(f"{where}/approve", {"approved_by": "lee@alpha.example"}).status_code == 200


def test_people_name_only_themselves(api: Api, customer: Customer) -> None:
    client = api(email="kim@shop.example")

    refused = client.post(BASE, PROPOSAL)

    assert (refused.status_code, refused.json()["code"]) == (403, "identity_mismatch")


def test_a_stale_decision_is_refused(api: Api, scope: Principal) -> None:
    experiment = make_experiment(scope)
    client = api()
    seen = client.get(at(experiment))["ETag"]
    client.patch(at(experiment), {"hypothesis": "Another one."})

    stale = api("admin").patch(at(experiment, "/approve"), {}, headers={"If-Match": seen})
    fresh = api("admin").patch(at(experiment, "/approve"), {}, headers={"If-Match": client.get(at(experiment))["ETag"]})

    assert (stale.status_code, stale.json()["code"], fresh.status_code) == (412, "stale", 200)


def test_editing_an_approved_experiment_asks_again(api: Api, scope: Principal) -> None:
    make_model("price")
    experiment = make_experiment(scope, "approved")

    body = api("data_scientist").patch(at(experiment), {"model_name": "price"}).json()

    assert (body["status"], body["approved_by"], body["model_name"]) == ("proposed", None, "price")
    assert len(news("experiments.experiment_proposed")) == 2


def test_the_list_is_filtered_searched_ordered_and_paged(api: Api, scope: Principal) -> None:
    first = make_experiment(scope, experiment_name="Weather", hypothesis="Rain matters.", experiment_type="data_source")
    make_experiment(scope, "approved")
    make_experiment(scope, "rejected", experiment_name="Alpha")
    client = api("viewer")

    def names(query: str) -> list[str]:
        return [row["experiment_name"] for row in client.get(f"{BASE}?{query}").json()["results"]]

    assert names("status=proposed") == ["Weather"]
    assert names("experiment_type=data_source") == ["Weather"]
    assert names("search=rain") == ["Weather"]
    assert names("ordering=experiment_name") == ["Alpha", "Department-Tiered Forecasting", "Weather"]
    assert names("proposed_by=nobody") == []
    assert client.get(f"{BASE}?page_size=1&page=2").json()["count"] == 3
    assert fields(client.get(f"{BASE}?state=proposed")) == ["state"]
    assert fields(client.get(f"{BASE}?status=new")) == ["status"]
    assert client.get(at(first)).json()["allowed_moves"] == ["approved", "rejected"]


def test_a_list_costs_two_queries(api: Api, scope: Principal) -> None:
    make_arena()
    for _ in range(3):
        experiment = make_experiment(scope, "shadow_testing")
        api().post(at(experiment, "/complete"), COMPLETION | {"experimental_version": "v3", "decision": "partial_adopt"})
    client = api("viewer")

    with CaptureQueriesContext(connection) as captured:
        assert client.get(BASE).json()["count"] == 3

    assert sum('FROM "model_experiments"' in query["sql"] for query in captured) == 2


def test_a_version_registered_under_an_approved_experiment_begins_it(api: Api, scope: Principal) -> None:
    model = make_model()
    make_champion(model)
    experiment = make_experiment(scope, "approved")
    client = api("data_scientist")

    client.post("/api/v1/models/demand_forecast/versions", {"lineage": {"experiment": str(experiment.pk)}})
    relay("registry.version_registered")
    begun = client.get(at(experiment)).json()
    client.post("/api/v1/models/demand_forecast/versions/v2/shadow", {})
    relay("registry.version_moved")
    relay("registry.version_moved")
    shadowed = client.get(at(experiment)).json()

    assert (begun["status"], [one["version"] for one in begun["versions"]], begun["baseline_version"]) == ("in_progress", ["v2"], "v1")
    assert (shadowed["status"], len(shadowed["moves"])) == ("shadow_testing", 3)


@pytest.mark.parametrize("status", ExperimentStatus.values)
def test_what_happens_to_versions_moves_only_what_was_approved(scope: Principal, status: str) -> None:
    experiment = make_experiment(scope, status)
    version = make_version(make_model(), lineage={"experiment": str(experiment.pk)})
    moves.shadow(version_id=version.pk, by=scope, at=NOON)

    relay("registry.version_moved")

    after = Experiment.objects.get(pk=experiment.pk).status
    assert after == ("shadow_testing" if status in ("approved", "in_progress") else status)
    assert ExperimentVersion.objects.count() == (1 if status in ("proposed", "approved", "in_progress", "shadow_testing") else 0)


@pytest.mark.parametrize("lineage", [{}, {"experiment": "no id"}, {"experiment": str(uuid4())}, {"experiment": {"id": 1}}])
def test_a_version_of_no_experiment_moves_none(scope: Principal, lineage: dict[str, Any]) -> None:
    experiment = make_experiment(scope, "approved")
    make_version(make_model(), lineage=lineage)

    relay("registry.version_registered")

    assert Experiment.objects.get(pk=experiment.pk).status == "approved"


def test_a_shadow_test_puts_its_version_into_shadow(api: Api, scope: Principal) -> None:
    make_champion(make_model())
    make_version(RegisteredModel.objects.get())
    experiment = make_experiment(scope, "in_progress")

    body = api("data_scientist").patch(at(experiment, "/shadow-test"), {"experimental_version": "2"}).json()

    assert (body["status"], body["experimental_version"]) == ("shadow_testing", "v2")
    assert ModelVersion.objects.get(version="v2").status == "shadow"


def test_the_champion_cannot_be_shadow_tested(api: Api, scope: Principal) -> None:
    make_champion(make_model())
    experiment = make_experiment(scope, "in_progress")

    response = api("data_scientist").patch(at(experiment, "/shadow-test"), {"experimental_version": "v1"})

    assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
    assert not ExperimentVersion.objects.exists()


def test_results_compare_both_versions_on_the_same_days(api: Api, scope: Principal) -> None:
    model = make_model()
    data = make_dataset(models=[model])
    champion, version = make_champion(model), make_version(model)
    make_days(champion, data, [2.0 + 0.1 * (day % 3) for day in range(28)])
    make_days(version, data, [1.5 + 0.1 * (day % 4) for day in range(28)])
    experiment = make_experiment(scope, "in_progress", model=model)
    client = api()
    client.patch(at(experiment, "/shadow-test"), {"experimental_version": "v2"})

    body = client.get(at(experiment, "/results")).json()

    compared = body["comparison"]
    assert (compared["days"], len(body["daily"]), compared["horizon"]) == (28, 28, 7)
    assert compared["baseline_mae"] == pytest.approx(2 + 0.1 * 27 / 28)
    assert compared["improvement_pct"] == pytest.approx(100 * (1 - compared["experimental_mae"] / compared["baseline_mae"]))
    assert compared["interval_low"] < compared["mean_difference"] < compared["interval_high"] < 0
    assert (compared["significant"], compared["p_value"] < 0.05) == (True, True)
    assert body["said"].startswith("v2 is 21.3 % better than v1 by MAE over 28 common backtest days; the difference is more than chance")


def test_backtests_on_other_ground_are_not_compared(api: Api, scope: Principal) -> None:
    model = make_model()
    data = make_dataset(models=[model])
    make_days(make_champion(model), data, [2.0] * 28)
    make_days(make_version(model), data, [1.0] * 28, horizon=14)
    experiment = make_experiment(scope, "in_progress", model=model)
    client = api()
    client.patch(at(experiment, "/shadow-test"), {"experimental_version": "v2"})

    response = client.get(at(experiment, "/results"))

    assert (response.status_code, response.json()["code"]) == (409, "no_results")
    assert "no backtest on the same window" in response.json()["detail"]


def test_an_experiment_without_a_version_has_no_results(api: Api, scope: Principal) -> None:
    response = api().get(at(make_experiment(scope), "/results"))

    assert (response.status_code, response.json()["code"]) == (409, "no_results")


def test_comments_are_kept_in_order_and_never_changed(api: Api, scope: Principal) -> None:
    experiment = make_experiment(scope)
    client = api("data_scientist", email="kim@shop.example")

    said = [client.post(at(experiment, "/comments"), {"body": text}).status_code for text in ("Why 500?", "Enough for a start.")]

    rows = client.get(at(experiment, "/comments")).json()["results"]
    assert said == [201, 201]
    assert [(row["author"], row["body"]) for row in rows] == [("kim@shop.example", "Why 500?"), ("kim@shop.example", "Enough for a start.")]
    assert ExperimentComment.append_only
    assert fields(client.post(at(experiment, "/comments"), {"body": " "})) == ["body"]
    assert client.get(at(experiment)).json()["comment_count"] == 2


def test_a_repeated_proposal_with_one_key_is_made_once(api: Api, customer: Customer) -> None:
    client = api()

    answers = [client.post(BASE, PROPOSAL, headers={"Idempotency-Key": "one"}) for _ in range(2)]

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_the_verdict_is_part_of_the_record(api: Api, scope: Principal) -> None:
    champion, challenger = make_arena()
    verdict = make_verdict(challenger, champion)
    experiment = make_experiment(scope, "shadow_testing")

    api().post(at(experiment, "/complete"), COMPLETION | {"experimental_version": "v3", "decision": "partial_adopt"})

    event = AuditEvent.objects.get(action="experiment.completed")
    assert (event.after["experimental_version_id"], event.after["policy_revision"]) == (str(challenger.pk), 1)
    assert event.after["verdict"] in {str(verdict.pk), str(challenger.verdicts.order_by("-created_at", "pk").first().pk)}
