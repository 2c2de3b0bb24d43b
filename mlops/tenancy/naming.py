"""Whom a body names: a member in one form, whatever it was sent as, so that nobody is two people by two spellings."""

from dataclasses import replace
from uuid import UUID

from mlops.errors import InvalidField
from mlops.tenancy.models import Membership
from mlops.tenancy.roles import IdentityMismatch, Principal
from mlops.tenancy.spelling import one_spelling


def acting_for(by: Principal, name: str, *, field: str) -> Principal:
    """The principal acting for the person whom the field names by e-mail or account id.

    People, in a session or with a key of their own, name only themselves. A key without a person is a program's: it names whom it acts
    for, and so does an admin key; the key stays the recorded actor. A member is kept by e-mail and account; any other name but an id may be
    somebody in the program's own books, and is kept as it came. Raises IdentityMismatch, and InvalidField for an id that is no member's.
    """
    account = _account(name)
    if not name or one_spelling(name) == one_spelling(by.name) or (account is not None and account == by.user_id):
        return by
    if not by.may_name_others:
        raise IdentityMismatch(name)
    member = _member(by.customer_id, name, account)
    if member is not None:
        found, email = member
        return by if found == by.user_id else replace(by, on_behalf_of=email, named_id=found)
    if account is not None:
        raise InvalidField(field, "There is no member with this account id.")
    return replace(by, on_behalf_of=name)


def _account(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None


def _member(customer_id: UUID, name: str, account: UUID | None) -> tuple[UUID, str] | None:
    """Account and e-mail of the member with this id or, in any spelling, this e-mail."""
    members = Membership.objects.filter(customer_id=customer_id).values_list("user_id", "user__email")
    if account is not None:
        return members.filter(user_id=account).first()
    wanted = one_spelling(name)
    if "@" not in wanted:
        return None
    # Compared here: no database folds as Python does.
    return next((member for member in members.iterator() if one_spelling(member[1]) == wanted), None)
