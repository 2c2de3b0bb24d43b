"""PostgreSQL as Django knows it, plus one thing: every transaction is stamped with the customer it works for."""

from typing import Any

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

from mlops.tenancy.context import current


class DatabaseWrapper(base.DatabaseWrapper):
    """Stamps `app.current_customer_id` as each transaction opens; row-level security compares it with every row.

    `ATOMIC_REQUESTS` opens its transaction after all middleware, so nothing earlier could set a transaction-local value.
    The setting ends with the transaction, which makes pooled connections safe to hand on.
    """

    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)  # type: ignore[misc]  # there, but unknown to the stubs
        customer_id = current()
        if not autocommit and customer_id is not None:
            stamp(self, str(customer_id))


def takes_statements(connection: Any) -> bool:
    """Whether the connection's open transaction is neither broken nor to be rolled back. Idle: it begins with its first statement."""
    link = connection.connection
    sound = (TransactionStatus.IDLE, TransactionStatus.INTRANS)
    return link is not None and not connection.needs_rollback and link.info.transaction_status in sound


def stamp(connection: Any, value: str) -> None:
    """Set the customer of the open transaction; an empty string means nobody's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.current_customer_id', %s, true)", [value])
