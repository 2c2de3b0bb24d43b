"""Whose data this is: the ambient customer.

Every door (request, task, command) enters `customer(id)`; queries on tenant tables read it and raise `NoCustomer` where nobody did.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

import structlog
from django.db import connections

_customer: ContextVar[UUID | None] = ContextVar("customer", default=None)


class NoCustomer(RuntimeError):
    """A tenant table was touched without saying whose rows are meant."""

    def __init__(self) -> None:
        super().__init__("No customer is set: enter mlops.tenancy.context.customer(id) before touching tenant tables.")


def current() -> UUID | None:
    """The ambient customer's id, or None outside any."""
    return _customer.get()


def required() -> UUID:
    """The ambient customer's id. Raises NoCustomer outside any."""
    customer_id = _customer.get()
    if customer_id is None:
        raise NoCustomer
    return customer_id


@contextmanager
def customer(customer_id: UUID) -> Iterator[None]:
    """Work for one customer.

    A transaction already open is stamped at once, and stamped back at the end. One that an error has broken takes no statement any more:
    its rollback takes the stamp with it.
    """
    token = _customer.set(customer_id)
    try:
        _stamp_open_transactions(customer_id)
        with structlog.contextvars.bound_contextvars(customer_id=str(customer_id)):
            yield
    finally:
        _customer.reset(token)
        _stamp_open_transactions(_customer.get())


def _stamp_open_transactions(customer_id: UUID | None) -> None:
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "postgresql" and connection.in_atomic_block:
            from mlops.database.postgresql.base import stamp, takes_statements  # psycopg is not wanted where SQLite is used

            if takes_statements(connection):
                stamp(connection, str(customer_id) if customer_id else "")
