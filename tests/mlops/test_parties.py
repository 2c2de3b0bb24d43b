"""Who stands behind a credential, as the audit trail knows it."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer, Membership, User
from mlops.tenancy.parties import common_adders, is_own, own
from mlops.tenancy.persons import Party, party_of
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, Role
from tests.conftest import NOON, PASSWORD, join

Person = Callable[..., Principal]


@pytest.fixture
def ada(principal: Person) -> Principal:
    """An administrator whom the platform's own command added."""
    return principal("admin", "ada@shop.example")


@pytest.fixture
def add(customer: Customer, ada: Principal) -> Callable[..., Principal]:
    """Makes members as an administrator does: `add("kim@shop.example", by=ada)`."""

    def make(email: str, *, by: Principal, role: Role = Role.ADMIN) -> Principal:
        password = None if User.objects.filter(email=email).exists() else PASSWORD
        row = tenancy.create_member(customer=customer, email=email, role=role, password=password, at=NOON, by=by)
        return Principal("user", email, role, customer.pk, row.user_id)

    return make


def both_ways(one: Principal, other: Principal) -> tuple[bool, bool]:
    """Whether either is taken for the other."""
    with acting(one):
        return is_own([party_of(one)], other), is_own([party_of(other)], one)


def test_whoever_added_a_member_is_the_same_person_to_four_eyes(ada: Principal, add: Person, principal: Person) -> None:
    kim = add("kim@shop.example", by=ada)

    assert both_ways(ada, kim) == (True, True)
    assert both_ways(kim, principal("ml_manager", "lee@shop.example")) == (False, False)


def test_a_chain_of_accounts_leads_back_to_whoever_began_it(ada: Principal, add: Person) -> None:
    kim = add("kim@shop.example", by=add("bob@shop.example", by=ada))

    assert both_ways(ada, kim) == (True, True)


def test_removing_the_account_does_not_make_the_trail_forget(ada: Principal, add: Person, customer: Customer) -> None:
    bob = add("bob@shop.example", by=ada)
    kim = add("kim@shop.example", by=bob)
    for email in ("bob@shop.example", "kim@shop.example"):
        tenancy.remove_member(membership=Membership.objects.get(customer=customer, user__email=email), at=NOON, by=ada)

    assert both_ways(ada, kim) == (True, True)


def test_a_change_of_role_makes_nobody_an_adder(ada: Principal, add: Person, principal: Person) -> None:
    lee = principal("ml_manager", "lee@shop.example")
    add(lee.name, by=ada, role=Role.ADMIN)

    assert both_ways(ada, lee) == (False, False)


def test_two_members_whom_one_administrator_added_are_two_people_and_it_can_be_seen(ada: Principal, add: Person) -> None:
    kim, lee = add("kim@shop.example", by=ada), add("lee@shop.example", by=ada)

    assert both_ways(kim, lee) == (False, False)
    with acting(kim):
        assert common_adders([party_of(kim)], lee) == ["ada@shop.example"]
        assert common_adders([party_of(ada)], lee) == []


def test_what_was_added_in_another_customer_says_nothing_here(ada: Principal, other_customer: Customer, principal: Person) -> None:
    boss = join(other_customer, ada.name, "admin")
    there = Principal("user", ada.name, Role.ADMIN, other_customer.pk, boss.user_id)
    tenancy.create_member(customer=other_customer, email="lee@shop.example", role=Role.ADMIN, password=PASSWORD, at=NOON, by=there)

    assert both_ways(ada, principal("ml_manager", "lee@shop.example")) == (False, False)


@pytest.mark.parametrize("named", [False, True])
def test_whoever_made_a_key_may_be_whoever_uses_it(ada: Principal, principal: Person, customer: Customer, add: Person, named: bool) -> None:
    lee, max_ = principal("ml_manager", "lee@shop.example"), principal("ml_manager", "max@shop.example")
    row = Membership.objects.get(customer=customer, user__email="max@shop.example")
    key, _ = tenancy.create_api_key(
        customer=customer, role=Role.ML_MANAGER, name="robot", user=row.user if named else None, at=NOON, by=ada
    )
    holder = Principal(
        "key", max_.name if named else "key:robot", Role.ML_MANAGER, customer.pk, max_.user_id if named else None, key_id=key.pk
    )

    assert both_ways(ada, holder) == (True, True)
    assert both_ways(add("kim@shop.example", by=ada), holder) == (True, True)
    assert both_ways(lee, holder) == (False, False)
    assert both_ways(max_, holder) == (named, named)


def test_an_act_of_which_only_the_keys_name_is_known_leads_to_its_maker(ada: Principal, customer: Customer) -> None:
    tenancy.create_api_key(customer=customer, role=Role.ML_MANAGER, name="robot", user=None, at=NOON, by=ada)

    with acting(ada):
        assert is_own([Party("key:robot")], ada)
        assert not is_own([Party("key:other")], ada)


def test_any_number_of_deeds_takes_three_queries(ada: Principal, add: Person) -> None:
    people = [add(f"p{number}@shop.example", by=ada) for number in range(3)]
    deeds = {person.name: [party_of(person), Party(f"key:{person.name}", key="0" * 32)] for person in people}

    with acting(ada), CaptureQueriesContext(connection) as captured:
        found = own(deeds, ada)

    assert found == {person.name for person in people}
    assert sum(query["sql"].startswith("SELECT") and "set_config" not in query["sql"] for query in captured) <= 3
