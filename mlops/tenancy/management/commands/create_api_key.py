"""Create an API key and print it, alone, on standard output. It is shown this once; only its digest is stored."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from mlops.errors import InvalidField
from mlops.storable import storable
from mlops.tenancy.management.arguments import customer_of
from mlops.tenancy.models import User
from mlops.tenancy.roles import Role
from mlops.tenancy.services import create_api_key


class Command(BaseCommand):
    """A key of a customer, or of one of its members."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        """`--role`, `--customer`, `--user`, `--name`."""
        parser.add_argument("--role", required=True, choices=Role.values)
        parser.add_argument("--customer", type=UUID, help="The customer's id; by default the demo's, or the only one.")
        parser.add_argument("--user", metavar="EMAIL", help="The member whose key it is; it never exceeds the member's own role.")
        parser.add_argument("--name", default="command line", help="What the key is for.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the key. Raises CommandError for an unknown customer, a person who is no member of it, or a name that will not do."""
        customer = customer_of(options["customer"])
        user = None
        if options["user"]:
            email = options["user"].strip().lower()
            user = User.objects.filter(email=email).first() if storable(email) else None
            if user is None:
                raise CommandError(f"There is no account {options['user']}. `manage.py create_member` makes one.")
        try:
            role, name = Role(options["role"]), options["name"].strip()
            _, secret = create_api_key(customer=customer, role=role, name=name, user=user, at=timezone.now())
        except InvalidField as refusal:
            raise CommandError(f"--{refusal.field}: {refusal}") from None
        self.stdout.write(secret)
