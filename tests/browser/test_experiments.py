"""Experiments in a real browser: one person proposes, another decides."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from experiments.models import Experiment
from mlops.tenancy.models import Customer
from tests.browser.chromium import Complaints
from tests.browser.looking import LogIn
from tests.browser.shops import make_shop, make_trials, version_of, working_for
from tests.registry import factories as make

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(transactional_db: None) -> Customer:
    """A tenant with experiments in several statuses, one of which compares its version with the champion, and two managers."""
    customer = make_shop()
    with working_for(customer):
        make_trials(*make.make_arena(), customer)
    return customer


def address_of_completion(shop: Customer) -> str:
    with working_for(shop):
        return reverse("admin:experiments_act", args=[Experiment.objects.get(status="shadow_testing").pk, "complete"])


def test_one_proposes_another_approves_and_the_winner_takes_the_throne(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    log_in(page)
    page.get_by_role("link", name="Experiments").first.click()
    page.get_by_role("link", name="Propose an experiment").click()
    page.get_by_label("Name").fill("Holidays")
    page.get_by_label("Hypothesis").fill("Closed days confuse the trees.")
    page.get_by_role("button", name="Propose").click()
    expect(page.get_by_text("You proposed or edited this yourself")).to_be_visible()
    expect(page.get_by_role("link", name="Approve", exact=True)).to_have_count(0)

    log_in(page, "lee@example.com")
    page.goto(f"{live_server.url}{reverse('admin:experiments_board')}")
    page.get_by_role("link", name="Holidays").click()
    page.get_by_role("link", name="Approve", exact=True).click()
    page.get_by_label("Reason").fill("Try it on one store.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Holidays is approved now.")).to_be_visible()

    page.goto(f"{live_server.url}{address_of_completion(shop)}")
    page.get_by_label("Decision").select_option("adopt")
    page.get_by_label("Reason").fill("Better on every day.")
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_text("v3 passed every gate and is the champion now.")).to_be_visible()

    assert version_of(shop, "v3").status == "champion"
    assert complaints.lines == []
