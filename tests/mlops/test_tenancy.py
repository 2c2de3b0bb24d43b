"""Nobody sees another customer's rows, whatever is forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import ProgrammingError

from mlops.audit.models import AuditEvent
from mlops.database.checks import guards_are_installed as check_database
from mlops.database.guards import tenant_models
from mlops.tenancy import services as tenancy
from mlops.tenancy.context import NoCustomer
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.models.base import ForeignCustomer
from mlops.tenancy.roles import Principal
from registry.models import Dataset, RegisteredModel
from tests.conftest import NOON

pytestmark = pytest.mark.django_db


def make_dataset(name: str = "sales") -> Dataset:
    return Dataset.objects.create(name=name, created_by="kim", created_at=NOON)


def test_a_query_without_a_customer_raises() -> None:
    with pytest.raises(NoCustomer):
        list(Dataset.objects.all())


def test_a_query_sees_only_its_own_customer(customer: Customer, other_customer: Customer) -> None:
    with scoped(customer.pk):
        make_dataset()

    with scoped(other_customer.pk):
        assert not Dataset.objects.exists()
    with scoped(customer.pk):
        assert Dataset.objects.count() == 1


def test_saving_a_row_of_another_customer_is_refused(customer: Customer, other_customer: Customer) -> None:
    with scoped(customer.pk), pytest.raises(ForeignCustomer):
        Dataset(name="theirs", customer=other_customer, created_by="kim", created_at=NOON).save()


def test_bulk_creating_rows_of_another_customer_is_refused(customer: Customer, other_customer: Customer) -> None:
    with scoped(customer.pk), pytest.raises(ForeignCustomer):
        Dataset.objects.bulk_create([Dataset(name="theirs", customer=other_customer, created_by="kim", created_at=NOON)])


def test_the_database_refuses_a_reference_to_another_customers_row(customer: Customer, other_customer: Customer) -> None:
    with scoped(other_customer.pk):
        foreign = make_dataset()

    with scoped(customer.pk), pytest.raises((IntegrityError, ProgrammingError)), transaction.atomic():
        RegisteredModel.objects.create(name="demand", dataset_id=foreign.pk, created_by="kim", created_at=NOON)


@pytest.mark.postgres_only
def test_the_session_is_restricted() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        session = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relowner = current_user::regrole")
        owned = cursor.fetchone()

    assert session == ("tiltyard_app", False, False)
    assert owned == (0,)


@pytest.mark.postgres_only
def test_every_tenant_table_forces_its_policy() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity")
        forced = {name for (name,) in cursor.fetchall()}

    assert {model._meta.db_table for model in tenant_models()} <= forced


@pytest.mark.postgres_only
def test_raw_sql_reads_and_writes_nothing_across_customers(customer: Customer, other_customer: Customer) -> None:
    with scoped(other_customer.pk):
        make_dataset("secret")

    with scoped(customer.pk), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM datasets WHERE customer_id = %s", [other_customer.pk])
        read = cursor.fetchone()
        cursor.execute("UPDATE datasets SET name = 'stolen' WHERE customer_id = %s", [other_customer.pk])
        changed = cursor.rowcount
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            cursor.execute(
                "INSERT INTO datasets (id, customer_id, name, mapping, last_version_number, created_by, created_at)"
                " VALUES (gen_random_uuid(), %s, 'planted', '{}', 0, 'x', now())",
                [other_customer.pk],
            )

    assert (read, changed) == ((0,), 0)


@pytest.mark.postgres_only
def test_raw_sql_without_a_customer_sees_no_row(customer: Customer) -> None:
    with scoped(customer.pk):
        make_dataset()

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM datasets")
        assert cursor.fetchone() == (0,)


def test_an_exception_inside_an_inner_customer_leaves_the_outer_one(customer: Customer, other_customer: Customer) -> None:
    with scoped(customer.pk):
        make_dataset()
        with pytest.raises(IntegrityError), transaction.atomic(), scoped(other_customer.pk):
            Dataset.objects.bulk_create([Dataset(name="twice", created_by="kim", created_at=NOON) for _ in range(2)])

        assert Dataset.objects.count() == 1


def test_the_audit_trail_refuses_updates_and_deletes(scope: Principal) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEvent.objects.update(actor="nobody")
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEvent.objects.all().delete()


def test_an_error_of_ours_inside_an_inner_customer_leaves_the_outer_one(customer: Customer, other_customer: Customer) -> None:
    with scoped(customer.pk):
        make_dataset()
        with pytest.raises(ValueError, match="ours"), scoped(other_customer.pk):
            raise ValueError("ours")

        assert Dataset.objects.count() == 1


def test_a_row_cannot_be_given_to_another_customer(customer: Customer, other_customer: Customer) -> None:
    with scoped(customer.pk):
        dataset = make_dataset()
        dataset.customer = other_customer

        with pytest.raises(ForeignCustomer):
            dataset.save()
        with pytest.raises(ForeignCustomer):
            Dataset.objects.update(customer=other_customer)


@pytest.mark.django_db(transaction=True)
def test_threads_and_pooled_connections_keep_customers_apart() -> None:
    customers = [tenancy.create_customer(name=f"Shop {number}", at=NOON) for number in range(4)]
    seen: list[tuple[int, set[str]]] = []

    def work(number: int) -> None:
        for _ in range(10):
            with scoped(customers[number].pk), transaction.atomic():
                make_dataset(f"of {number} {uuid4()}")
                seen.append((number, {name.split()[1] for name in Dataset.objects.values_list("name", flat=True)}))
            connection.close()  # back to the pool, for whoever comes next

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(seen) == 40
    assert all(names == {str(number)} for number, names in seen)


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_nothing_of_a_customer_stays_on_a_connection(customer: Customer) -> None:
    with scoped(customer.pk), transaction.atomic():
        make_dataset()

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.current_customer_id', true), (SELECT count(*) FROM datasets)")
        assert cursor.fetchone() == ("", 0)


def test_the_database_check_finds_a_missing_guard(customer: Customer) -> None:
    before = check_database(databases=["default"])
    on = " ON audit_events" if connection.vendor == "postgresql" else ""
    drop = f"DROP TRIGGER audit_events_append_only_u{on}"
    with as_owner_of_the_tables(), connection.cursor() as cursor:
        cursor.execute(drop)

    problems = check_database(databases=["default"])

    assert before == []
    assert [problem.id for problem in problems] == ["database.E001"]
    assert "audit_events_append_only_u" in problems[0].msg


@contextmanager
def as_owner_of_the_tables() -> Iterator[None]:
    """Inside the test's transaction, which takes everything back."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE NONE")
        yield
        cursor.execute("SET LOCAL ROLE tiltyard_app")
