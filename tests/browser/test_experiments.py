"""Experiments in a real browser: one person proposes, another decides; the screens are accessible and fit every width."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from experiments.models import Experiment
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Role, system
from registry.models import ModelVersion, ShadowDay
from tests.browser.chromium import Complaints
from tests.conftest import NOON, PASSWORD
from tests.experiments.proposals import make_days, make_experiment
from tests.registry.factories import make_arena

pytestmark = pytest.mark.django_db(transaction=True)
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PICTURES = os.environ.get("TILTYARD_PICTURES", "")
"""A folder for screenshots, for people who want to look."""


@pytest.fixture
def shop(transactional_db: None) -> Customer:
    """A tenant with experiments in several statuses, one of which compares its version with the champion, and two managers."""
    customer = tenancy.create_customer(name="Corner Shops", at=NOON)
    for email in ("kim@example.com", "lee@example.com"):
        tenancy.create_member(customer=customer, email=email, role=Role.ML_MANAGER, password=PASSWORD, at=NOON)
    with acting(system(customer.pk)), transaction.atomic():
        by = system(customer.pk, name="max@example.com")
        champion, challenger = make_arena()
        data = challenger.dataset_version
        assert data is not None
        for version, level in ((champion, 2.0), (challenger, 1.7)):
            days = [level + 0.2 * ((day + version.number) % 5) + 0.1 * (day % 7) for day in range(60)]
            make_days(version, data, days, options={"truth": "x"})
        make_experiment(by, experiment_name="Weather as a feature", hypothesis="Rain keeps people away from the garden department.")
        make_experiment(by, "approved", experiment_name="Price elasticities per store")
        tried = make_experiment(by, "shadow_testing", model=champion.model)
        make_experiment(by, "rejected", experiment_name="A transformer for everything")
        Experiment.objects.filter(pk=tried.pk).update(experimental_version=challenger)
        make_shadow(challenger, champion)
    return customer


def make_shadow(version: ModelVersion, champion: ModelVersion) -> None:
    """Four weeks of measured pairs, overall and of two departments."""
    sums = {"n": 40, "n_ahead": 12, "sum_actual": 400.0, "sum_error": 0.0, "champion_sum_error": 0.0, "scored_at": NOON}
    ShadowDay.objects.bulk_create(
        ShadowDay(
            version=version,
            champion=champion,
            day=NOON.date() - timedelta(days=day),
            segment_column=column,
            segment=segment,
            sum_abs_error=40 * (1.6 + 0.2 * (day % 5)),
            champion_sum_abs_error=40 * (1.8 + 0.2 * (day % 7)),
            **sums,
        )
        for day in range(1, 29)
        for column, segment in (("overall", "overall"), ("dept_id", "FOODS_1"), ("dept_id", "HOBBIES_2"))
    )


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


def addresses(shop: Customer) -> dict[str, str]:
    with acting(system(shop.pk)), transaction.atomic():
        tried = Experiment.objects.get(status="shadow_testing")
        model = reverse("admin:registry_model_page", args=[tried.model_id])
    page, act = reverse("admin:experiments_page", args=[tried.pk]), reverse("admin:experiments_act", args=[tried.pk, "complete"])
    return {
        "board": reverse("admin:experiments_board"),
        "propose": reverse("admin:experiments_propose"),
        "page": page,
        "complete": act,
        "model": model,
    }


def test_one_proposes_another_approves_and_the_winner_takes_the_throne(
    page: Page, shop: Customer, live_server: LiveServer, log_in: Callable[..., None], complaints: Complaints
) -> None:
    log_in(page)
    page.get_by_role("link", name="Experiments", exact=True).first.click()
    page.get_by_role("link", name="Propose an experiment").click()
    page.get_by_label("Name").fill("Holidays")
    page.get_by_label("Hypothesis").fill("Closed days confuse the trees.")
    page.get_by_role("button", name="Propose").click()
    expect(page.get_by_text("You proposed or edited this yourself")).to_be_visible()
    expect(page.get_by_role("link", name="Approve", exact=True)).to_have_count(0)

    page.context.clear_cookies()
    log_in(page, "lee@example.com")
    page.goto(f"{live_server.url}{addresses(shop)['board']}")
    page.get_by_role("link", name="Holidays").click()
    page.get_by_role("link", name="Approve", exact=True).click()
    page.get_by_label("Reason").fill("Try it on one store.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Holidays is approved now.")).to_be_visible()

    page.goto(f"{live_server.url}{addresses(shop)['complete']}")
    page.get_by_label("Decision").select_option("adopt")
    page.get_by_label("Reason").fill("Better on every day.")
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_text("v3 passed every gate and is the champion now.")).to_be_visible()

    with acting(system(shop.pk)), transaction.atomic():
        assert ModelVersion.objects.get(version="v3").status == "champion"
    assert complaints.lines == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_screens_are_accessible_and_never_scroll_sideways(
    page: Page, shop: Customer, live_server: LiveServer, log_in: Callable[..., None], complaints: Complaints, theme: str
) -> None:
    page.add_init_script(f"localStorage.setItem('_x_adminTheme', JSON.stringify('{theme}'))")
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type] - one of two literals
    log_in(page)

    found = {name: _problems(page, f"{live_server.url}{url}", f"{name}-{theme}") for name, url in addresses(shop).items()}

    assert len(found) == 5
    assert {name: problems for name, problems in found.items() if problems} == {}
    assert complaints.lines == []


def _problems(page: Page, url: str, name: str) -> list[str]:
    problems = []
    for width in (390, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(url, wait_until="load")
        if PICTURES:
            page.screenshot(path=f"{PICTURES}/{name}-{width}.png", full_page=True)
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        problems += [f"{wide} pixels wide on {width}"] * (wide > width)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    violations = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [one for one in violations if one["impact"] in ("serious", "critical")]
    return problems + [f"{one['id']}: {node['html'][:300]}" for one in serious for node in one["nodes"][:4]]
