"""Whom a body names: members in one form, everybody else as they were sent."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from mlops.errors import InvalidField
from mlops.tenancy.models import Customer
from mlops.tenancy.naming import acting_for
from mlops.tenancy.roles import IdentityMismatch, Principal, Role
from tests.conftest import join

pytestmark = pytest.mark.django_db


@pytest.fixture
def robot(customer: Customer) -> Principal:
    """A program's key."""
    return Principal("key", "key:robot", Role.ML_MANAGER, customer.pk, key_id=uuid4())


@pytest.fixture
def mia(principal: Callable[..., Principal]) -> Principal:
    return principal("ml_manager", "mia@shop.example")


@pytest.mark.parametrize("spelled", ["{id}", "{ID}", "urn:uuid:{id}", "mia@shop.example", "MIA@Shop.Example", "ｍｉａ＠shop.example"])
def test_a_member_is_named_in_one_form(robot: Principal, mia: Principal, spelled: str) -> None:
    named = acting_for(robot, spelled.format(id=mia.user_id, ID=str(mia.user_id).upper()), field="user_id")

    assert (named.name, named.on_behalf_of, named.named_id) == ("key:robot", "mia@shop.example", mia.user_id)


@pytest.mark.parametrize("name", ["jane.doe@shelfops.com", "data_scientist", "Jane Doe"])
def test_whoever_is_no_member_is_kept_as_sent(robot: Principal, mia: Principal, name: str) -> None:
    named = acting_for(robot, name, field="user_id")

    assert (named.on_behalf_of, named.named_id) == (name, None)


def test_an_id_is_a_members_or_refused(robot: Principal, other_customer: Customer) -> None:
    rival = join(other_customer, "rival@beta.example", "viewer")

    for identifier in (rival.user_id, uuid4()):
        with pytest.raises(InvalidField, match="no member") as refusal:
            acting_for(robot, str(identifier), field="approved_by")
        assert refusal.value.field == "approved_by"
    assert acting_for(robot, "rival@beta.example", field="approved_by").named_id is None


def test_people_name_themselves_in_any_form_and_nobody_else(mia: Principal) -> None:
    for own in (str(mia.user_id), str(mia.user_id).upper(), "Mia@shop.example", ""):
        assert acting_for(mia, own, field="user_id") is mia
    for other in (str(uuid4()), "lee@shop.example"):
        with pytest.raises(IdentityMismatch):
            acting_for(mia, other, field="user_id")
