"""Arguments that several commands share."""

from uuid import UUID

from django.core.management.base import CommandError

from mlops.tenancy.models import Customer
from mlops.tenancy.services import DEMO_CUSTOMER


def customer_of(given: UUID | None) -> Customer:
    """The named customer; without a name the demo's, or the only one there is. Raises CommandError when that leaves none or a choice."""
    if given is not None:
        customer = Customer.objects.filter(pk=given).first()
        if customer is None:
            raise CommandError(f"There is no customer {given}. `manage.py create_customer --name N` makes one.")
        return customer
    candidates = list(Customer.objects.filter(pk=DEMO_CUSTOMER)) or list(Customer.objects.order_by("created_at", "id")[:2])
    if not candidates:
        raise CommandError("There is no customer yet. `manage.py create_customer --name N` makes one and prints its id.")
    if len(candidates) > 1:
        raise CommandError("There are several customers: say which with --customer UUID.")
    return candidates[0]
