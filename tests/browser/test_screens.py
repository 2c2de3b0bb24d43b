"""A manager at work in a real browser: decisions, live parts, charts, and a silent console."""

import re
from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from mlops.tenancy.models import Customer
from mlops.tenancy.roles import system
from registry.models import RegisteredModel
from registry.services import moves
from tests.browser.chromium import Complaints
from tests.browser.looking import LogIn
from tests.browser.shops import make_shop, version_of, working_for
from tests.registry import factories as make

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(transactional_db: None) -> Customer:
    """A tenant with a champion, a challenger that lost one segment, and two managers."""
    customer = make_shop()
    with working_for(customer):
        make.make_arena(segments={"HOBBIES_2": 1.16})
        make.make_job()
    return customer


def test_a_manager_promotes_and_rolls_back_with_reasons(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    log_in(page)
    expect(page.locator(".ty-sentence")).to_contain_text("Nothing is wrong")
    page.get_by_role("link", name="Demand forecast", exact=True).first.click()
    expect(page.locator(".ty-sentence")).to_contain_text("v3 is 7.0 % better than v2 by MAE; 1 of 13 gates failed: Segments.")
    expect(page.locator(".ty-chart canvas")).to_have_count(3)

    page.get_by_role("link", name="Promote v3").click()
    button = page.get_by_role("button", name="Promote v3")
    page.get_by_label("Reason").fill("Better overall; HOBBIES_2 is small.")
    expect(button).to_be_disabled()
    page.get_by_label("Type v3 to confirm").fill("v3")
    button.click()
    expect(page.get_by_text("v3 is champion now.")).to_be_visible()

    page.goto(f"{live_server.url}{reverse('admin:registry_model_page', args=[version_of(shop, 'v2').model_id])}?version=v2")
    page.get_by_role("link", name="Roll back to v2").click()
    page.get_by_label("Reason").fill("Complaints from HOBBIES_2.")
    page.get_by_label("Type v2 to confirm").fill("v2")
    page.get_by_role("button", name="Roll back to v2").click()
    expect(page.get_by_text("v2 is champion now.")).to_be_visible()

    page.get_by_role("link", name="Audit", exact=True).click()
    expect(page.locator("#result_list")).to_contain_text("demand_forecast v2")
    assert version_of(shop, "v2").status == "champion"
    assert complaints.lines == []


def test_a_second_manager_approves_what_the_first_asked_for(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    with working_for(shop):
        RegisteredModel.objects.update(policy={"four_eyes": True})
    log_in(page)
    page.goto(f"{live_server.url}{reverse('admin:registry_decide', args=[version_of(shop, 'v3').pk, 'promote'])}")
    page.get_by_label("Reason").fill("Better.")
    page.get_by_label("Type v3 to confirm").fill("v3")
    page.get_by_role("button", name="Ask to promote v3").click()
    expect(page.get_by_text("another manager has to approve v3")).to_be_visible()
    page.get_by_role("link", name="Approvals").first.click()
    expect(page.get_by_text("You asked for this yourself: another manager has to approve it.")).to_be_visible()

    log_in(page, "lee@example.com")
    page.get_by_role("link", name="Review").first.click()
    page.get_by_role("button", name="Approve").click()

    expect(page.get_by_text("Approved: demand_forecast v3 is champion now.")).to_be_visible()
    assert version_of(shop, "v3").status == "champion"
    assert complaints.lines == []


def test_a_decision_on_a_page_that_went_stale_is_refused(page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn) -> None:
    challenger = version_of(shop, "v3")
    log_in(page)
    page.goto(f"{live_server.url}{reverse('admin:registry_decide', args=[challenger.pk, 'promote'])}")
    with working_for(shop):
        moves.shadow(version_id=challenger.pk, by=system(shop.pk, name="lee@example.com"), at=make.NOW)

    page.get_by_label("Reason").fill("Better.")
    page.get_by_label("Type v3 to confirm").fill("v3")
    page.get_by_role("button", name="Promote v3").click()

    expect(page.get_by_role("alert")).to_contain_text("The model has changed since you opened the page.")
    expect(page.get_by_role("alert")).to_contain_text("lee@example.com made demand_forecast v3 shadow")
    expect(page.get_by_label("Reason")).to_have_value("Better.")
    assert version_of(shop, "v3").status == "shadow"


def test_a_browser_of_another_language_is_told_in_english_with_one_decimal_sign(
    browser: Browser, shop: Customer, live_server: LiveServer, log_in: LogIn
) -> None:
    with browser.new_context(locale="de-DE", timezone_id="Europe/Berlin") as context:
        page = context.new_page()
        log_in(page)
        page.goto(f"{live_server.url}{reverse('admin:registry_model_page', args=[version_of(shop, 'v2').model_id])}")
        text = page.locator("#ty-main").inner_text()
        charted = page.evaluate("() => [window.tiltyardCharts.number(1.5, 1), window.tiltyardCharts.powers(0.015)]")

    assert " ago" in text
    assert re.findall(r"vor \d+|gestern|Uhr|\d\. (?:Jan|Feb|März|Dez)", text) == []
    assert re.findall(r"\d,\d{1,2}\b", text) == []
    assert charted == ["1.5", "0.015"]


def test_progress_of_jobs_moves_without_reloading(page: Page, shop: Customer, log_in: LogIn) -> None:
    log_in(page)
    expect(page.locator("#jobs")).to_contain_text("42%")

    with working_for(shop):
        from mlops.jobs.queries import open_jobs

        open_jobs().update(progress=0.77)

    expect(page.locator("#jobs")).to_contain_text("77%", timeout=8000)


def test_charts_follow_the_theme_and_download_safe_csv(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    champion = version_of(shop, "v2")
    log_in(page)
    page.goto(f"{live_server.url}{reverse('admin:registry_model_page', args=[champion.model_id])}")
    figure = page.locator("[data-chart=segments]")
    page.evaluate(
        """() => {
            window.before = document.querySelector("[data-chart=daily] canvas").toDataURL();
            document.documentElement.classList.add("dark");
        }"""
    )
    page.wait_for_timeout(300)
    changed = page.evaluate("() => window.before !== document.querySelector('[data-chart=daily] canvas').toDataURL()")

    with page.expect_download() as download:
        figure.get_by_role("button", name="Download By segment as CSV").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()

    assert changed
    assert lines[0] == "dept_id,v3 MAE (units),v2 MAE (units),Change (%),Series-days"
    assert float(lines[1].split(",")[3]) > 0
    assert complaints.lines == []
