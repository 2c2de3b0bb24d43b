"""The audit's list answers first: how much there is, whether it is whole, and what one person did or had done."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from mlops.audit.models import AuditEvent, AuditHead, AuditVerification
from mlops.audit.services import record
from mlops.audit.verifying import verify_and_keep
from mlops.jobs import runner
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, Role, system
from registry.tasks import publish_audit_head
from tests.conftest import NOON

pytestmark = pytest.mark.django_db

Site = Callable[..., Client]
LIST = "admin:audit_auditevent_changelist"


def sentence(browser: Client, query: str = "") -> str:
    page = browser.get(reverse(LIST) + query).text
    (said,) = re.findall(r'<p class="ty-sentence.*?</p>', page, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", "", said)).split())


def write(customer: Customer, label: str, *, by: Principal) -> None:
    with acting(by), transaction.atomic():
        record(action="note", target=customer, label=label, at=NOON)


@pytest.fixture
def behalf(customer: Customer) -> None:
    """What a key did for one person, and what another did alone."""
    key = Principal("key", "tt_abc (nightly)", Role.ML_MANAGER, customer.pk, on_behalf_of="kim@example.com")
    write(customer, "done for Kim", by=key)
    write(customer, "done by Lou", by=Principal("user", "lou@example.com", Role.ML_MANAGER, customer.pk))


def test_a_chain_that_nobody_verified_says_so(site: Site, customer: Customer) -> None:
    browser = site("viewer")

    said = sentence(browser)

    with scoped(customer.pk):
        assert f"{AuditEvent.objects.count()} events since 2026-03-02 12:00 UTC." in said
    assert said.endswith("Nobody has verified yet that the chain is whole; the daily job will.")


@pytest.mark.parametrize(
    ("by", "shown"),
    [
        (("system", "kim@example.com", ""), ["system", "for kim@example.com"]),
        (("system", "key:nightly", "kim@example.com"), ["system", "for key:nightly for kim@example.com"]),
        (("system", "arena", ""), ["arena", "system"]),
        (("system", "system", "kim@example.com"), ["system", "for kim@example.com"]),
        (("user", "kim@example.com", ""), ["kim@example.com", "person"]),
        (("key", "key:nightly", "kim@example.com"), ["key:nightly", "for kim@example.com"]),
    ],
)
def test_the_platform_in_somebodys_place_is_not_taken_for_them(
    site: Site, customer: Customer, by: tuple[Any, str, str], shown: list[str]
) -> None:
    kind, name, behalf = by
    browser = site("viewer")
    write(customer, "done in a job", by=Principal(kind, name, Role.ADMIN, customer.pk, on_behalf_of=behalf))
    with scoped(customer.pk):
        event = AuditEvent.objects.get(object_label="done in a job")

    row = browser.get(f"{reverse(LIST)}?q=done+in+a+job").text
    page = browser.get(reverse("admin:audit_auditevent_change", args=[event.pk])).text

    told = [" ".join(unescape(part).split()) for part in re.findall(r">([^<>]+)<", row)]
    assert told[told.index(shown[0]) : told.index(shown[0]) + 20].count(shown[1]) >= 1
    assert ", ".join(shown) in " ".join(unescape(page).split())


@pytest.mark.parametrize("door", ["button", "api", "command", "job"])
def test_every_verification_is_told_later(site: Site, api: Callable[..., Any], customer: Customer, door: str) -> None:
    browser, client = site("ml_manager"), api()
    doors = {
        "button": lambda: browser.get(reverse("admin:audit_auditevent_verify_chain")),
        "api": lambda: client.get("/api/v1/audit/verify"),
        "command": lambda: call_command("verify_audit", verbosity=0),
        "job": lambda: _publish(customer),
    }

    doors[door]()
    write(customer, "one more", by=system(customer.pk))

    said = sentence(browser)
    assert "The chain was whole when last verified" in said
    assert said.endswith("; 1 event came since.")


def _publish(customer: Customer) -> None:
    runner.run(job_id=UUID(publish_audit_head(str(customer.pk))), attempts=0)


def test_a_broken_chain_is_told_until_it_is_verified_again(site: Site, customer: Customer) -> None:
    browser = site("viewer")
    with acting(system(customer.pk)):
        AuditHead.objects.update(number=99)
        verify_and_keep(at=timezone.now())

    assert "the chain was broken: the head says 99 events" in sentence(browser)


def test_a_chain_that_got_shorter_is_told(site: Site, customer: Customer) -> None:
    browser = site("viewer")
    with acting(system(customer.pk)):
        verify_and_keep(at=timezone.now())
        AuditHead.objects.update(number=1)

    assert "The chain is shorter than when it was last verified" in sentence(browser)


def test_only_the_latest_verification_is_kept(scope: Principal) -> None:
    verify_and_keep(at=NOON)
    verify_and_keep(at=timezone.now())

    assert AuditVerification.objects.get().verified_at > NOON


def test_another_customers_verification_is_not_told(site: Site, other_customer: Customer) -> None:
    with acting(system(other_customer.pk)):
        verify_and_keep(at=timezone.now())

    assert "Nobody has verified yet" in sentence(site("viewer"))


@pytest.mark.parametrize(("role", "offered"), [("viewer", False), ("ml_manager", True)])
def test_the_button_is_offered_once_to_those_who_may(site: Site, role: str, offered: bool) -> None:
    page = site(role).get(reverse(LIST)).text

    assert page.count(reverse("admin:audit_auditevent_verify_chain")) == offered


@pytest.mark.parametrize("query", ["?person=kim", "?q=kim%40example.com"])
def test_a_person_is_found_whom_a_key_acted_for(site: Site, behalf: None, query: str) -> None:
    page = site("viewer").get(reverse(LIST) + query).text

    assert "done for Kim" in page
    assert "done by Lou" not in page


def test_a_key_is_found_by_its_name(site: Site, behalf: None) -> None:
    page = site("viewer").get(reverse(LIST) + "?person=nightly").text

    assert "done for Kim" in page
    assert "done by Lou" not in page


def test_choosing_a_person_keeps_the_other_filters(site: Site, behalf: None) -> None:
    page = site("viewer").get(reverse(LIST) + "?action__icontains=note&person=kim&p=1").text

    assert '<input type="hidden" name="action__icontains" value="note">' in page
    assert 'href="?action__icontains=note">Everybody</a>' in page


def test_the_list_takes_the_same_queries_for_any_number(site: Site, customer: Customer) -> None:
    browser = site("viewer")
    browser.get(reverse(LIST))
    with CaptureQueriesContext(connection) as few:
        browser.get(reverse(LIST))
    for number in range(12):
        write(customer, f"note {number}", by=system(customer.pk))

    with CaptureQueriesContext(connection) as many:
        browser.get(reverse(LIST))

    assert len(many) == len(few)


@pytest.mark.parametrize("query", ["actor=kim@example.com", "search=kim@", "actor=tt_abc (nightly)"])
def test_the_api_finds_whom_a_key_acted_for(api: Callable[..., Any], behalf: None, query: str) -> None:
    rows = api("viewer").get(f"/api/v1/audit?{query}&action=note").json()["results"]

    assert [row["object_label"] for row in rows] == ["done for Kim"]


@pytest.mark.parametrize(
    "query", ["person=%00", "person=%25_%5C", "person=%F0%9F%98%80", "person=", "person=a&person=b", "person=" + 300 * "x"]
)
def test_odd_names_are_no_defect(site: Site, query: str) -> None:
    assert site("viewer").get(f"{reverse(LIST)}?{query}").status_code in (200, 302, 400)
