"""The platform's lists: one customer's rows, written by services, for the roles that may."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from mlops.api.exports import quoted
from mlops.audit.models import AuditEvent
from mlops.audit.services import record
from mlops.jobs import services as jobs
from mlops.jobs.models import Job, JobState, Schedule
from mlops.jobs.schedules import install_for_everybody
from mlops.outbox.models import Message
from mlops.tenancy import services as tenancy
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import ApiKey, Customer, Membership, User
from mlops.tenancy.principals import acting, principal_of_key
from mlops.tenancy.roles import Role, system
from tests.conftest import NOON, PASSWORD, join

pytestmark = pytest.mark.django_db

LISTS = (
    "tenancy_membership",
    "tenancy_apikey",
    "tenancy_customer",
    "audit_auditevent",
    "jobs_job",
    "jobs_scheduledtask",
    "outbox_message",
)
Site = Callable[..., Client]


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:{name}", args=args)


def make_job(customer: Customer, label: str = "Train demand") -> Job:
    with acting(system(customer.pk)):
        return jobs.request(kind="train", payload={}, label=label, by=system(customer.pk), at=timezone.now())


@pytest.mark.parametrize("model", LISTS)
def test_every_list_opens_for_an_operating_administrator(site: Site, model: str) -> None:
    browser = site("admin")
    User.objects.update(is_superuser=True)

    assert browser.get(url(f"{model}_changelist")).status_code == 200


@pytest.mark.parametrize("model", ["audit_auditevent", "jobs_job", "tenancy_membership"])
def test_moments_in_lists_and_on_pages_name_their_zone(site: Site, customer: Customer, model: str) -> None:
    job, browser = make_job(customer), site("admin")

    listed = browser.get(url(f"{model}_changelist")).text
    shown = browser.get(url("jobs_job_change", job.pk)).text

    assert '<time datetime="' in listed
    assert f'title="{job.created_at:%Y-%m-%d %H:%M} UTC"' in shown


@pytest.mark.parametrize(
    ("state", "told"),
    [("running", "judging"), ("succeeded", ""), ("failed", "ended at: judging"), ("cancelled", "ended at: judging")],
)
def test_the_step_of_a_job_that_ended_does_not_read_as_under_way(site: Site, customer: Customer, state: str, told: str) -> None:
    job, browser = make_job(customer), site("viewer")
    Job.objects.filter(pk=job.pk).update(state=state, progress_text="judging")

    for page in (url("jobs_job_changelist"), url("jobs_job_change", job.pk)):
        assert f"<span>{told}</span>" in browser.get(page).text


@pytest.mark.parametrize("model", ["tenancy_membership", "tenancy_apikey", "outbox_message"])
def test_settings_stay_closed_to_other_roles(site: Site, model: str) -> None:
    assert site("ml_manager").get(url(f"{model}_changelist")).status_code == 403


def test_lists_show_nothing_of_another_customer(site: Site, other_customer: Customer) -> None:
    tenancy.create_member(customer=other_customer, email="spy@rival.example", role=Role.ADMIN, password=PASSWORD, at=NOON)
    tenancy.create_api_key(customer=other_customer, role=Role.VIEWER, name="rival key", user=None, at=NOON)
    make_job(other_customer, "Rival job")
    browser = site("admin")
    User.objects.filter(memberships__customer__name="Corner Shops").update(is_superuser=True)

    pages = "".join(browser.get(url(f"{model}_changelist")).content.decode() for model in LISTS)

    assert "ival" not in pages
    assert str(other_customer.pk) not in pages


def test_another_customers_rows_cannot_be_opened_by_their_address(site: Site, other_customer: Customer) -> None:
    foreign_job = make_job(other_customer)
    foreign_schedule = PeriodicTask.objects.filter(tiltyard_schedule__customer=other_customer).first()
    browser = site("admin")

    answers = [browser.get(url("jobs_job_change", foreign_job.pk))]
    if foreign_schedule is not None:
        answers.append(browser.get(url("jobs_scheduledtask_change", foreign_schedule.pk)))

    assert {answer.status_code for answer in answers} == {302}


@pytest.mark.parametrize("identifier", ["99999999999999999999999", "-1", "%00", "x", "_", "../.."])
@pytest.mark.parametrize("model", ["tenancy_membership", "jobs_job", "jobs_scheduledtask", "audit_auditevent"])
def test_odd_addresses_of_rows_are_no_defect(site: Site, model: str, identifier: str) -> None:
    answer = site("admin").get(f"/admin/{model.rsplit('_', 1)[0]}/{model.rsplit('_', 1)[1]}/{identifier}/change/")

    assert answer.status_code in (302, 400, 404)


def test_an_administrator_adds_a_member(site: Site, customer: Customer) -> None:
    answer = site("admin").post(
        url("tenancy_membership_add"), {"email": "Kim@Example.com", "role": "viewer", "password": "a long enough secret"}
    )

    assert answer.status_code == 302
    kim = Membership.objects.get(customer=customer, user__email="kim@example.com")
    assert kim.user.check_password("a long enough secret")
    with scoped(customer.pk):
        assert AuditEvent.objects.filter(action="member.set", actor="admin@example.com", object_label="kim@example.com").exists()


@pytest.mark.parametrize("password", ["", "short"])
def test_a_new_account_needs_a_good_password(site: Site, password: str) -> None:
    answer = site("admin").post(url("tenancy_membership_add"), {"email": "kim@example.com", "role": "viewer", "password": password})

    assert answer.status_code == 200
    assert not User.objects.filter(email="kim@example.com").exists()


def test_the_last_administrator_stays(site: Site, customer: Customer) -> None:
    browser = site("admin")
    own = Membership.objects.get(customer=customer, role="admin")

    browser.post(url("tenancy_membership_delete", own.pk), {"post": "yes"})
    browser.post(url("tenancy_membership_change", own.pk), {"role": "viewer"})

    own.refresh_from_db()
    assert own.role == "admin"


def test_a_removed_members_session_ends_at_once(site: Site, customer: Customer) -> None:
    browser = site("viewer")
    membership = Membership.objects.get(customer=customer, user__email="viewer@example.com")
    boss = tenancy.create_member(customer=customer, email="boss@example.com", role=Role.ADMIN, password=PASSWORD, at=NOON)

    tenancy.remove_member(membership=membership, at=NOON, by=system(customer.pk))

    assert boss.pk
    assert browser.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("by", ["page", "list"])
def test_removing_a_member_on_the_site_revokes_their_keys(site: Site, customer: Customer, by: str) -> None:
    member = tenancy.create_member(customer=customer, email="kim@example.com", role=Role.VIEWER, password=PASSWORD, at=NOON)
    key, _ = tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="kims", user=member.user, at=NOON)
    browser = site("admin")

    if by == "page":
        browser.post(url("tenancy_membership_delete", member.pk), {"post": "yes"})
    else:
        chosen = {"action": "delete_selected", "_selected_action": [str(member.pk)], "post": "yes"}
        browser.post(url("tenancy_membership_changelist"), chosen)

    key.refresh_from_db()
    assert not Membership.objects.filter(pk=member.pk).exists()
    assert key.revoked_at is not None


def test_a_key_is_shown_once_and_works(site: Site, customer: Customer) -> None:
    answer = site("admin").post(url("tenancy_apikey_add"), {"name": "nightly", "role": "viewer", "user": ""})

    page = answer.content.decode()
    secret = page.split('<code id="secret">')[1].split("</code>")[0]
    who = principal_of_key(secret, at=timezone.now())
    assert who is not None
    assert (who.customer_id, who.role, "no-store" in answer["Cache-Control"]) == (customer.pk, Role.VIEWER, True)


def test_revoking_ends_the_chosen_keys(site: Site, customer: Customer) -> None:
    key, secret = tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="old", user=None, at=timezone.now())

    site("admin").post(url("tenancy_apikey_changelist"), {"action": "revoke", "_selected_action": [str(key.pk)]})

    assert principal_of_key(secret, at=timezone.now()) is None


def test_revoking_another_customers_key_does_nothing(site: Site, other_customer: Customer) -> None:
    key, secret = tenancy.create_api_key(customer=other_customer, role=Role.VIEWER, name="theirs", user=None, at=timezone.now())

    site("admin").post(url("tenancy_apikey_changelist"), {"action": "revoke", "_selected_action": [str(key.pk)]})

    assert ApiKey.objects.get(pk=key.pk).revoked_at is None
    assert principal_of_key(secret, at=timezone.now()) is not None


def test_a_person_switches_between_their_customers(site: Site, customer: Customer, other_customer: Customer) -> None:
    browser = site("viewer")
    join(other_customer, "viewer@example.com", "ml_manager")

    browser.post(url("choose_customer", other_customer.pk))

    me = browser.get("/api/v1/me").json()
    assert (me["customer_id"], me["role"]) == (str(other_customer.pk), "ml_manager")


def test_nobody_switches_to_a_customer_they_do_not_belong_to(site: Site, customer: Customer, other_customer: Customer) -> None:
    browser = site("viewer")

    answer = browser.post(url("choose_customer", other_customer.pk))

    assert answer.status_code == 404
    assert browser.get("/api/v1/me").json()["customer_id"] == str(customer.pk)


def test_the_trail_is_verified_by_a_button(site: Site) -> None:
    answer = site("ml_manager").get(url("audit_auditevent_verify_chain"), follow=True)

    assert "Intact" in answer.content.decode()


def test_a_viewer_cannot_verify(site: Site) -> None:
    assert site("viewer").get(url("audit_auditevent_verify_chain")).status_code == 403


def test_the_export_quotes_formulas(site: Site, customer: Customer) -> None:
    with acting(system(customer.pk)):
        record(action="test", target=customer, label="=HYPERLINK(1)", at=NOON, reason="+1", before={}, after={"n": 1})

    answer = site("ml_manager").get(url("audit_auditevent_export") + "?action__icontains=test")

    text = answer.content.decode()
    assert (answer["Content-Disposition"], "'=HYPERLINK(1)" in text, "'+1" in text) == ('attachment; filename="audit.csv"', True, True)
    assert text.count("\n") == 2


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [("=1", "'=1"), ("+1", "'+1"), ("-x", "'-x"), ("@a", "'@a"), ("\ta", "'\ta"), ("\ra", "'\ra"), (-1.5, -1.5), ("a=1", "a=1")],
)
def test_quoting_touches_only_what_a_spreadsheet_would_run(cell: object, wanted: object) -> None:
    assert quoted(cell) == wanted


def test_a_data_scientist_stops_a_job(site: Site, customer: Customer) -> None:
    job = make_job(customer)

    browser, chosen = site("data_scientist"), {"action": "cancel", "_selected_action": [str(job.pk)]}
    browser.post(url("jobs_job_changelist"), chosen)
    again = browser.post(url("jobs_job_changelist"), chosen, follow=True)

    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    assert "1 of the chosen had ended already" in again.text


@pytest.fixture
def schedule(customer: Customer, other_customer: Customer) -> PeriodicTask:
    install_for_everybody()
    return PeriodicTask.objects.filter(tiltyard_schedule__customer=customer).select_related("crontab").order_by("task")[0]


def times(**changes: str) -> dict[str, str]:
    return {"minute": "15", "hour": "7", "day_of_month": "*", "month_of_year": "*", "day_of_week": "1,2", "enabled": "on"} | changes


def test_an_administrator_changes_when_a_schedule_fires_for_one_customer(
    site: Site, schedule: PeriodicTask, customer: Customer, other_customer: Customer
) -> None:
    others_before = list(CrontabSchedule.objects.filter(periodictask__tiltyard_schedule__customer=other_customer).order_by("id").values())

    answer = site("admin").post(url("jobs_scheduledtask_change", schedule.pk), times())

    changed = PeriodicTask.objects.select_related("crontab").get(pk=schedule.pk)
    assert (answer.status_code, changed.crontab.minute, changed.crontab.day_of_week) == (302, "15", "1,2")
    assert (
        list(CrontabSchedule.objects.filter(periodictask__tiltyard_schedule__customer=other_customer).order_by("id").values())
        == others_before
    )
    with scoped(customer.pk):
        assert AuditEvent.objects.filter(action="schedule.configured").count() == 1


@pytest.mark.parametrize("changes", [{"minute": "61"}, {"hour": "soon"}, {"day_of_month": "30", "month_of_year": "2"}, {"minute": ""}])
def test_times_that_never_come_are_refused(site: Site, schedule: PeriodicTask, changes: dict[str, str]) -> None:
    answer = site("admin").post(url("jobs_scheduledtask_change", schedule.pk), times(**changes))

    assert answer.status_code == 200
    assert PeriodicTask.objects.get(pk=schedule.pk).crontab_id == schedule.crontab_id


def test_a_manager_sees_schedules_and_changes_none(site: Site, schedule: PeriodicTask) -> None:
    browser = site("ml_manager")
    address = url("jobs_scheduledtask_change", schedule.pk)

    assert browser.get(address).status_code == 200
    assert browser.post(address, times()).status_code == 403
    assert Schedule.objects.get(periodic_task=schedule).periodic_task.crontab_id == schedule.crontab_id


def test_an_operator_sends_a_dead_message_again(site: Site, customer: Customer) -> None:
    dead = Message.objects.create(
        customer=customer, topic="jobs.failed", payload={}, created_at=NOON, due_at=NOON, dead_at=NOON, attempts=12
    )
    browser = site("admin")
    User.objects.update(is_superuser=True)

    browser.post(url("outbox_message_changelist"), {"action": "resend", "_selected_action": [str(dead.pk)]})

    dead.refresh_from_db()
    assert (dead.dead_at, dead.attempts) == (None, 0)


def test_groups_and_the_stock_schedule_lists_do_not_exist(site: Site) -> None:
    browser = site("admin")

    answers = [browser.get(f"/admin/{path}/").status_code for path in ("auth/group", "django_celery_beat/crontabschedule")]

    assert answers == [404, 404]


def name_of(page: str) -> list[str]:
    """What the head of a page of the site calls it, from the list to the row."""
    return [part.strip() for part in re.findall(r'min-w-0 truncate tracking-tight">([^<]*)<', page)]


@pytest.mark.parametrize(
    ("model", "called"),
    [
        ("tenancy_membership", "Members"),
        ("tenancy_apikey", "API keys"),
        ("jobs_job", "Jobs"),
        ("jobs_scheduledtask", "Schedules"),
        ("registry_dataset", "Data sets"),
        ("registry_modelversion", "Versions"),
        ("registry_decisionrecord", "Decisions"),
        ("registry_retrainingrun", "Retrainings"),
    ],
)
def test_a_list_has_one_name_in_navigation_head_and_title(site: Site, model: str, called: str) -> None:
    page = site("admin").get(url(f"{model}_changelist")).text

    assert name_of(page) == [called]
    assert f"<title>{called} |" in " ".join(page.split()).replace("<title> ", "<title>")
    assert f"<span>{called}</span>" in page


def test_a_schedules_page_names_the_job_and_nobodys_id(site: Site, schedule: PeriodicTask, customer: Customer) -> None:
    page = site("admin").get(url("jobs_scheduledtask_change", schedule.pk)).text

    assert name_of(page) == ["Schedules", "Send alert digest"]
    assert str(customer.pk) not in page


def test_pages_of_members_and_keys_write_moments_as_everywhere(site: Site, customer: Customer) -> None:
    browser = site("admin")
    key, _ = tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="demo", user=None, at=NOON)
    member = Membership.objects.get(customer=customer)

    pages = {
        row.created_at: browser.get(url(f"tenancy_{name}_change", row.pk)).text for name, row in (("apikey", key), ("membership", member))
    }

    assert len(pages) == 2
    assert [at for at, page in pages.items() if f'title="{at:%Y-%m-%d %H:%M} UTC"' not in page] == []
    assert not re.search(r"[ap]\.m\.", "".join(pages.values()))
