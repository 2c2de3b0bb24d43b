"""Reads over all customers, for operators."""

from uuid import UUID

from mlops.audit.models import AuditHead
from mlops.database.reading import reading
from mlops.tenancy.context import customer
from mlops.tenancy.models import Customer


def audit_heads() -> list[tuple[UUID, int, str]]:
    """(customer, number, digest) of every audit chain; one query a customer, because a tenant table shows one customer at a time."""
    heads = []
    for customer_id in Customer.objects.order_by("id").values_list("pk", flat=True):
        with customer(customer_id), reading():
            heads += [(customer_id, head.number, head.digest) for head in AuditHead.objects.all()]
    return heads
