"""Login by e-mail, and Django's permissions answered from the membership's role."""

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest
from django.utils import timezone

from mlops import addresses
from mlops.tenancy import logins
from mlops.tenancy.models import Membership, User
from mlops.tenancy.principals import ambient_principal
from mlops.tenancy.roles import Role

MANAGED_BY_ADMINS = {
    "tenancy": {"membership": {"view", "add", "change", "delete"}, "apikey": {"view", "add"}, "customer": {"view"}, "user": {"view"}},
}
"""What an administrator may do in the admin's own forms; everything else changes through services and is view-only there."""
VIEWED_BY_ALL = {("tenancy", "customer")}


def _person(email: str, password: str) -> User | None:
    user = User.objects.filter(email=email).first()
    if user is None:
        User().set_password(password)
        return None
    return user if user.check_password(password) and user.is_active else None


class RoleBackend(BaseBackend):
    """Authenticates people and derives Django permissions from their role in the ambient customer."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **extra: Any
    ) -> User | None:
        """The person with this e-mail and password, or None; takes as long for an unknown address as for a known one.

        Raises TooManyLogins, answered by the site's login page, where too many have failed.
        """
        email = (username or extra.get("email") or "").lower()
        if not email or password is None:
            return None
        if request is None:  # a command or a test, not somebody at the door
            return _person(email, password)
        address, at = addresses.counted(request.META), timezone.now()
        before = logins.attempt(email=email, address=address, at=at)
        user = _person(email, password)
        if user is not None:
            logins.succeeded(email=email, address=address, at=at, before=before)
        return user

    def get_user(self, user_id: Any) -> User | None:
        """The active person of a session, or None. One query brings the memberships along, which every request asks for next."""
        memberships = list(Membership.objects.filter(user_id=user_id, user__is_active=True).select_related("user"))
        if not memberships:
            return User.objects.filter(pk=user_id, is_active=True).first()
        person = memberships[0].user
        person.known_memberships = memberships
        return person

    def has_perm(self, user_obj: Any, perm: str, obj: object = None) -> bool:
        """View for every member; writes in the admin's forms only where the table above says so, for administrators."""
        principal = ambient_principal()
        if principal is None or principal.user_id != user_obj.pk or principal.role is Role.SERVICE:
            return False
        app_label, _, codename = perm.partition(".")
        verb, _, model = codename.partition("_")
        managed = MANAGED_BY_ADMINS.get(app_label, {}).get(model)
        if app_label in MANAGED_BY_ADMINS:
            everybody = verb == "view" and (app_label, model) in VIEWED_BY_ALL
            return managed is not None and verb in managed and (principal.role is Role.ADMIN or everybody)
        return verb == "view" and principal.may("read")
