"""A key is believed for less than a second, and forgotten at once where it is taken away."""

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event as ThreadEvent

import pytest
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.audit.models import AuditEvent
from mlops.errors import InvalidField
from mlops.tenancy import principals
from mlops.tenancy import services as tenancy
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import ApiKey, Customer, Membership
from mlops.tenancy.roles import Role, system
from tests.conftest import NOON, PASSWORD
from tests.mlops.helpers import in_threads

pytestmark = pytest.mark.django_db
ME = "/api/v1/me"
BELIEVED = principals.KEY_BELIEVED


@pytest.fixture(autouse=True)
def _keys_are_believed(monkeypatch: pytest.MonkeyPatch, _keys_are_looked_up: None) -> None:
    principals.forget_keys()
    monkeypatch.setattr(principals, "KEY_BELIEVED", BELIEVED)


def client_of(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def test_a_key_is_looked_up_once_for_many_calls(key: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    secret, looked_up = key("viewer"), []
    look_up = principals._look_up
    monkeypatch.setattr(principals, "_look_up", lambda *args, **options: looked_up.append(1) or look_up(*args, **options))
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)

    found = [principals.principal_of_key(secret, at=timezone.now()) for _ in range(3)]

    assert len(looked_up) == 1
    assert {one.name for one in found if one} == {"key:viewer key"}


def test_what_another_process_revoked_ends_within_a_second(key: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    secret, start = key("viewer"), time.monotonic()
    assert principals.principal_of_key(secret, at=timezone.now())
    ApiKey.objects.update(revoked_at=NOON)  # behind this process's back: no signal, no service
    monkeypatch.setattr(time, "monotonic", lambda: start + 0.9)

    assert principals.principal_of_key(secret, at=timezone.now()) is None


def test_a_believed_key_ends_with_its_hour(customer: Customer) -> None:
    now = timezone.now()
    ends = now + timedelta(seconds=30)
    _, secret = tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="short", user=None, at=now, expires_at=ends)

    assert principals.principal_of_key(secret, at=now)
    assert principals.principal_of_key(secret, at=ends) is None


def test_a_key_revoked_here_is_refused_at_once(key: Callable[..., str], customer: Customer) -> None:
    client = client_of(key("viewer"))
    assert client.get(ME).status_code == 200

    tenancy.revoke_api_key(key=ApiKey.objects.get(), at=NOON, by=system(customer.pk))

    assert client.get(ME).status_code == 401


def test_a_role_taken_away_here_ends_at_once(key: Callable[..., str]) -> None:
    client = client_of(key("admin", email="kim@example.com"))
    assert client.get(ME).json()["role"] == "admin"

    membership = Membership.objects.get(user__email="kim@example.com")
    membership.role = Role.VIEWER
    membership.save()
    demoted = client.get(ME).json()["role"]
    membership.delete()

    assert demoted == "viewer"
    assert client.get(ME).status_code == 401


def test_a_removed_members_keys_stay_dead_when_the_person_comes_back(
    key: Callable[..., str], customer: Customer, other_customer: Customer
) -> None:
    kims, anns = key("admin", email="kim@example.com"), key("admin", email="ann@example.com")
    gone = Membership.objects.get(user__email="kim@example.com")
    tenancy.create_member(customer=other_customer, email="kim@example.com", role=Role.VIEWER, password=None, at=NOON, existing=True)
    elsewhere, _ = tenancy.create_api_key(customer=other_customer, role=Role.VIEWER, name="elsewhere", user=gone.user, at=NOON)
    before = ApiKey.objects.get(user=gone.user, customer=customer)
    spent, _ = tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="spent", user=gone.user, at=NOON)
    tenancy.revoke_api_key(key=spent, at=NOON, by=system(customer.pk))

    tenancy.remove_member(membership=gone, at=NOON + timedelta(hours=1), by=system(customer.pk))
    tenancy.create_member(customer=customer, email="kim@example.com", role=Role.VIEWER, password=None, at=NOON, existing=True)

    for row in (before, spent, elsewhere):
        row.refresh_from_db()
    assert (before.revoked_at, spent.revoked_at, elsewhere.revoked_at) == (NOON + timedelta(hours=1), NOON, None)
    assert [client_of(secret).get(ME).status_code for secret in (kims, anns)] == [401, 200]
    with scoped(customer.pk):
        told = AuditEvent.objects.filter(action="key.revoked", object_id=str(before.pk)).get()
    assert told.after["revoked_at"] == "2026-03-02T13:00:00Z"


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_no_key_is_made_for_a_person_who_is_being_removed(key: Callable[..., str], customer: Customer) -> None:
    key("admin", email="ann@example.com")
    gone = tenancy.create_member(customer=customer, email="kim@example.com", role=Role.VIEWER, password=PASSWORD, at=NOON)
    removed, refused = ThreadEvent(), []

    def act(number: int) -> None:
        if number == 0:
            with transaction.atomic():
                tenancy.remove_member(membership=gone, at=NOON, by=system(customer.pk))
                removed.set()
                time.sleep(0.3)  # the other asks meanwhile
        else:
            removed.wait(20)
            with pytest.raises(InvalidField) as no_member:
                tenancy.create_api_key(customer=customer, role=Role.VIEWER, name="late", user=gone.user, at=NOON)
            refused.append(no_member.value.field)

    raised = in_threads(2, act)

    assert (raised, refused, ApiKey.objects.filter(name="late").count()) == ([], ["user"], 0)


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_closed_is_not_handed_out() -> None:
    import psycopg

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pooled,) = cursor.fetchone()
    connection.close()  # back to the pool
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("SET ROLE NONE")
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pooled])

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() != (pooled,)
