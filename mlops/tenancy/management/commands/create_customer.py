"""Create a customer and print its id."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from mlops.errors import InvalidField
from mlops.tenancy.models import Customer
from mlops.tenancy.services import create_customer


class Command(BaseCommand):
    """A new tenant, with its scheduled jobs."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        """`--name`, `--id`."""
        parser.add_argument("--name", required=True, help="The customer's name.")
        parser.add_argument("--id", type=UUID, dest="customer_id", help="The id to give it; a random one otherwise.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the id alone. Raises CommandError when the name will not do or the id is taken."""
        if options["customer_id"] and Customer.objects.filter(pk=options["customer_id"]).exists():
            raise CommandError(f"A customer with the id {options['customer_id']} exists already.")
        try:
            customer = create_customer(name=options["name"].strip(), customer_id=options["customer_id"], at=timezone.now())
        except InvalidField as refusal:
            raise CommandError(f"--name: {refusal}") from None
        self.stdout.write(str(customer.pk))
