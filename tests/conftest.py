"""Customers, people and clients for every test."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.tenancy import principals
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer, Membership, User
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, Role

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _keys_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call looks its key up, so that tests count the same statements on a fast and on a slow machine."""
    monkeypatch.setattr(principals, "KEY_BELIEVED", 0.0)


@pytest.fixture
def customer(db: None) -> Customer:
    """A tenant with its scheduled jobs."""
    return tenancy.create_customer(name="Corner Shops", at=NOON)


@pytest.fixture
def other_customer(db: None) -> Customer:
    """Another tenant."""
    return tenancy.create_customer(name="Rival Stores", at=NOON)


def join(customer: Customer, email: str, role: str) -> Membership:
    """Make somebody a member the operator's way, whether or not they have an account already; a new one has PASSWORD."""
    known = User.objects.filter(email=email).first()
    stranger = known is not None and not known.memberships.filter(customer=customer).exists()
    password = None if known else PASSWORD
    return tenancy.create_member(customer=customer, email=email, role=Role(role), password=password, at=NOON, existing=stranger)


@pytest.fixture
def principal(customer: Customer) -> Callable[..., Principal]:
    """Makes principals: `principal("ml_manager")`, `principal("viewer", "kim@example.com")`."""

    def make(role: str = "ml_manager", email: str = "") -> Principal:
        email = email or f"{role}@example.com"
        membership = join(customer, email, role)
        return Principal(kind="user", name=email, role=Role(role), customer_id=customer.pk, user_id=membership.user_id)

    return make


@pytest.fixture
def manager(principal: Callable[..., Principal]) -> Principal:
    """An ML manager."""
    return principal("ml_manager")


@pytest.fixture
def scope(customer: Customer, manager: Principal) -> Iterator[Principal]:
    """The test acts as the manager, for the customer."""
    with acting(manager):
        yield manager


@pytest.fixture
def key(customer: Customer) -> Callable[..., str]:
    """Makes API keys: `key("viewer")` returns the secret; with an e-mail the key is that person's."""

    def make(role: str = "ml_manager", *, email: str = "", of: Customer | None = None) -> str:
        owner = of or customer
        user = None
        if email:
            user = join(owner, email, role).user
        _, secret = tenancy.create_api_key(customer=owner, role=Role(role), name=f"{role} key", user=user, at=timezone.now())
        return secret

    return make


@pytest.fixture
def api(key: Callable[..., str]) -> Callable[..., APIClient]:
    """Makes API clients: `api()` is an ML manager's, `api("viewer")` a viewer's."""

    def make(role: str = "ml_manager", **options: object) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key(role, **options)}")
        return client

    return make


@pytest.fixture
def site(client: Client, principal: Callable[..., Principal]) -> Callable[..., Client]:
    """A logged-in browser session: `site("ml_manager")`."""

    def login(role: str = "ml_manager", email: str = "") -> Client:
        who = principal(role, email)
        assert client.login(username=who.name, password=PASSWORD)
        return client

    return login
