"""Loosening a policy in the browser, and who is told that a request is their own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, Role, system
from mlops.tenancy.services import create_api_key
from registry.models import ModelVersion, PolicyChangeRequest, PromotionRequest, RegisteredModel
from registry.services.model_settings import configure_model
from tests.conftest import PASSWORD
from tests.registry import factories as make

pytestmark = pytest.mark.django_db
APPROVALS = "/admin/approvals/"


@pytest.fixture
def challenger(customer: Customer) -> Iterator[ModelVersion]:
    """A challenger of a model under four eyes."""
    with acting(system(customer.pk)):
        yield make.make_arena(policy={"four_eyes": True, "max_p_value": 0.01})[1]


def browser(email: str) -> Client:
    client = Client()
    assert client.login(username=email, password=PASSWORD)
    return client


def ask(challenger: ModelVersion, by: Principal) -> PolicyChangeRequest:
    with acting(by):
        request = configure_model(
            model=challenger.model, changes={"policy": {"four_eyes": False}}, by=by, at=make.NOW, reason="Small team."
        ).request
    assert request is not None
    return request


def answer_of(client: Client, request: PolicyChangeRequest, answer: str, **given: Any) -> Any:
    url = reverse("admin:registry_policy_request", args=[request.pk])
    values = {"revision": RegisteredModel.objects.values_list("revision", flat=True).get(), "answer": answer, "reason": "Looked at it."}
    return client.post(url, values | given)


def test_the_policy_form_asks_another_manager_where_it_asks_for_less(site: Callable[..., Client], challenger: ModelVersion) -> None:
    client = site("ml_manager", "kim@example.com")
    url = reverse("admin:registry_policy", args=[challenger.model_id])
    page = client.get(url)
    values = {name: value for name, value in page.context["form"].initial.items() if value is not False}
    del values["four_eyes"]

    answer = client.post(url, {**values, "max_p_value": "0.005", "reason": "Small team."}, follow=True)

    assert "waits until another manager agrees" in page.text
    assert "another manager has to agree" in answer.text
    assert PolicyChangeRequest.objects.get().after == {"four_eyes": False}
    model = RegisteredModel.objects.get()
    assert (model.policy["four_eyes"], model.policy["max_p_value"]) == (True, 0.005)


def test_a_setting_goes_back_to_its_default_by_the_form(site: Callable[..., Client], customer: Customer) -> None:
    with acting(system(customer.pk)):
        model = make.make_model(policy={"enforce_gates": True, "min_improvement_pct": 3.0})
    client, url = site(), reverse("admin:registry_policy", args=[model.pk])
    values = {name: value for name, value in client.get(url).context["form"].initial.items() if value is not False}
    del values["enforce_gates"]

    client.post(url, {**values, "min_improvement_pct": "5"})

    with acting(system(customer.pk)):
        assert RegisteredModel.objects.get().policy == {}


def test_the_asker_sees_their_own_wish_and_another_manager_approves_it(
    challenger: ModelVersion, principal: Callable[..., Principal], site: Callable[..., Client]
) -> None:
    request = ask(challenger, principal("ml_manager", "kim@example.com"))
    kim, lee = browser("kim@example.com"), site("ml_manager", "lee@example.com")

    own, other = kim.get(APPROVALS).text, lee.get(APPROVALS).text
    refused = answer_of(kim, request, "approve")
    granted = answer_of(lee, request, "approve")

    assert "Four eyes: on → off" in own
    assert "You asked for this yourself" in own
    assert 'value="approve"' not in own
    assert "You asked for this yourself" not in other
    assert 'value="approve"' in other
    assert (refused.status_code, granted.status_code) == (409, 302)
    assert RegisteredModel.objects.get().policy["four_eyes"] is False


def test_a_page_that_is_old_or_late_decides_nothing(
    challenger: ModelVersion, principal: Callable[..., Principal], site: Callable[..., Client]
) -> None:
    request = ask(challenger, principal("ml_manager", "kim@example.com"))
    client = site("ml_manager", "lee@example.com")

    stale = answer_of(client, request, "approve", revision=1)
    silent = answer_of(client, request, "reject", reason=" ")
    rejected = answer_of(client, request, "reject")
    late = answer_of(client, request, "approve")

    assert (stale.status_code, "changed since you opened the page" in stale.text) == (409, True)
    assert "Say why the request is rejected" in silent.text
    assert (rejected.status_code, late.status_code) == (302, 409)
    assert "rejected by lee@example.com already" in late.text
    assert PolicyChangeRequest.objects.get().decision_reason == "Looked at it."


def test_a_viewer_reads_a_wish_and_decides_nothing(
    challenger: ModelVersion, principal: Callable[..., Principal], site: Callable[..., Client]
) -> None:
    request = ask(challenger, principal("ml_manager", "kim@example.com"))
    client = site("viewer", "vera@example.com")

    page = client.get(reverse("admin:registry_policy_request", args=[request.pk])).text

    assert "A manager decides about this." in page
    assert answer_of(client, request, "approve").status_code == 403
    assert client.get(reverse("admin:registry_policychangerequest_changelist")).status_code == 200


@pytest.mark.parametrize("asks_by_key", [False, True])
def test_the_approvals_know_whose_key_asked(
    customer: Customer, challenger: ModelVersion, principal: Callable[..., Principal], asks_by_key: bool
) -> None:
    ada = principal("admin", "ada@example.com")
    key, _ = create_api_key(customer=customer, role=Role.ML_MANAGER, name="robot", user=None, at=make.NOW, by=ada)
    robot = Principal("key", "key:robot", Role.ML_MANAGER, customer.pk, on_behalf_of="max@example.com", key_id=key.pk)
    with acting(robot if asks_by_key else ada):
        asked = make.make_request(challenger, by=robot if asks_by_key else ada)
    client = browser("ada@example.com")

    texts = [client.get(url).text for url in (APPROVALS, reverse("admin:registry_request_page", args=[asked.pk]))]

    assert all("You asked for this yourself" in text for text in texts)
    assert all('value="approve"' not in text for text in texts)
    assert PromotionRequest.objects.get().status == "pending"


def test_the_approvals_say_who_added_both(customer: Customer, challenger: ModelVersion, principal: Callable[..., Principal]) -> None:
    from mlops.tenancy.services import create_member

    ada = principal("admin", "ada@example.com")
    for email in ("kim@example.com", "lee@example.com"):
        create_member(customer=customer, email=email, role=Role.ML_MANAGER, password=PASSWORD, at=make.NOW, by=ada)
    kim = Principal("user", "kim@example.com", Role.ML_MANAGER, customer.pk)
    with acting(kim):
        asked = make.make_request(challenger, by=kim)

    page = browser("lee@example.com").get(reverse("admin:registry_request_page", args=[asked.pk])).text

    assert "ada@example.com made both the asker and you members here" in page
    assert 'value="approve"' in page
