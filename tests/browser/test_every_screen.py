"""Every screen, light and dark, narrow and wide: nothing that axe-core finds serious, no sideways scrolling, a silent console."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from alerts.models import MLAlert
from experiments.models import Experiment
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal, Role
from registry.models import PolicyChangeRequest, PromotionRequest
from registry.services.registration import configure_model
from tests.browser.chromium import Complaints
from tests.browser.looking import LogIn, choose_theme, problems
from tests.browser.shops import make_full_shop, version_of, working_for
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
        looser = PolicyChangeRequest.objects.get()
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
    "alerts_delivery",
    "experiments_experiment",
    "tenancy_membership",
    "tenancy_apikey",
    "django_celery_beat_periodictask",
)
LIKE_OTHERS = {f"list-{name}" for name in LISTS[1:-2]} | {
    "model-data",
    "model-register",
    "experiment-edit",
    "experiment-propose",
    "archive",
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
