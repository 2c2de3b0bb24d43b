"""From a credential to a principal. The one place that reads memberships and keys before a customer is known."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Q

from mlops.tenancy.context import customer
from mlops.tenancy.roles import Principal, Role

if TYPE_CHECKING:
    from mlops.tenancy.models import Membership, User

KEY_PREFIX = "ty_"
LAST_USED_STEP = timedelta(minutes=1)
KEY_BELIEVED = 0.75
"""Seconds; with the time of the request that is served meanwhile it stays within the promised one."""
MOST_BELIEVED = 10_000

_believed: dict[str, tuple[float, datetime | None, Principal]] = {}
_principal: ContextVar[Principal | None] = ContextVar("principal", default=None)


def ambient_principal() -> Principal | None:
    """Who acts in this request, task or command; None outside any."""
    return _principal.get()


@contextmanager
def acting(principal: Principal) -> Iterator[None]:
    """Act as the principal, for its customer."""
    token = _principal.set(principal)
    try:
        with customer(principal.customer_id):
            yield
    finally:
        _principal.reset(token)


def new_secret() -> tuple[str, str, str]:
    """A fresh key, its prefix and its digest. 256 bits of randomness need no slow hash."""
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    return secret, secret[:10], digest_of(secret)


def digest_of(secret: str) -> str:
    """SHA-256 of a key, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def principal_of_key(secret: str, *, at: datetime) -> Principal | None:
    """The principal of a valid key, or None. A person's key ends with the person's membership and never exceeds its role.

    A key that was found is believed for KEY_BELIEVED, so that a program's calls do not each look it up: whatever is revoked or taken away
    ends in every process within a second. This process forgets it at once when a key, a membership or a person is saved or deleted here.
    """
    digest, now = digest_of(secret), time.monotonic()
    believed = _believed.get(digest)
    if believed is not None and now < believed[0] and (believed[1] is None or at < believed[1]):
        return believed[2]
    return _look_up(digest, at=at, now=now)


def forget_keys(**_: object) -> None:
    """Believe no key without looking it up anew."""
    _believed.clear()


def _look_up(digest: str, *, at: datetime, now: float) -> Principal | None:
    from mlops.tenancy.models import ApiKey

    unexpired = Q(expires_at=None) | Q(expires_at__gt=at)
    key = ApiKey.objects.select_related("user").filter(unexpired, digest=digest, revoked_at=None).first()
    if key is None or not hmac.compare_digest(key.digest, digest):
        return None
    role = Role(key.role)
    if key.user is not None:
        membership = membership_of(key.user, key.customer_id)
        if membership is None or not key.user.is_active:
            return None
        held = Role(membership.role)
        if role is not Role.SERVICE and not held.includes(role):
            role = held
    if key.last_used_at is None or at - key.last_used_at > LAST_USED_STEP:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=at)
    name = key.user.email if key.user else f"key:{key.name}"
    principal = Principal(kind="key", name=name, role=role, customer_id=key.customer_id, user_id=key.user_id, key_id=key.pk)
    if len(_believed) >= MOST_BELIEVED:
        _believed.clear()
    _believed[digest] = (now + KEY_BELIEVED, key.expires_at, principal)
    return principal


def principal_of_person(user: "User", chosen: UUID | None) -> Principal | None:
    """The person in the chosen customer if it is one of theirs, else in their first; None without any membership."""
    known = user.known_memberships
    memberships = sorted(user.memberships.all() if known is None else known, key=lambda one: (one.created_at, one.pk))
    if not memberships:
        return None
    membership = next((one for one in memberships if one.customer_id == chosen), memberships[0])
    return Principal(kind="user", name=user.email, role=Role(membership.role), customer_id=membership.customer_id, user_id=user.pk)


def membership_of(user: "User", customer_id: UUID) -> "Membership | None":
    """The person's membership of the customer, or None."""
    return user.memberships.filter(customer_id=customer_id).first()
