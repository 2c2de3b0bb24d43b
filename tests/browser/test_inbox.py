"""The inbox in a real browser: by keyboard, by mouse, live, and without any script."""

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from alerts.models import MLAlert
from alerts.services import inbox
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import system
from tests.alerts.factories import finding
from tests.browser.chromium import Complaints
from tests.browser.looking import LogIn
from tests.browser.shops import make_alerts, make_shop, working_for
from tests.conftest import PASSWORD
from tests.registry import factories as make

pytestmark = pytest.mark.django_db(transaction=True)
INBOX = "/admin/alerts/inbox/"


@pytest.fixture
def shop(transactional_db: None) -> Customer:
    """A tenant with four open alerts, the most urgent a drift."""
    customer = make_shop()
    with working_for(customer):
        make.make_arena()
        make_alerts()
    return customer


def alert_of(shop: Customer, title: str) -> MLAlert:
    with working_for(shop):
        return MLAlert.objects.get(title__contains=title)


def test_keys_walk_the_list_and_answer(page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints) -> None:
    log_in(page)
    page.goto(f"{live_server.url}{INBOX}")
    chosen, title = page.locator("a[data-alert][aria-current]"), page.locator("#alert-title")
    expect(title).to_contain_text("drifts in FOODS_3")

    page.keyboard.press("j")
    expect(title).to_contain_text("Retraining of demand_forecast failed")
    expect(chosen).to_be_focused()
    assert alert_of(shop, "Retraining").status == "unread"

    page.keyboard.press("Enter")
    expect(title).to_be_focused()
    expect(chosen).not_to_contain_text("unread")
    assert alert_of(shop, "Retraining").status == "read"

    page.keyboard.press("d")
    reason = page.get_by_label("Why nothing is to be done")
    expect(reason).to_be_focused()
    page.keyboard.type("jd? The source was away")
    expect(reason).to_have_value("jd? The source was away")
    page.keyboard.press("Escape")
    expect(chosen).to_be_focused()
    expect(reason).to_be_hidden()

    page.keyboard.press("d")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Dismissed: Retraining of demand_forecast failed.")).to_be_visible()
    assert alert_of(shop, "Retraining").notes == "jd? The source was away"
    assert complaints.lines == []


def test_help_opens_and_single_keys_can_be_switched_off(page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn) -> None:
    log_in(page)
    page.goto(f"{live_server.url}{INBOX}")
    first = page.locator("#alert-title").text_content()

    page.keyboard.press("?")
    page.get_by_label("Single keys work on this page").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("j")
    page.keyboard.press("a")
    page.reload()

    expect(page.locator("#ty-keys")).to_be_hidden()
    expect(page.locator("details[open]")).to_have_count(0)
    assert page.locator("#alert-title").text_content() == first
    assert not page.evaluate("() => document.getElementById('ty-keys-on').checked")


def test_a_page_that_went_stale_says_so_before_the_decision(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    log_in(page)
    page.goto(f"{live_server.url}{INBOX}")
    expect(page.locator("[data-tally=alerts]")).to_have_text("4")
    stale = page.get_by_text("The numbers on this page have changed since you opened it.")
    expect(stale).to_be_hidden()

    with working_for(shop):
        inbox.raise_alert(finding=finding(cause="drift", title="x", message="Worse still."), at=timezone.now())
        inbox.raise_alert(finding=finding(cause="new", title="Another one"), at=timezone.now())

    expect(stale).to_be_visible(timeout=8000)
    expect(page.locator("[data-tally=alerts]")).to_have_text("5")
    expect(page.get_by_text("The inbox has changed since you opened it.")).to_be_visible()
    assert complaints.lines == []


def test_whoever_is_second_hears_who_was_first(page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn) -> None:
    log_in(page)
    page.goto(f"{live_server.url}{INBOX}")
    with working_for(shop):
        alert = MLAlert.objects.get(severity="critical")
        inbox.dismiss(alert_id=alert.pk, by=system(shop.pk, name="lee@example.com"), at=timezone.now(), notes="Easter.")

    page.keyboard.press("a")
    page.keyboard.press("Control+Enter")

    expect(page.get_by_role("alert")).to_contain_text("This alert was dismissed by lee@example.com already. Your answer changed nothing.")


def test_it_all_works_without_a_script(browser: Browser, shop: Customer, live_server: LiveServer) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{live_server.url}/admin/login/?next={INBOX}")
    page.fill("[name=username]", "kim@example.com")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")

    page.select_option("[name=severity]", "warning")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="Backtest of demand_forecast v2 has degraded").click()
    page.get_by_text("Dismiss…").click()
    page.get_by_label("Why nothing is to be done").fill("Known.")
    page.get_by_role("button", name="Dismiss", exact=True).click()

    expect(page.get_by_text("Dismissed: Backtest of demand_forecast v2 has degraded.")).to_be_visible()
    assert "severity=warning" in page.url
    page.goto(f"{live_server.url}{reverse('admin:registry_approvals')}")
    expect(page.get_by_text("decisions wait for a manager")).to_be_visible()
    context.close()
