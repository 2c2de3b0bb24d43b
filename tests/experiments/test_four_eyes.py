"""One person with several credentials, asking with one and approving with another: refused alike for promotions, policies, experiments."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from experiments.services import deciding, proposing
from mlops.errors import DomainError
from mlops.lifecycle.models import Move
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer, User
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, Role, system
from registry.services import policy_changes, promotion
from registry.services.model_settings import configure_model
from registry.services.registration import register_version
from tests.conftest import NOON, PASSWORD
from tests.registry.factories import make_champion, make_model, make_version

Ask = Callable[[Principal], Callable[[Principal], Any]]


@pytest.fixture
def people(customer: Customer) -> Iterator[dict[str, Principal]]:
    """Ada with her session, her keys and an account she added; Max whom nobody here added, and his key that Ada made."""

    def person(email: str, by: Principal | None = None) -> Principal:
        row = tenancy.create_member(customer=customer, email=email, role=Role.ADMIN, password=PASSWORD, at=NOON, by=by)
        return Principal("user", email, Role.ADMIN, customer.pk, row.user_id)

    def key(name: str, by: Principal, owner: Principal | None = None, naming: str = "") -> Principal:
        user = User.objects.get(pk=owner.user_id) if owner else None
        made, _ = tenancy.create_api_key(customer=customer, role=Role.ADMIN, name=name, user=user, at=NOON, by=by)
        actor = owner.name if owner else f"key:{name}"
        return Principal("key", actor, Role.ADMIN, customer.pk, owner.user_id if owner else None, naming, made.pk)

    ada, max_, lee = person("ada@shop.example"), person("max@shop.example"), person("lee@shop.example")
    found = {"ada": ada, "max": max_, "lee": lee}
    found |= {
        "her own key": key("mine", ada, ada),
        "her program": key("robot", ada),
        "her program for somebody": key("robot two", ada, naming="jane@shop.example"),
        "the key she made for max": key("gift", ada, max_),
        "the account she added": person("puppet@shop.example", ada),
        "his program": key("his", max_),
    }
    with acting(system(customer.pk)):
        yield found


def promotion_request(by: Principal) -> Callable[[Principal], Any]:
    model = make_model(policy={"four_eyes": True})
    make_champion(model)
    asked = promotion.promote(version_id=make_version(model).pk, by=by, at=NOON).request
    assert asked is not None
    return lambda other: promotion.approve(request_id=asked.pk, by=other, at=NOON)


def registered_version(by: Principal) -> Callable[[Principal], Any]:
    model = make_model(policy={"four_eyes": True})
    make_champion(model)
    version = register_version(model=model, by=by, at=NOON)
    somebody = Principal("user", "somebody@else.example", Role.ADMIN, by.customer_id)
    asked = promotion.promote(version_id=version.pk, by=somebody, at=NOON).request
    assert asked is not None
    return lambda other: promotion.approve(request_id=asked.pk, by=other, at=NOON)


def policy_request(by: Principal) -> Callable[[Principal], Any]:
    model = make_model(policy={"four_eyes": True})
    asked = configure_model(model=model, changes={"policy": {"four_eyes": False}}, by=by, at=NOON).request
    assert asked is not None
    return lambda other: policy_changes.approve(request_id=asked.pk, by=other, at=NOON)


def experiment(by: Principal) -> Callable[[Principal], Any]:
    asked = proposing.propose(experiment_name="Tiers", hypothesis="Better.", experiment_type="segmentation", by=by, at=NOON)
    return lambda other: deciding.approve(experiment_id=asked.pk, by=other, at=NOON)


HERS = ["ada", "her own key", "her program", "her program for somebody", "the key she made for max", "the account she added"]
SAME = [(one, other) for one, other in product(HERS, HERS) if "ada" in (one, other)] + [
    ("her program", "the key she made for max"),
    ("the key she made for max", "her program"),
    ("her program", "the account she added"),
    ("the account she added", "her program"),
    ("max", "his program"),
    ("his program", "max"),
    ("max", "the key she made for max"),
]
APART = [
    ("max", "lee"),
    ("ada", "max"),
    ("her program", "lee"),
    ("lee", "her program"),
    ("lee", "the account she added"),
    ("ada", "his program"),
]
ASKS: list[Ask] = [promotion_request, registered_version, policy_request, experiment]


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(("first", "second"), SAME)
def test_nobody_is_both_pairs_of_eyes(people: dict[str, Principal], ask: Ask, first: str, second: str) -> None:
    approve = ask(people[first])

    with pytest.raises(DomainError) as refusal:
        approve(people[second])

    assert (refusal.value.code, refusal.value.status) == ("four_eyes", 403)
    assert not Move.objects.filter(target="approved").exists()


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(("first", "second"), APART)
def test_two_people_are_two_pairs_of_eyes(people: dict[str, Principal], ask: Ask, first: str, second: str) -> None:
    ask(people[first])(people[second])

    assert Move.objects.filter(target="approved").count() == 1


def test_an_approval_by_two_whom_one_hand_added_is_marked(people: dict[str, Principal], customer: Customer) -> None:
    row = tenancy.create_member(
        customer=customer, email="second@shop.example", role=Role.ADMIN, password=PASSWORD, at=NOON, by=people["ada"]
    )
    second = Principal("user", "second@shop.example", Role.ADMIN, customer.pk, row.user_id)

    promotion_request(people["the account she added"])(second)

    assert Move.objects.get(target="approved").details == {"asker_and_approver_added_by": ["ada@shop.example"]}
