"""Accounts hold for the whole platform: no administrator comes by one of another customer, and nobody inherits a stranger's password."""

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from mlops.audit.models import AuditEvent
from mlops.errors import InvalidField
from mlops.tenancy import services as tenancy
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer, Membership, User
from mlops.tenancy.roles import Principal, Role, system
from tests.conftest import NOON, PASSWORD, join

pytestmark = pytest.mark.django_db

CFO = "cfo@beta.example"
OTHERS = "another long enough secret"
Site = Callable[..., Client]


@pytest.fixture
def boss(other_customer: Customer) -> Principal:
    """The administrator of the other customer."""
    row = join(other_customer, "boss@beta.example", "admin")
    return Principal("user", "boss@beta.example", Role.ADMIN, other_customer.pk, row.user_id)


def command(customer: Customer, *arguments: str, password: str = "", monkeypatch: pytest.MonkeyPatch) -> str:
    """Run create_member for the CFO; what it says on the error stream is returned."""
    said = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    given = (*arguments, "--password-stdin") if password else arguments
    fixed = ("--customer", str(customer.pk), "--email", CFO, "--role", "viewer")
    call_command("create_member", *fixed, *given, stdout=io.StringIO(), stderr=said)
    return said.getvalue()


def leave(customer: Customer) -> None:
    membership = Membership.objects.get(customer=customer, user__email=CFO)
    tenancy.remove_member(membership=membership, at=NOON, by=system(customer.pk))


def add(site: Client, password: str = "") -> str:
    """The page that adding the CFO leads to; empty where it was done."""
    answer = site.post(reverse("admin:tenancy_membership_add"), {"email": CFO, "role": "admin", "password": password})
    return "" if answer.status_code == 302 else answer.text


@pytest.mark.parametrize("password", ["", OTHERS])
@pytest.mark.parametrize("left", [False, True])
def test_an_administrator_cannot_add_an_account_of_another_customer(
    site: Site, customer: Customer, other_customer: Customer, left: bool, password: str
) -> None:
    join(other_customer, CFO, "viewer")
    if left:
        leave(other_customer)

    page = add(site("admin"), password)

    assert "This address cannot be added here" in page
    assert "create_member" in page
    assert not Membership.objects.filter(customer=customer, user__email=CFO).exists()
    with scoped(customer.pk):
        assert not AuditEvent.objects.filter(object_label=CFO).exists()


def test_the_service_holds_the_rule_for_every_door(customer: Customer, boss: Principal, other_customer: Customer) -> None:
    join(customer, CFO, "viewer")

    with pytest.raises(InvalidField, match="cannot be added"):
        tenancy.create_member(customer=other_customer, email=CFO, role=Role.ADMIN, password=None, at=NOON, by=boss, existing=True)


def test_two_customers_adding_one_new_address_at_once_make_one_member(
    boss: Principal, other_customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object, **__: object) -> User:
        raise IntegrityError

    monkeypatch.setattr(type(User.objects), "create_user", taken)

    with pytest.raises(InvalidField, match="cannot be added"):
        tenancy.create_member(customer=other_customer, email=CFO, role=Role.ADMIN, password=PASSWORD, at=NOON, by=boss)


def test_a_former_member_comes_back_with_the_password_of_old(site: Site, customer: Customer) -> None:
    join(customer, CFO, "viewer")
    leave(customer)
    browser = site("admin")

    refused, added = add(browser, OTHERS), add(browser)

    assert "The account keeps its own password" in refused
    assert added == ""
    assert User.objects.get(email=CFO).check_password(PASSWORD)


def test_a_former_member_who_is_elsewhere_now_is_the_operators_to_join(site: Site, customer: Customer, other_customer: Customer) -> None:
    join(customer, CFO, "viewer")
    join(other_customer, CFO, "viewer")
    leave(customer)

    assert "This address cannot be added here" in add(site("admin"))


def test_a_password_for_a_member_is_refused_not_dropped(site: Site, customer: Customer) -> None:
    join(customer, CFO, "viewer")

    assert "The account keeps its own password" in add(site("admin"), OTHERS)
    assert Membership.objects.get(customer=customer, user__email=CFO).role == "viewer"


def test_the_command_says_what_is_there_and_joins_it_when_told_so(
    customer: Customer, other_customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(other_customer, CFO, "viewer")

    with pytest.raises(CommandError, match=r"account already, in 1 other customer.*--existing.*keeps its password"):
        command(customer, monkeypatch=monkeypatch)
    with pytest.raises(CommandError, match="keeps its own password"):
        command(customer, "--existing", password=OTHERS, monkeypatch=monkeypatch)
    assert not Membership.objects.filter(customer=customer).exists()

    said = command(customer, "--existing", monkeypatch=monkeypatch)

    assert "in 1 other customer(s). Its password stays" in said
    assert Membership.objects.filter(customer=customer, user__email=CFO).exists()
    assert User.objects.get(email=CFO).check_password(PASSWORD)


def test_an_account_that_nobody_has_any_more_gets_a_new_password(
    client: Client, customer: Customer, other_customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(other_customer, CFO, "viewer")
    assert client.login(username=CFO, password=PASSWORD)
    leave(other_customer)

    with pytest.raises(CommandError, match="new password"):
        command(customer, "--existing", monkeypatch=monkeypatch)
    said = command(customer, "--existing", password=OTHERS, monkeypatch=monkeypatch)

    assert "the one given now" in said
    assert User.objects.get(email=CFO).check_password(OTHERS)
    assert client.get("/api/v1/me").status_code == 401


def test_the_command_knows_no_account_that_is_not_there(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="no such account"):
        command(customer, "--existing", password=PASSWORD, monkeypatch=monkeypatch)

    assert not User.objects.exists()


def test_what_an_account_is_elsewhere_is_not_shown(site: Site, customer: Customer, other_customer: Customer) -> None:
    for email, elsewhere in (("kim@alpha.example", False), (CFO, True)):
        join(customer, email, "viewer")
        if elsewhere:
            join(other_customer, email, "viewer")
        long_ago = timezone.now().replace(year=2001 if elsewhere else 2002) - timedelta(days=1)
        User.objects.filter(email=email).update(name=f"Name of {email}", last_login=long_ago)
    browser = site("admin")
    url = reverse("admin:tenancy_membership_changelist")

    page = browser.get(url).text

    assert "Name of kim@alpha.example" in page
    assert "2002-" in page
    assert f"Name of {CFO}" not in page
    assert "2001-" not in page
    found = browser.get(url, {"q": "Name of"}).text
    assert "kim@alpha.example" in found
    assert CFO not in found
