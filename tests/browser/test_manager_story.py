"""The whole story as two managers live it: drift, retraining, four eyes, promotion, rollback, audit. The model in it is really trained."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from experiments.services.retraining import request_retrain
from mlops.jobs import runner
from mlops.jobs.models import Job
from mlops.outbox import services as outbox
from mlops.outbox.models import Message
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import system
from registry.models import ForecastAccuracy, RegisteredModel
from registry.services import drifting
from registry.services.lookups import champion_of, reference_run
from registry.states import Trigger
from tests.browser.chromium import Complaints
from tests.browser.looking import LogIn, picture
from tests.browser.shops import make_shop, version_of, working_for
from tests.experiments.chain import POOR, do_each_work_once, make_chain_model

pytestmark = pytest.mark.django_db(transaction=True)
WORSE = 3
KIM, LEE = "kim@example.com", "lee@example.com"


@pytest.fixture
def shop(transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Customer:
    """Two managers, four eyes, and a model whose champion, the seasonal naive, drifts since a week."""
    do_each_work_once(monkeypatch)
    customer = make_shop()
    by = system(customer.pk)
    with working_for(customer):
        model = make_chain_model(tmp_path, by, policy={"four_eyes": True}, display_name="Demand forecast")
        request_retrain(
            model=model, trigger=Trigger.SCHEDULED, by=by, at=timezone.now(), recipe=POOR
        )  # so that the naive stays on its throne
    work(customer)  # POOR: the naive stays on its throne
    with working_for(customer):
        worsen(model)
        assert drifting.detect(model=model, at=timezone.now())["drifted"]
    tell()
    return customer


def worsen(model: RegisteredModel) -> None:
    """The week after the champion's backtest, with three times the errors of the week before it."""
    champion = champion_of(model)
    assert champion is not None
    run = reference_run(champion)
    assert run is not None
    last_week = run.segments.filter(forecast_date__gt=run.window_end - timedelta(days=7))
    ForecastAccuracy.objects.bulk_create(
        ForecastAccuracy(
            version_ref=champion,
            model_name=model.name,
            model_version=champion.version,
            forecast_date=row.forecast_date + timedelta(days=7),
            segment_column=row.segment_column,
            segment=row.segment,
            n=row.n,
            sum_actual=row.sum_actual,
            sum_error=row.sum_error,
            sum_abs_error=WORSE * row.sum_abs_error,
            mae=WORSE * row.sum_abs_error / row.n,
            created_at=timezone.now(),
        )
        for row in last_week
    )


def work(customer: Customer) -> None:
    """Do the jobs that wait, as a worker does; then tell the news, as the relay does."""
    with working_for(customer):
        waiting = list(Job.objects.filter(customer_id=customer.pk, state="queued").values_list("pk", "attempt"))
    assert waiting
    for job_id, attempt in waiting:
        runner.run(job_id=job_id, attempts=attempt)
    tell()


def tell() -> None:
    """Handle every message of the outbox, and those that follow from it."""
    while fresh := list(Message.objects.filter(handled_at=None, attempts=0).values_list("pk", flat=True)):
        for message_id in fresh:
            outbox.handle(message_id=message_id, attempts=0, at=timezone.now())


def test_two_managers_live_the_whole_story(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    log_in(page, KIM)
    approve_the_retraining_that_a_drift_asks_for(page)
    work(shop)
    read_the_evidence_and_ask_to_promote(page, live_server)
    propose_an_experiment_and_be_refused_to_approve_it(page, live_server)

    log_in(page, LEE)
    approve_what_the_other_asked_for(page)
    assert version_of(shop, "v3").status == "champion"
    ask_to_roll_back(page, live_server)

    log_in(page, KIM)
    approve_the_rollback(page)
    assert version_of(shop, "v1").status == "champion"
    find_it_all_in_the_audit(page)
    assert complaints.lines == []


def approve_the_retraining_that_a_drift_asks_for(page: Page) -> None:
    expect(page.locator(".ty-sentence")).to_contain_text("critical alert is open")
    expect(page.locator("[data-tally=alerts]")).to_have_text("1")
    expect(page.locator("#waiting")).to_contain_text("drifts")
    picture(page, "overview")
    page.get_by_role("link", name="Alerts").first.click()
    expect(page.locator("#alert-title")).to_contain_text("demand v1 drifts")
    expect(page.locator(".ty-beside table")).to_contain_text("S1")
    picture(page, "alerts")

    page.get_by_role("link", name="Look at it").click()
    expect(page.locator("[data-chart=daily] canvas")).to_be_visible()
    page.locator("[data-chart=daily] summary").click()
    expect(page.locator("[data-chart=daily] tbody tr")).to_have_count(28)
    page.go_back()

    page.keyboard.press("a")
    expect(page.get_by_label("Notes")).to_be_focused()
    page.keyboard.type("Easter came early; learn it.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("demand is being retrained; the overview shows the progress.")).to_be_visible()


def read_the_evidence_and_ask_to_promote(page: Page, live_server: LiveServer) -> None:
    page.goto(f"{live_server.url}{reverse('admin:index')}")
    page.get_by_role("link", name="Demand forecast", exact=True).first.click()
    expect(page.locator(".ty-sentence")).to_contain_text("v3 is")
    expect(page.locator("#gates-title")).to_contain_text("passed")
    picture(page, "model", height=1250)

    page.get_by_role("link", name="Promote v3").click()
    page.get_by_label("Reason").fill("Better than the naive in every store.")
    if page.get_by_label("Type v3 to confirm").count():
        page.get_by_label("Type v3 to confirm").fill("v3")
    page.get_by_role("button", name="Ask to promote v3").click()
    expect(page.get_by_text("another manager has to approve v3")).to_be_visible()
    page.get_by_role("link", name="Approvals").first.click()
    expect(page.get_by_text("You asked for this yourself: another manager has to approve it.")).to_be_visible()


def propose_an_experiment_and_be_refused_to_approve_it(page: Page, live_server: LiveServer) -> None:
    page.goto(f"{live_server.url}{reverse('admin:experiments_propose')}")
    page.get_by_label("Name").fill("School holidays as a feature")
    page.get_by_label("Hypothesis").fill("Families shop on other days; MAE improves by 4 %.")
    page.get_by_role("button", name="Propose").click()
    expect(page.get_by_text("You proposed or edited this yourself")).to_be_visible()
    expect(page.get_by_role("link", name="Approve", exact=True)).to_have_count(0)


def approve_what_the_other_asked_for(page: Page) -> None:
    page.get_by_role("link", name="Approvals").first.click()
    picture(page, "approvals")
    for title, said in (
        ("School holidays as a feature", "School holidays as a feature is approved now."),
        ("Promote v3", "Approved: demand v3 is champion now."),
    ):
        card = page.locator("li.ty-card", has=page.get_by_role("heading", name=title))
        card.get_by_text("Decide here").click()
        card.get_by_label("Reason").fill("Agreed.")
        card.get_by_role("button", name="Approve").click()
        expect(page.get_by_text(said)).to_be_visible()


def ask_to_roll_back(page: Page, live_server: LiveServer) -> None:
    page.goto(f"{live_server.url}{reverse('admin:index')}")
    page.get_by_role("link", name="Demand forecast", exact=True).first.click()
    page.locator("#choose-version").select_option("v1")
    page.get_by_role("link", name="Roll back to v1").click()
    page.get_by_label("Reason").fill("The till system reports nonsense since noon.")
    page.get_by_label("Type v1 to confirm").fill("v1")
    page.get_by_role("button", name="Roll back to v1").click()
    expect(page.get_by_text("another manager has to approve v1")).to_be_visible()


def approve_the_rollback(page: Page) -> None:
    page.get_by_role("link", name="Approvals").first.click()
    card = page.locator("li.ty-card", has=page.get_by_role("heading", name="Roll"))
    card.get_by_role("link", name="Review").click()
    page.get_by_label("Reason").fill("Safe is safe.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: demand v1 is champion now.")).to_be_visible()


def find_it_all_in_the_audit(page: Page) -> None:
    page.get_by_role("link", name="Audit").first.click()
    trail = page.locator("#result_list")
    for action in ("alert.actioned", "experiment.approved", "promotion_request.created", "version.champion"):
        expect(trail).to_contain_text(action)
    for reason in ("Easter came early", "Better than the naive", "Agreed.", "The till system", "Safe is safe."):
        expect(trail).to_contain_text(reason)
    page.get_by_text("Verify the chain").first.click()
    expect(page.get_by_text("Intact:")).to_be_visible()
