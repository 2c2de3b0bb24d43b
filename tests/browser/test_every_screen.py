"""Every screen, light and dark, narrow and wide: nothing that axe-core finds serious, no sideways scrolling, a silent console."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from alerts.models import Channel, MLAlert, Subscription
from experiments.models import Experiment
from mlops.jobs.models import Job
from mlops.jobs.services import request
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal, Role, system
from registry.models import DecisionRecord, PolicyChangeRequest, PromotionRequest
from registry.services.model_settings import configure_model
from tests.browser.chromium import Complaints
from tests.browser.looking import LogIn, choose_theme, problems
from tests.browser.shops import make_full_shop, make_shop, version_of, working_for
from tests.conftest import NOON

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(transactional_db: None) -> Customer:
    """A tenant in which every screen has something to show."""
    return make_full_shop()


def screens(shop: Customer) -> dict[str, str]:
    """Every page that is ours, and the lists behind the navigation."""
    with working_for(shop):
        challenger = version_of(shop, "v3")
        data = challenger.dataset_version
        tried, proposed = Experiment.objects.get(status="shadow_testing"), Experiment.objects.get(status="proposed")
        alert, asked = MLAlert.objects.filter(severity="critical").get(), PromotionRequest.objects.get()
        decided = DecisionRecord.objects.filter(version=challenger).latest("decided_at")
        looser = PolicyChangeRequest.objects.get()
        hook, mine = Channel.objects.get(kind="webhook"), Subscription.objects.exclude(channel__owner=None).get()
        dismissed = MLAlert.objects.get(status="dismissed")
        kim = Principal("user", "kim@example.com", Role.ML_MANAGER, shop.pk)
        changes = {"policy": {"four_eyes": False, "min_improvement_pct": 2.0}}
        looser = configure_model(model=challenger.model, changes=changes, by=kim, at=NOON).request
    assert data is not None
    assert looser is not None
    model = challenger.model_id
    pages = {
        "overview": ("index", []),
        "approvals": ("registry_approvals", []),
        "request": ("registry_request_page", [asked.pk]),
        "decision": ("registry_decision", [decided.pk]),
        "request-policy": ("registry_policy_request", [looser.pk]),
        "policy-request": ("registry_policy_request", [looser.pk]),
        "inbox": ("alerts_inbox", []),
        "alert": ("alerts_alert", [alert.pk]),
        "alert-decided": ("alerts_alert", [dismissed.pk]),
        "experiments": ("experiments_board", []),
        "experiment": ("experiments_page", [tried.pk]),
        "experiment-propose": ("experiments_propose", []),
        "experiment-edit": ("experiments_edit", [proposed.pk]),
        "experiment-approve": ("experiments_act", [proposed.pk, "approve"]),
        "experiment-complete": ("experiments_act", [tried.pk, "complete"]),
        "model": ("registry_model_page", [model]),
        "model-register": ("registry_model_register", []),
        "model-policy": ("registry_policy", [model]),
        "model-data": ("registry_data_source", [model]),
        "model-retrain": ("experiments_retrain", [model]),
        "model-settings": ("registry_settings", [model]),
        "model-version": ("registry_version_register", [model]),
        "model-actuals": ("registry_actuals", [model]),
        "channels": ("alerts_channels", []),
        "channel-create": ("alerts_channel_create", []),
        "channel": ("alerts_channel", [hook.pk]),
        "channel-own": ("alerts_channel", [mine.channel_id]),
        "channel-edit": ("alerts_channel_edit", [hook.pk]),
        "channel-secret": ("alerts_channel_secret", [hook.pk]),
        "channel-end": ("alerts_channel_end", [hook.pk]),
        "dead": ("alerts_dead", []),
        "subscribe": ("alerts_subscribe", []),
        "subscription": ("alerts_subscription_edit", [mine.pk]),
        "promote": ("registry_decide", [challenger.pk, "promote"]),
        "archive": ("registry_decide", [challenger.pk, "archive"]),
        "shadow": ("registry_decide", [challenger.pk, "shadow"]),
        "dataset": ("registry_dataset_page", [data.dataset_id]),
        "dataset-upload": ("registry_dataset_upload", []),
        **{f"list-{name}": (f"{name}_changelist", []) for name in LISTS},
    }
    return {name: reverse(f"admin:{view}", args=arguments) for name, (view, arguments) in pages.items()}


LISTS = (
    "registry_registeredmodel",
    "registry_modelversion",
    "registry_dataset",
    "registry_decisionrecord",
    "registry_retrainingrun",
    "jobs_job",
    "audit_auditevent",
    "alerts_mlalert",
    "alerts_subscription",
    "alerts_channel",
    "alerts_delivery",
    "experiments_experiment",
    "tenancy_membership",
    "tenancy_apikey",
    "jobs_scheduledtask",
)
LIKE_OTHERS = {f"list-{name}" for name in LISTS[1:-2]} | {
    "model-data",
    "model-register",
    "experiment-edit",
    "experiment-propose",
    "archive",
    "channel-create",
    "channel-edit",
    "channel-secret",
    "channel-own",
    "subscription",
    "model-settings",
}
"""Pages made of the same parts as others: looked at in light alone."""


def test_every_screen_is_accessible_and_fits_every_width(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    choose_theme(page, "light")
    log_in(page)

    found = {name: problems(page, f"{live_server.url}{url}", name=f"{name}-light") for name, url in screens(shop).items()}

    assert len(found) > 30
    assert {name: said for name, said in found.items() if said} == {}
    assert complaints.lines == []


def test_the_dark_theme_is_accessible_on_a_phone(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    choose_theme(page, "dark")
    log_in(page)
    wanted = {name: url for name, url in screens(shop).items() if name not in LIKE_OTHERS}

    found = {name: problems(page, f"{live_server.url}{url}", name=f"{name}-dark", widths=(390,)) for name, url in wanted.items()}

    assert len(found) > 15
    assert {name: said for name, said in found.items() if said} == {}
    assert complaints.lines == []


def test_a_tenant_without_anything_is_taught_on_accessible_pages(
    page: Page, transactional_db: None, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    make_shop(admin="kim@example.com", managers=())
    choose_theme(page, "dark")
    log_in(page)
    names = (
        "alerts_channels",
        "alerts_dead",
        "alerts_inbox",
        "alerts_subscribe",
        "alerts_channel_changelist",
        "alerts_delivery_changelist",
    )

    found = {name: problems(page, f"{live_server.url}{reverse(f'admin:{name}')}", name=f"empty-{name}", widths=(390,)) for name in names}

    assert {name: said for name, said in found.items() if said} == {}
    assert complaints.lines == []


def test_long_words_wrap_in_results_of_jobs_and_in_the_catalog_of_problems(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn
) -> None:
    with working_for(shop):
        job = request(kind="retrain", payload={}, label="Retrain", by=system(shop.pk), at=NOON)
        Job.objects.filter(pk=job.pk).update(result={"verdict": "words " * 60})
    log_in(page)

    urls = {"job": reverse("admin:jobs_job_change", args=[job.pk]), "problems": reverse("problems")}
    found = {name: problems(page, f"{live_server.url}{url}", name=name, widths=(1400, 390)) for name, url in urls.items()}

    assert found == {"job": [], "problems": []}


def test_links_in_a_models_story_are_told_from_its_text_without_color(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn
) -> None:
    log_in(page)
    page.goto(f"{live_server.url}{screens(shop)['model']}")

    lines = page.locator(".ty-story a").evaluate_all("links => links.map(link => getComputedStyle(link).textDecorationLine)")

    assert set(lines) == {"underline"}
