"""Nobody sees another customer's rows, whatever is forgotten."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import ProgrammingError

from mlops.audit.models import AuditEvent
from mlops.database.guards import tenant_models
from mlops.tenancy.context import NoCustomer, customer as scoped
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
            make_dataset()
            make_dataset()

        assert Dataset.objects.count() == 1


def test_the_audit_trail_refuses_updates_and_deletes(scope: Principal) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEvent.objects.update(actor="nobody")
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEvent.objects.all().delete()
