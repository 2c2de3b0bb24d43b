"""A manager at work in a real browser: the screens, the decisions, their accessibility, and a silent console."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import transaction
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Role, system
from registry.models import ModelVersion, RegisteredModel
from registry.services import moves
from tests.browser.chromium import Complaints
from tests.conftest import NOON, PASSWORD
from tests.registry import factories as make

pytestmark = pytest.mark.django_db(transaction=True)
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
THEMES = ("light", "dark")


@contextmanager
def working_for(customer: Customer) -> Iterator[None]:
    """In the customer's scope, inside a transaction: PostgreSQL shows no row outside one."""
    with acting(system(customer.pk)), transaction.atomic():
        yield


@pytest.fixture
def shop(transactional_db: None) -> Iterator[Customer]:
    """A tenant with a champion, a challenger that lost one segment, and two managers."""
    customer = tenancy.create_customer(name="Corner Shops", at=NOON)
    for email in ("kim@example.com", "lee@example.com"):
        tenancy.create_member(customer=customer, email=email, role=Role.ML_MANAGER, password=PASSWORD, at=NOON)
    with working_for(customer):
        make.make_arena(segments={"HOBBIES_2": 1.16})
        make.make_job()
    return customer


@pytest.fixture
def log_in(live_server: LiveServer) -> Callable[..., None]:
    """Logs a person in on the page."""

    def enter(page: Page, email: str = "kim@example.com") -> None:
        page.goto(f"{live_server.url}/admin/login/")
        page.fill("[name=username]", email)
        page.fill("[name=password]", PASSWORD)
        page.click("button[type=submit]")
        expect(page.locator("#ty-main")).to_be_visible()

    return enter


def version(customer: Customer, label: str) -> ModelVersion:
    with working_for(customer):
        return ModelVersion.objects.select_related("model").get(version=label)


def test_a_manager_promotes_and_rolls_back_with_reasons(
    page: Page, shop: Customer, live_server: LiveServer, log_in: Callable[..., None], complaints: Complaints
) -> None:
    log_in(page)
    expect(page.locator(".ty-sentence")).to_contain_text("Nothing is wrong")
    page.get_by_role("link", name="Demand forecast", exact=True).first.click()
    expect(page.locator(".ty-sentence")).to_contain_text("v3 is 7.0 % better than v2 by MAE; 1 of 10 gates failed: Segments.")
    expect(page.locator(".ty-chart canvas")).to_have_count(3)

    page.get_by_role("link", name="Promote v3").click()
    button = page.get_by_role("button", name="Promote v3")
    page.get_by_label("Reason").fill("Better overall; HOBBIES_2 is small.")
    expect(button).to_be_disabled()
    page.get_by_label("Type v3 to confirm").fill("v3")
    button.click()
    expect(page.get_by_text("v3 is champion now.")).to_be_visible()

    page.goto(f"{live_server.url}{reverse('admin:registry_model_page', args=[version(shop, 'v2').model_id])}?version=v2")
    page.get_by_role("link", name="Roll back to it v2").click()
    page.get_by_label("Reason").fill("Complaints from HOBBIES_2.")
    page.get_by_label("Type v2 to confirm").fill("v2")
    page.get_by_role("button", name="Roll back to it v2").click()
    expect(page.get_by_text("v2 is champion now.")).to_be_visible()

    page.get_by_role("link", name="Audit", exact=True).click()
    expect(page.locator("#result_list")).to_contain_text("demand_forecast v2")
    assert version(shop, "v2").status == "champion"
    assert complaints.lines == []


def test_a_second_manager_approves_what_the_first_asked_for(
    page: Page, shop: Customer, live_server: LiveServer, log_in: Callable[..., None], complaints: Complaints
) -> None:
    with working_for(shop):
        RegisteredModel.objects.update(policy={"four_eyes": True})
    log_in(page)
    page.goto(f"{live_server.url}{reverse('admin:registry_decide', args=[version(shop, 'v3').pk, 'promote'])}")
    page.get_by_label("Reason").fill("Better.")
    page.get_by_label("Type v3 to confirm").fill("v3")
    page.get_by_role("button", name="Ask to promote v3").click()
    expect(page.get_by_text("another manager has to approve v3")).to_be_visible()
    page.get_by_role("link", name="Approvals").first.click()
    expect(page.get_by_text("You asked for this yourself.")).to_be_visible()

    page.context.clear_cookies()
    log_in(page, "lee@example.com")
    page.get_by_role("link", name="Review Promote demand_forecast v3").click()
    page.get_by_role("button", name="Approve").click()

    expect(page.get_by_text("Approved: demand_forecast v3 is champion now.")).to_be_visible()
    assert version(shop, "v3").status == "champion"
    assert complaints.lines == []


def test_a_decision_on_a_page_that_went_stale_is_refused(
    page: Page, shop: Customer, live_server: LiveServer, log_in: Callable[..., None]
) -> None:
    challenger = version(shop, "v3")
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
    assert version(shop, "v3").status == "shadow"


def test_progress_of_jobs_moves_without_reloading(page: Page, shop: Customer, log_in: Callable[..., None]) -> None:
    log_in(page)
    expect(page.locator("#jobs")).to_contain_text("42%")

    with working_for(shop):
        from mlops.jobs.queries import open_jobs

        open_jobs().update(progress=0.77)

    expect(page.locator("#jobs")).to_contain_text("77%", timeout=8000)


def test_charts_follow_the_theme_and_download_safe_csv(
    page: Page, shop: Customer, live_server: LiveServer, log_in: Callable[..., None], complaints: Complaints
) -> None:
    champion = version(shop, "v2")
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


@pytest.mark.parametrize("theme", THEMES)
def test_no_screen_has_a_serious_accessibility_problem(
    page: Page, shop: Customer, live_server: LiveServer, log_in: Callable[..., None], complaints: Complaints, theme: str
) -> None:
    page.add_init_script(f"localStorage.setItem('_x_adminTheme', JSON.stringify('{theme}'))")
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type] - one of two literals
    log_in(page)
    found = {url: _serious(page, f"{live_server.url}{url}") for url in _urls(shop)}

    assert len(found) == len(_urls(shop))
    assert {url: problems for url, problems in found.items() if problems} == {}
    assert complaints.lines == []


@pytest.mark.parametrize("width", [390, 2560])
def test_no_screen_scrolls_sideways(page: Page, shop: Customer, live_server: LiveServer, log_in: Callable[..., None], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    log_in(page)
    widths = {url: _width(page, f"{live_server.url}{url}") for url in _urls(shop)}

    assert {url: wide for url, wide in widths.items() if wide > width} == {}


def _urls(shop: Customer) -> list[str]:
    with working_for(shop):
        challenger = ModelVersion.objects.select_related("model", "dataset_version").get(version="v3")
        model, data = challenger.model, challenger.dataset_version
    assert data is not None
    return [
        "/admin/",
        reverse("admin:registry_model_page", args=[model.pk]),
        reverse("admin:registry_decide", args=[challenger.pk, "archive"]),
        reverse("admin:registry_approvals"),
        reverse("admin:registry_dataset_page", args=[data.dataset_id]),
        reverse("admin:registry_dataset_upload"),
        reverse("admin:registry_policy", args=[model.pk]),
        reverse("admin:registry_registeredmodel_changelist"),
        reverse("admin:audit_auditevent_changelist"),
    ]


def _serious(page: Page, url: str) -> list[str]:
    page.goto(url, wait_until="load")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html'][:300]}" for one in serious for node in one["nodes"][:4]]


def _width(page: Page, url: str) -> int:
    page.goto(url, wait_until="load")
    width: int = page.evaluate("() => document.documentElement.scrollWidth")
    return width
