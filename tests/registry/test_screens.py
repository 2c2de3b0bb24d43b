"""The registry's pages through Django's client: who sees what, what a click does, and that a page asks the database little."""

from collections.abc import Callable
from datetime import date

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from mlops.audit.models import AuditEvent
from mlops.navigation import navigation
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import DecisionRecord, ModelVersion, PromotionRequest, RegisteredModel
from registry.rules.policy import Policy
from registry.screens.models import GROUPS, POLICY_TEXTS
from registry.services import moves, promotion
from tests.conftest import PASSWORD
from tests.registry import factories as make

pytestmark = pytest.mark.django_db
MOST_QUERIES = 12


def decide_url(version: ModelVersion, act: str) -> str:
    return reverse("admin:registry_decide", args=[version.pk, act])


def page_url(version: ModelVersion) -> str:
    return reverse("admin:registry_model_page", args=[version.model_id])


def reads(client: Client, url: str) -> int:
    """How many SELECTs a page makes, the session and the membership among them."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return sum(query["sql"].startswith("SELECT") and "set_config" not in query["sql"] for query in captured)


def test_overview_and_model_page_ask_the_database_little(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    for number in range(4):
        make.make_champion(make.make_model(f"model_{number}"))
    client = site()

    assert reads(client, "/admin/") <= MOST_QUERIES
    assert reads(client, page_url(arena[0])) <= MOST_QUERIES
    assert reads(client, reverse("admin:registry_approvals")) <= MOST_QUERIES
    assert reads(client, reverse("admin:registry_registeredmodel_changelist")) <= MOST_QUERIES
    assert reads(client, reverse("admin:registry_modelversion_changelist")) <= MOST_QUERIES


def test_model_page_answers_in_one_sentence(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    text = site().get(page_url(arena[1])).text

    assert "v3 is 7.0 % better than v2 by MAE; 1 of 13 gates failed: Segments." in text
    assert "HOBBIES_2" in text


@pytest.mark.parametrize(
    ("role", "seen", "unseen"),
    [
        ("viewer", [], ["decide/promote", "decide/judge", "retrain/", "policy/"]),
        ("data_scientist", ["decide/judge", "decide/shadow", "retrain/"], ["decide/promote", "decide/archive", "policy/"]),
        ("ml_manager", ["decide/promote", "decide/archive", "decide/judge", "retrain/", "policy/"], ["decide/rollback"]),
    ],
)
def test_model_page_shows_the_buttons_of_the_role(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client], role: str, seen: list[str], unseen: list[str]
) -> None:
    text = site(role).get(page_url(arena[1])).text

    assert [part for part in seen if part not in text] == []
    assert [part for part in unseen if part in text] == []


def test_a_viewer_who_knows_the_address_is_refused(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    client = site("viewer")

    answers = [client.get(decide_url(arena[1], "promote")), client.post(decide_url(arena[1], "promote"), {"revision": 1, "reason": "x"})]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert ModelVersion.objects.get(pk=arena[1].pk).status == "challenger"


def test_promotion_takes_reason_and_typed_name_and_is_audited(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]
) -> None:
    client, challenger = site(), arena[1]
    revision = RegisteredModel.objects.get(pk=challenger.model_id).revision

    nameless = client.post(decide_url(challenger, "promote"), {"revision": revision, "reason": "Better.", "typed": "v2"})
    done = client.post(decide_url(challenger, "promote"), {"revision": revision, "reason": "Better.", "typed": "v3"})

    assert "Type v3, the name of the version." in nameless.text
    assert done.status_code == 302
    assert ModelVersion.objects.get(pk=challenger.pk).status == "champion"
    assert AuditEvent.objects.filter(action="version.champion", actor="ml_manager@example.com", reason="Better.").exists()


def test_a_decision_on_a_changed_model_is_refused_and_says_who_was_first(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client], customer: Customer
) -> None:
    client, challenger = site(), arena[1]
    revision = RegisteredModel.objects.get(pk=challenger.model_id).revision
    moves.shadow(version_id=challenger.pk, by=system(customer.pk, name="lee@example.com"), at=make.NOW)

    answer = client.post(decide_url(challenger, "promote"), {"revision": revision, "reason": "Better.", "typed": "v3"})

    assert answer.status_code == 409
    assert "changed since you opened the page" in answer.text
    assert "lee@example.com made demand_forecast v3 shadow" in answer.text
    assert ModelVersion.objects.get(pk=challenger.pk).status == "shadow"


def test_opening_a_form_from_an_old_page_says_that_the_model_changed(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]
) -> None:
    answer = site().get(decide_url(arena[1], "promote"), {"seen": 0})

    assert "The model changed since you opened its page." in answer.text


OPEN_ACTS = ["promote", "archive", "judge", "shadow"]


@pytest.mark.parametrize("act", OPEN_ACTS)
def test_a_decision_about_a_version_that_serves_by_now_is_about_no_other(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client], customer: Customer, act: str
) -> None:
    challenger, newer = arena[1], make.make_version(arena[0].model)
    moves.challenge(version_id=newer.pk, by=system(customer.pk), at=make.NOW)
    promotion.promote(version_id=challenger.pk, by=system(customer.pk, name="lee@example.com"), at=make.NOW)
    revision, client = RegisteredModel.objects.get(pk=challenger.model_id).revision, site()

    opened = client.get(decide_url(challenger, act), follow=True)
    sent = client.post(decide_url(challenger, act), {"revision": revision, "reason": "Good.", "typed": newer.version}, follow=True)

    assert [answer.redirect_chain[-1][0] for answer in (opened, sent)] == [f"{page_url(challenger)}?version=v3"] * 2
    assert "v3” is not possible: v3 is the champion already. Last, lee@example.com made demand_forecast v3 champion" in opened.text
    assert "v3 is the champion already" in sent.text
    assert [ModelVersion.objects.get(pk=one.pk).status for one in (challenger, newer)] == ["champion", "challenger"]


@pytest.mark.parametrize("act", OPEN_ACTS)
def test_a_decision_about_an_archived_version_says_that_it_is_archived(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client], customer: Customer, act: str
) -> None:
    moves.archive(version_id=arena[1].pk, by=system(customer.pk), at=make.NOW, reason="Worse.")

    answer = site().get(decide_url(arena[1], act), follow=True)

    assert answer.redirect_chain == [(f"{page_url(arena[1])}?version=v3", 302)]
    assert "v3” is not possible: v3 is archived now." in answer.text


def test_a_request_waits_for_another_manager(customer: Customer, site: Callable[..., Client], principal: Callable[..., Principal]) -> None:
    with acting(system(customer.pk)):
        _, challenger = make.make_arena(policy={"four_eyes": True})
        asked = make.make_request(challenger, by=principal("ml_manager", "kim@example.com"))
    url = reverse("admin:registry_request_page", args=[asked.pk])
    client = Client()
    client.login(username="kim@example.com", password=PASSWORD)

    own = client.get(url).text
    refused = client.post(url, {"revision": challenger.model.revision + 1, "answer": "approve", "reason": ""})

    assert "another manager has to approve it" in own
    assert 'value="approve"' not in own
    assert refused.status_code == 409
    with acting(system(customer.pk)):
        assert PromotionRequest.objects.get(pk=asked.pk).status == "pending"


@pytest.mark.parametrize("four", [True, False])
def test_a_rollback_past_enforced_gates_is_offered_as_an_emergency(customer: Customer, site: Callable[..., Client], four: bool) -> None:
    with acting(system(customer.pk)):
        former = make.make_champion(make.make_model())
        make.make_champion(former.model)
        RegisteredModel.objects.update(policy={"enforce_gates": True, "four_eyes": four})
        revision = RegisteredModel.objects.get().revision
    client = site()
    given = {"revision": revision, "reason": "Orders are wrong.", "typed": "v1"}

    page = client.get(decide_url(former, "rollback")).text
    plain = client.post(decide_url(former, "rollback"), given)
    urgent = client.post(decide_url(former, "rollback"), {**given, "emergency": "on"})

    assert "only an emergency gets past them" in page
    assert "Emergency: roll back although gates failed" in page
    assert ("without a second manager" in page, "You ask that" in page) == (four, False)
    assert (plain.status_code, urgent.status_code) == (409, 302)
    with acting(system(customer.pk)):
        assert DecisionRecord.objects.get(kind="rollback").emergency


def test_a_request_to_roll_back_that_gates_bar_offers_the_emergency_instead(
    customer: Customer, site: Callable[..., Client], principal: Callable[..., Principal]
) -> None:
    with acting(system(customer.pk)):
        former = make.make_champion(make.make_model())
        make.make_champion(former.model)
        RegisteredModel.objects.update(policy={"four_eyes": True})
        asked = promotion.rollback(
            version_id=former.pk, by=principal("ml_manager", "kim@example.com"), at=make.NOW, reason="Errors."
        ).request
        RegisteredModel.objects.update(policy={"four_eyes": True, "enforce_gates": True})
        assert asked is not None

    page = site("ml_manager", "lee@example.com").get(reverse("admin:registry_request_page", args=[asked.pk])).text

    assert "nobody can approve this" in page
    assert 'value="approve"' not in page
    assert decide_url(former, "rollback") in page


def test_rejecting_needs_a_reason(customer: Customer, site: Callable[..., Client], principal: Callable[..., Principal]) -> None:
    with acting(system(customer.pk)):
        _, challenger = make.make_arena(policy={"four_eyes": True})
        asked = make.make_request(challenger, by=principal("ml_manager", "kim@example.com"))
        revision = RegisteredModel.objects.get(pk=challenger.model_id).revision
    url = reverse("admin:registry_request_page", args=[asked.pk])
    client = site("ml_manager", "lee@example.com")

    silent = client.post(url, {"revision": revision, "answer": "reject", "reason": " "})
    told = client.post(url, {"revision": revision, "answer": "reject", "reason": "Not before Easter."})

    assert "Say why the request is rejected" in silent.text
    assert told.status_code == 302
    with acting(system(customer.pk)):
        assert PromotionRequest.objects.get(pk=asked.pk).decision_reason == "Not before Easter."


def test_an_answer_that_comes_too_late_says_who_decided(
    customer: Customer, site: Callable[..., Client], principal: Callable[..., Principal]
) -> None:
    with acting(system(customer.pk)):
        _, challenger = make.make_arena(policy={"four_eyes": True})
        asked = make.make_request(challenger, by=principal("ml_manager", "kim@example.com"))
        revision = RegisteredModel.objects.get(pk=challenger.model_id).revision
        promotion.approve(request_id=asked.pk, by=principal("ml_manager", "first@example.com"), at=make.NOW)
    client = site("ml_manager", "lee@example.com")

    answer = client.post(
        reverse("admin:registry_request_page", args=[asked.pk]), {"revision": revision, "answer": "reject", "reason": "No."}
    )

    assert "approved by first@example.com already" in answer.text


def test_policy_form_stores_what_differs_and_refuses_nonsense(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]
) -> None:
    client, model = site(), RegisteredModel.objects.get(pk=arena[0].model_id)
    url = reverse("admin:registry_policy", args=[model.pk])
    form = client.get(url).context["form"]
    values = {name: value for name, value in form.initial.items() if value is not False}

    bad = client.post(url, {**values, "max_p_value": "7"})
    good = client.post(url, {**values, "four_eyes": "on", "min_improvement_pct": "3"})

    assert "less than or equal to 1" in bad.text
    assert good.status_code == 302
    assert RegisteredModel.objects.get(pk=model.pk).policy == {"four_eyes": True, "min_improvement_pct": 3.0}


def test_every_setting_of_the_policy_is_explained_and_shown() -> None:
    shown = [name for _, names in GROUPS for name in names]

    assert sorted(shown) == sorted(POLICY_TEXTS) == sorted(Policy().to_json())


def test_registering_a_model_names_the_field_at_fault(site: Callable[..., Client], customer: Customer) -> None:
    client, url = site("data_scientist"), reverse("admin:registry_model_register")
    values = {"task": "forecast", "model_type": "ensemble"}

    bad = client.post(url, {**values, "name": "Not Good"})
    good = client.post(url, {**values, "name": "good_one"})

    assert "Must start with a lower-case letter" in bad.text
    assert good.status_code == 302
    with acting(system(customer.pk)):
        assert RegisteredModel.objects.get().name == "good_one"


def test_another_customers_model_is_not_found(customer: Customer, other_customer: Customer, site: Callable[..., Client]) -> None:
    with acting(system(other_customer.pk)):
        foreign = make.make_model("theirs")
    client = site()

    assert client.get(reverse("admin:registry_model_page", args=[foreign.pk])).status_code == 404
    assert "theirs" not in client.get("/admin/").text


LISTS = ["registeredmodel", "modelversion", "dataset", "datasetversion", "promotionrequest", "decisionrecord", "verdict", "backtestrun"]


@pytest.mark.parametrize("name", [*LISTS, "retrainingrun", "forecastaccuracy"])
def test_lists_show_facts_and_let_nobody_write(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client], name: str) -> None:
    client = site("admin")

    assert client.get(reverse(f"admin:registry_{name}_changelist")).status_code == 200
    assert client.get(reverse(f"admin:registry_{name}_add")).status_code == 403


def test_a_dataset_page_shows_roles_and_left_out_rows(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    dataset = RegisteredModel.objects.select_related("dataset").get(pk=arena[0].model_id).dataset
    assert dataset is not None

    text = site("viewer").get(reverse("admin:registry_dataset_page", args=[dataset.pk])).text

    assert "150 rows were left out" in text
    assert "Read it again this way" not in text


def test_uploading_a_file_reads_it_and_shows_its_mapping(site: Callable[..., Client], customer: Customer) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    lines = [f"2026-01-{day:02d},{item},{day % 5}" for day in range(1, 29) for item in ("bread", "milk")]
    file = SimpleUploadedFile("sales.csv", "\n".join(["date,item,units", *lines]).encode())
    client = site("data_scientist")

    answer = client.post(reverse("admin:registry_dataset_upload"), {"name": "bakery", "file": file}, follow=True)

    assert "Version 1 is ready: 56 days of 2 series" in answer.text
    assert 'value="target" selected' in answer.text


@pytest.mark.parametrize("address", ["registeredmodel/xyz/", "registeredmodel/<b>/change/", "dataset/--/", "promotionrequest/7/"])
def test_an_address_that_is_no_id_is_not_found(address: str, site: Callable[..., Client]) -> None:
    assert site().get(f"/admin/registry/{address}", follow=True).status_code == 404


def test_extreme_metrics_and_days_are_shown(customer: Customer, site: Callable[..., Client]) -> None:
    with acting(system(customer.pk)):
        model = make.make_model()
        extreme = {"mae": 1e308, "wape": 1e308, "coverage": 1e308, "bias_pct": -1e300, "mape": 2**63 - 1}
        for metrics, day in ((extreme, date.max), ({"mae": -1e308}, date.min)):
            version = make.make_old_version(model, metrics=metrics, trained_through=day)
            promotion.promote(version_id=version.pk, by=system(customer.pk), at=make.NOW)
    client = site()

    for url in (page_url(version), f"{page_url(version)}?version=v1", "/admin/", "/admin/registry/modelversion/"):
        assert client.get(url).status_code == 200


def test_a_decision_explains_an_emergency_only_where_it_was_one(
    arena: tuple[ModelVersion, ModelVersion], customer: Customer, site: Callable[..., Client]
) -> None:
    with acting(system(customer.pk)):
        plain = DecisionRecord.objects.filter(version=arena[0]).latest("decided_at")
        former = ModelVersion.objects.get(version="v1")
        promotion.rollback(version_id=former.pk, by=system(customer.pk), at=make.NOW, reason="It burns.", emergency=True)
        emergency = DecisionRecord.objects.get(version=former, kind="rollback")
    client = site()

    said = [client.get(reverse("admin:registry_decision", args=[one.pk])).text for one in (plain, emergency)]

    assert ["past the second pair of eyes" in one for one in said] == [False, True]
    assert ["although a gate failed" in one for one in said] == [plain.override, emergency.override]


@pytest.mark.parametrize(
    ("task", "metrics"), [("regression", {"mae": 1.0}), ("classification", {"test_accuracy": 0.9}), ("forecast", {"mae": 1})]
)
def test_a_candidate_has_a_page_before_there_is_a_champion(
    customer: Customer, site: Callable[..., Client], task: str, metrics: dict[str, float]
) -> None:
    with acting(system(customer.pk)):
        version = make.make_version(make.make_model("first", task=task), metrics=metrics)

    assert "v1 would be the first champion" in site().get(page_url(version)).text


@pytest.mark.parametrize("named", ["v2", "v99", "nonsense"])
def test_the_page_names_a_rival_whatever_version_its_address_names(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client], named: str
) -> None:
    text = site().get(f"{page_url(arena[0])}?version={named}").text

    assert "nothing competes" not in text
    assert "v3 is 7.0 % better than v2" in text


@pytest.mark.parametrize(("task", "shown"), [("forecast", True), ("regression", False), ("classification", False)])
def test_what_only_forecasts_have_is_shown_of_forecasts_alone(
    customer: Customer, site: Callable[..., Client], task: str, shown: bool
) -> None:
    with acting(system(customer.pk)):
        version = make.make_champion(make.make_model("learner", task=task))

    text = site().get(page_url(version)).text

    assert ("Retraining log" in text, 'id="source-title"' in text) == (shown, shown)
    assert "Lineage" in text


def test_a_page_about_a_version_belongs_to_models(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    client = site()

    def lit(url: str) -> list[str]:
        request = client.get(url).wsgi_request
        return [entry["title"] for group in navigation(request) for entry in group["items"] if entry["active"]]

    assert lit(reverse("admin:registry_decide", args=[arena[1].pk, "challenge"])) == ["Models"]
    assert lit(reverse("admin:registry_modelversion_changelist")) == ["Versions"]
    assert lit("/admin/") == ["Overview"]


def test_names_stay_as_they_are(site: Callable[..., Client], scope: Principal) -> None:
    model = make.make_model("house-prices", display_name="")
    make.make_retraining(model, status="failed", metadata={"error": "no rows"})
    client = site(email="lee@example.com")

    page = client.get(reverse("admin:registry_model_page", args=[model.pk]))

    assert "House-prices" not in page.text
    assert "<span>house-prices failed its last retraining" in client.get("/admin/").text
    assert "<title>" in (listed := client.get(reverse("admin:registry_registeredmodel_changelist")).text)
    assert "Select" not in listed.split("</title>")[0]


def test_what_happened_is_told_in_sentences(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    text = site().get(page_url(arena[1])).text

    assert 'system made <strong>v3</strong> challenger <span class="ty-quiet">(was candidate), ' in text


def test_a_decision_says_who_approved(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    record = DecisionRecord.objects.filter(version=arena[1]).get()

    page = site().get(reverse("admin:registry_decisionrecord_change", args=[record.pk]), follow=True).text

    assert "Approved by</dt><dd>system, automatically</dd>" in page
    assert "&quot;" not in page.split("Approved by")[1][:600]
