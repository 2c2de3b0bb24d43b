"""Tables on a phone: each row a block that hides nothing, the decision close to what it rests on."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from mlops.tenancy.models import Customer
from registry.models import DatasetVersion, PromotionRequest
from tests.browser.looking import LogIn
from tests.browser.shops import make_full_shop, version_of, working_for

pytestmark = pytest.mark.django_db(transaction=True)
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1400, "height": 900}


@pytest.fixture
def shop(transactional_db: None) -> Customer:
    """A tenant with a judged challenger that somebody asked to promote."""
    return make_full_shop()


def open_request(page: Page, shop: Customer, live_server: LiveServer) -> None:
    with working_for(shop):
        asked = PromotionRequest.objects.get().pk
    page.goto(f"{live_server.url}{reverse('admin:registry_request_page', args=[asked])}")


def test_a_failed_gate_tells_everything_on_a_phone_and_passed_ones_are_folded(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn
) -> None:
    log_in(page)
    page.set_viewport_size(PHONE)
    open_request(page, shop, live_server)
    failed, passed = page.locator(".ty-gates tr.ty-row-bad"), page.get_by_role("rowheader", name="MAPE", exact=True)

    expect(failed).to_have_count(1)
    expect(failed.locator(".ty-why")).to_be_in_viewport(ratio=1)
    name, why = failed.get_by_role("rowheader").bounding_box(), failed.locator(".ty-why").bounding_box()
    assert name is not None
    assert why is not None
    assert why["y"] < name["y"] + 40
    assert [label.get_attribute("data-label") for label in failed.locator(".ty-right").all()] == ["v3", "v2", "Difference"]
    expect(passed).to_be_hidden()

    page.get_by_text("12 gates passed").click()

    expect(passed).to_be_visible()


def test_the_answer_to_a_request_is_not_far_below_its_evidence(page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn) -> None:
    log_in(page)
    page.set_viewport_size(PHONE)
    open_request(page, shop, live_server)

    button = page.get_by_role("button", name="Reject").bounding_box()

    assert button is not None
    assert button["y"] < 2 * PHONE["height"]


def test_a_role_of_a_column_can_be_read_and_chosen_on_a_phone(page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn) -> None:
    data = version_of(shop, "v3").dataset_version_id
    log_in(page)
    page.set_viewport_size(PHONE)
    with working_for(shop):
        dataset = DatasetVersion.objects.get(pk=data).dataset_id
    page.goto(f"{live_server.url}{reverse('admin:registry_dataset_page', args=[dataset])}")
    choices = page.locator("td select")

    assert choices.count() > 0
    assert all(box["x"] + box["width"] <= PHONE["width"] for one in choices.all() if (box := one.bounding_box()))


def test_all_gates_stand_in_one_table_where_there_is_room(page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn) -> None:
    log_in(page)
    page.set_viewport_size(DESK)
    open_request(page, shop, live_server)

    expect(page.get_by_role("columnheader", name="Difference")).to_be_visible()
    expect(page.get_by_role("rowheader", name="MAPE", exact=True)).to_be_visible()
    expect(page.get_by_text("12 gates passed")).to_be_hidden()
