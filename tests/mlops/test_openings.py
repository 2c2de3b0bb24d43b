"""Lists begin with what is so now, of this customer alone, for one query more."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags
from django_celery_beat.models import PeriodicTask

from mlops.jobs.models import Job
from mlops.jobs.schedules import install_for_everybody
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Role, system
from registry.models import ModelVersion, RetrainingRun
from tests.conftest import NOON, PASSWORD
from tests.registry import factories as make

pytestmark = pytest.mark.django_db

Site = Callable[..., Client]


def opening(page: str) -> str:
    """The sentence above the list."""
    found = re.search(r'aria-label="The list in a sentence">.*?</span><span>(.*?)</span></p>', page, re.DOTALL)
    return " ".join(strip_tags(found[1]).split()) if found else ""


def sentence(site: Site, model: str, role: str = "admin") -> str:
    return opening(site(role).get(reverse(f"admin:{model}_changelist")).text)


def make_jobs(customer: Customer, **states: int) -> None:
    now = timezone.now()
    Job.objects.bulk_create(
        Job(customer=customer, kind="train", label=f"{state} {number}", state=state, due_at=now, created_at=now, finished_at=now)
        for state, count in states.items()
        for number in range(count)
    )


def test_jobs_say_what_runs_waits_and_failed_lately(site: Site, customer: Customer, other_customer: Customer) -> None:
    make_jobs(customer, running=3, queued=12, failed=2, succeeded=5)
    Job.objects.filter(label="failed 0").update(finished_at=timezone.now() - timedelta(days=2))
    make_jobs(other_customer, running=9, failed=9)

    assert sentence(site, "jobs_job") == "3 jobs run, 12 wait; 1 failed in the last day."


def test_jobs_say_that_there_is_nothing_to_wait_for(site: Site) -> None:
    assert sentence(site, "jobs_job") == "No job runs, none waits; none failed in the last day."


def test_schedules_say_how_many_are_on_and_what_comes_next(site: Site, customer: Customer, other_customer: Customer) -> None:
    install_for_everybody()
    PeriodicTask.objects.filter(tiltyard_schedule__customer=customer).exclude(task__endswith="retrain_forecast_model").update(enabled=False)

    page = site("viewer").get(reverse("admin:jobs_scheduledtask_changelist")).text

    assert re.fullmatch(r"1 of 7 schedules are on; the next to fire is “Retrain forecast model”, \d.* 02:00 UTC\.", opening(page))
    assert "Sundays at 02:00 UTC" in page
    assert "(m/h/dM/MY/d)" not in page


def test_a_schedules_page_speaks_our_words(site: Site, customer: Customer) -> None:
    install_for_everybody()
    task = PeriodicTask.objects.filter(tiltyard_schedule__customer=customer, task__endswith="retrain_forecast_model").get()

    pages = [site(role).get(reverse("admin:jobs_scheduledtask_change", args=[task.pk])).text for role in ("admin", "viewer")]

    assert "what it would have done meanwhile is not made up for" in pages[0]
    assert "Sundays at 02:00 UTC" in pages[1]
    assert not re.search("Set to False|Detailed description|m/h/dM", "".join(pages))


def test_members_say_how_many_there_are_of_each_role(site: Site, customer: Customer, other_customer: Customer) -> None:
    for number in range(2):
        tenancy.create_member(customer=customer, email=f"m{number}@example.com", role=Role.ML_MANAGER, password=PASSWORD, at=NOON)
    tenancy.create_member(customer=other_customer, email="spy@rival.example", role=Role.VIEWER, password=PASSWORD, at=NOON)

    assert sentence(site, "tenancy_membership") == "3 members: 1 administrator and 2 ML managers."


def test_keys_say_how_many_are_valid_and_which_end_soon(site: Site, customer: Customer, other_customer: Customer) -> None:
    soon, now = timezone.now() + timedelta(days=3), timezone.now()
    tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="a", user=None, at=NOON)
    tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="b", user=None, at=now, expires_at=soon)
    ended = tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="c", user=None, at=NOON)[0]
    tenancy.create_api_key(customer=other_customer, role=Role.VIEWER, name="rival", user=None, at=NOON)
    tenancy.revoke_api_key(key=ended, at=NOON, by=system(customer.pk))

    assert sentence(site, "tenancy_apikey") == "2 API keys are valid; 1 expires within 30 days; 1 was revoked or has expired."


def test_a_tenant_without_keys_is_told_so(site: Site) -> None:
    assert sentence(site, "tenancy_apikey") == "No key was made yet: no program can come in."


@pytest.fixture
def arena(customer: Customer) -> None:
    """A model with three versions, one of which was promoted."""
    with acting(system(customer.pk)):
        make.make_arena()
        make.make_retraining(ModelVersion.objects.first().model, status="failed")  # type: ignore[union-attr]  # there are three
        RetrainingRun.objects.update(started_at=timezone.now())


def test_versions_say_how_many_serve_and_compete(site: Site, arena: None) -> None:
    assert sentence(site, "registry_modelversion") == "3 versions: 1 serves as champion, 1 competes and 1 is past."


def test_retrainings_say_what_came_of_the_last_month(site: Site, arena: None) -> None:
    wanted = "No retraining is under way; of 2 in the last 30 days 1 made a version and 1 failed."

    assert sentence(site, "registry_retrainingrun") == wanted


def test_decisions_say_how_many_there_are_and_the_last(site: Site, arena: None) -> None:
    wanted = r"3 decisions, 1 past a failed gate, none in an emergency\. The last, .* UTC: .* of demand_forecast v3\."

    assert re.fullmatch(wanted, sentence(site, "registry_decisionrecord"))


def test_nothing_decided_is_told(site: Site) -> None:
    assert sentence(site, "registry_decisionrecord").startswith("Nothing was decided yet:")


@pytest.mark.parametrize(
    "model",
    ["jobs_job", "jobs_scheduledtask", "tenancy_membership", "tenancy_apikey", "registry_modelversion", "registry_retrainingrun"],
)
def test_a_sentence_costs_one_query(site: Site, arena: None, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert browser.get(address).status_code == 200
        return len(seen)

    browser, address = site("admin"), reverse(f"admin:{model}_changelist")
    browser.get(address)
    told = queries()
    monkeypatch.setattr("mlops.admin_lists.PlatformAdmin._listed", lambda self, request: False)

    assert told - queries() == 1
