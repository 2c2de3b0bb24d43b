"""Whose an account is. Addresses and passwords hold for the whole platform, so whoever adds an address may be handed a stranger's account.

An account belongs to the customers that have it as a member or, when nobody has it any more, to those that once did. Their administrators
may add it; any other customer gets it from the operator alone, who has a shell and knows both sides.
"""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from mlops.audit.models import AuditEvent
from mlops.errors import InvalidField
from mlops.tenancy.models import Customer, Membership, User
from mlops.tenancy.roles import Principal

FOREIGN = "This address cannot be added here. The platform's operator can join it, with the command create_member."
KEPT = "The account keeps its own password: leave this empty."


def check_account(
    *, customer: Customer, email: str, password: str | None, by: Principal | None, existing: bool = False
) -> tuple[User | None, str | None]:
    """The account that a new member of the customer will have, None for a new one, and the password that it has to be given.

    Without `by` the operator asks, who says with `existing` that an account of other customers is meant. Raises InvalidField for an account
    of theirs otherwise, and for a password that would be dropped, is missing or is too weak. Call it in the customer's scope.
    """
    user = User.objects.filter(email=email).first()
    if user is None:
        if existing:
            raise InvalidField("email", "There is no such account.")
        return None, _good(password, User(email=email), missing="The account is new: give it a password." if by else "")
    elsewhere = customers_beside(user, customer)
    if is_ours(user, customer, elsewhere=elsewhere):
        _refuse(password)
        return user, None
    if by is not None:
        raise InvalidField("email", FOREIGN)
    if not existing:
        password_is = "keeps its password" if elsewhere else "gets a new password"
        known = f"There is an account already, in {elsewhere} other customer(s)"
        raise InvalidField("email", f"{known}: with --existing it joins this one, and {password_is}.")
    if elsewhere:
        _refuse(password)
        return user, None
    # Whoever knows the password of an account that nobody has any more is unknown here.
    return user, _good(password, user, missing="No customer has this account any more: give it a new password.")


def customers_beside(user: User, customer: Customer) -> int:
    """How many other customers the account is a member of."""
    return Membership.objects.filter(user=user).exclude(customer=customer).count()


def is_ours(user: User, customer: Customer, *, elsewhere: int) -> bool:
    """Whether the account is a member here, or was one and is nobody's now. Memberships are deleted; the trail remembers them."""
    if Membership.objects.filter(customer=customer, user=user).exists():
        return True
    joined = AuditEvent.objects.filter(action="member.set", object_type=Membership._meta.label_lower, object_label=user.email)
    return not elsewhere and joined.exists()


def open_account(email: str, password: str | None) -> User:
    """A new account. Raises InvalidField where another customer made one of this address meanwhile."""
    try:
        with transaction.atomic():
            return User.objects.create_user(email, password)
    except IntegrityError:
        raise InvalidField("email", FOREIGN) from None


def _refuse(password: str | None) -> None:
    if password is not None:
        raise InvalidField("password", KEPT)


def _good(password: str | None, user: User, *, missing: str) -> str | None:
    if password is None:
        if missing:
            raise InvalidField("password", missing)
        return None
    try:
        validate_password(password, user)
    except ValidationError as invalid:
        raise InvalidField("password", " ".join(invalid.messages)) from None
    return password
