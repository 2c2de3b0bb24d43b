"""A key is believed for less than a second, and forgotten at once where it is taken away."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.tenancy import principals
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import ApiKey, Customer, Membership
from mlops.tenancy.roles import Role, system
from tests.conftest import NOON

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
