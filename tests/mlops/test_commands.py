"""The commands of the operational contract print what programs read, and say clearly what they refuse."""

import io
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from mlops.audit.models import AuditEvent
from mlops.tenancy import services as tenancy
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import ApiKey, Customer, Membership, User
from mlops.tenancy.principals import principal_of_key
from mlops.tenancy.roles import Role
from tests.conftest import NOON, PASSWORD

pytestmark = pytest.mark.django_db

LONG_ADDRESS = f"{'k' * 60}@{'.'.join(['a' * 60] * 4)}.com"
"""A valid address that is longer than an account's may be."""


def run(command: str, *arguments: str, stdin: str = "", monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    output = io.StringIO()
    call_command(command, *arguments, stdout=output)
    return output.getvalue()


def test_create_customer_prints_the_id_alone() -> None:
    wanted = uuid4()

    printed = run("create_customer", "--name", "Corner Shops", "--id", str(wanted))

    assert printed == f"{wanted}\n"
    assert Customer.objects.get(pk=wanted).name == "Corner Shops"


def test_create_customer_refuses_a_taken_id(customer: Customer) -> None:
    with pytest.raises(CommandError, match="exists already"):
        run("create_customer", "--name", "Again", "--id", str(customer.pk))


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "two\nlines", "\udcff", "\x00"])
def test_create_customer_refuses_a_name_that_cannot_be_stored(name: str) -> None:
    with pytest.raises(CommandError, match="--name"):
        run("create_customer", "--name", name)


def test_create_api_key_prints_a_working_key_alone(customer: Customer) -> None:
    printed = run("create_api_key", "--role", "ml_manager")

    who = principal_of_key(printed.removesuffix("\n"), at=NOON)
    assert who is not None
    assert (who.customer_id, who.role, printed.count("\n")) == (customer.pk, Role.ML_MANAGER, 1)


def test_create_api_key_prefers_the_demo_customer(customer: Customer) -> None:
    tenancy.create_customer(name="Demo", customer_id=tenancy.DEMO_CUSTOMER, at=NOON)

    run("create_api_key", "--role", "viewer")

    assert ApiKey.objects.get().customer_id == tenancy.DEMO_CUSTOMER


def test_create_api_key_asks_which_of_several_customers(customer: Customer, other_customer: Customer) -> None:
    with pytest.raises(CommandError, match="--customer"):
        run("create_api_key", "--role", "viewer")


def test_create_api_key_says_when_there_is_no_customer() -> None:
    with pytest.raises(CommandError, match="create_customer"):
        run("create_api_key", "--role", "viewer")


@pytest.mark.parametrize("email", ["stranger@example.com", "elsewhere@example.com"])
def test_create_api_key_refuses_a_person_who_is_no_member(customer: Customer, other_customer: Customer, email: str) -> None:
    tenancy.create_member(customer=other_customer, email="elsewhere@example.com", role=Role.VIEWER, password=PASSWORD, at=NOON)

    with pytest.raises(CommandError, match=r"no account|no member"):
        run("create_api_key", "--role", "viewer", "--customer", str(customer.pk), "--user", email)


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines", "\udcff", "\x00"])
def test_create_api_key_refuses_a_name_that_cannot_be_stored_or_read(customer: Customer, name: str) -> None:
    with pytest.raises(CommandError, match="--name"):
        run("create_api_key", "--role", "viewer", "--name", name)

    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("email", ["\udcff@example.com", "kim\x00@example.com"])
def test_create_api_key_knows_no_account_by_what_is_no_text(customer: Customer, email: str) -> None:
    with pytest.raises(CommandError, match="no account"):
        run("create_api_key", "--role", "viewer", "--user", email)


def test_create_member_reads_the_password_from_standard_input(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("--customer", str(customer.pk), "--email", "Kim@Example.com", "--role", "viewer", "--password-stdin")

    run("create_member", *arguments, stdin=f"{PASSWORD}\n", monkeypatch=monkeypatch)

    assert User.objects.get(email="kim@example.com").check_password(PASSWORD)


@pytest.mark.parametrize(
    ("email", "password", "message"),
    [
        ("not an address", PASSWORD, "email"),
        ("not an address", "", "email"),
        (LONG_ADDRESS, PASSWORD, "email: .*254 characters"),
        ("\udcff@example.com", PASSWORD, "email"),
        ("kim@example.com", "short", "password"),
        ("kim@example.com", "", "Standard input held no password"),
    ],
)
def test_create_member_refuses(customer: Customer, monkeypatch: pytest.MonkeyPatch, email: str, password: str, message: str) -> None:
    arguments = ("--customer", str(customer.pk), "--email", email, "--role", "viewer", "--password-stdin")

    with pytest.raises(CommandError, match=message):
        run("create_member", *arguments, stdin=f"{password}\n", monkeypatch=monkeypatch)

    assert not Membership.objects.exists()


def test_create_member_names_the_option_that_a_new_account_needs(customer: Customer) -> None:
    with pytest.raises(CommandError, match="--password-stdin"):
        run("create_member", "--email", "kim@example.com", "--role", "viewer")


def test_commands_leave_their_trace_in_the_audit_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    customer_id = UUID(run("create_customer", "--name", "Corner Shops").strip())
    run("create_member", "--email", "kim@example.com", "--role", "admin", "--password-stdin", stdin=PASSWORD, monkeypatch=monkeypatch)
    run("create_api_key", "--role", "viewer", "--user", "kim@example.com")

    with scoped(customer_id):
        actions = list(AuditEvent.objects.order_by("number").values_list("action", flat=True))
    assert actions == ["customer.created", "member.set", "key.created"]


def test_migrate_creates_no_customer_and_nobody() -> None:
    assert (Customer.objects.count(), User.objects.count()) == (0, 0)
