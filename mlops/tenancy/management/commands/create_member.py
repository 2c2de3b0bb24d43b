"""Make a person a member of a customer, or change the role of one; the password of a new account is read from standard input."""

import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from mlops.errors import DomainError, InvalidField
from mlops.tenancy.accounts import customers_beside
from mlops.tenancy.management.arguments import customer_of
from mlops.tenancy.models import User
from mlops.tenancy.roles import Role
from mlops.tenancy.services import check_address, create_member


class Command(BaseCommand):
    """A membership, and the account if there is none."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        """`--customer`, `--email`, `--role`, `--password-stdin`, `--existing`."""
        parser.add_argument("--customer", type=UUID, help="The customer's id; by default the demo's, or the only one.")
        parser.add_argument("--email", required=True, help="The person's address, which is also the login.")
        parser.add_argument("--role", required=True, choices=[role for role, _ in Role.human_choices()])
        parser.add_argument("--password-stdin", action="store_true", help="Read the new account's password from standard input, one line.")
        parser.add_argument("--existing", action="store_true", help="An account of other customers is meant; it keeps its password.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what the person is now. Raises CommandError for whatever is refused."""
        customer = customer_of(options["customer"])
        email = options["email"].strip().lower()
        try:
            check_address(email)
            given = {"role": Role(options["role"]), "password": _password(email, options), "existing": options["existing"]}
            membership = create_member(customer=customer, email=email, at=timezone.now(), **given)
        except InvalidField as refusal:
            raise CommandError(f"{refusal.field}: {refusal}") from None
        except DomainError as refusal:
            raise CommandError(str(refusal)) from None
        if options["existing"]:
            self.stderr.write(_told(customers_beside(membership.user, customer), kept=given["password"] is None))
        self.stdout.write(f"{membership.user.email} {membership.role} {customer.pk}")


def _password(email: str, options: dict[str, Any]) -> str | None:
    """The line on standard input where one is announced. Raises CommandError where there is none, or a new account needs one."""
    if options["password_stdin"]:
        if password := sys.stdin.readline().rstrip("\r\n"):
            return password
        raise CommandError("Standard input held no password; --password-stdin reads one line.")
    if not options["existing"] and not User.objects.filter(email=email).exists():
        raise CommandError("The account is new: give it a password with --password-stdin.")
    return None


def _told(elsewhere: int, *, kept: bool) -> str:
    if not kept:
        return "The account existed, in no other customer. Its password is the one given now; nobody stays logged in with the former one."
    risk = "whoever made the account may know it. `manage.py changepassword` sets another one."
    return f"The account existed, in {elsewhere} other customer(s). Its password stays: {risk}"
