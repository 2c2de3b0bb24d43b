"""Verify the audit chain of every customer; exit code 1 if any is broken. The printed heads are the anchor to keep elsewhere."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mlops.audit.verifying import verify_and_keep
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system


class Command(BaseCommand):
    """Walk every chain."""

    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one line per customer. Raises CommandError when a chain is broken."""
        broken = 0
        for customer in Customer.objects.order_by("id"):
            with acting(system(customer.pk)):
                result = verify_and_keep(at=timezone.now())
            state = "intact" if result.intact else f"BROKEN: {result.problem}"
            self.stdout.write(f"{customer.pk} {result.events} events, head {result.head_digest or '-'}: {state}")
            broken += not result.intact
        if broken:
            raise CommandError(f"{broken} chain(s) are broken.")
