"""Create a customer and print its id."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

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
        """Print the id alone. Raises CommandError when the name is empty or the id taken."""
        name = options["name"].strip()
        longest = Customer._meta.get_field("name").max_length or 0
        if not name or len(name) > longest:
            raise CommandError(f"--name needs 1 to {longest} characters.")
        if options["customer_id"] and Customer.objects.filter(pk=options["customer_id"]).exists():
            raise CommandError(f"A customer with the id {options['customer_id']} exists already.")
        customer = create_customer(name=name, customer_id=options["customer_id"], at=timezone.now())
        self.stdout.write(str(customer.pk))
