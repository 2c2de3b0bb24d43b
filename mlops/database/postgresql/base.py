"""PostgreSQL as Django knows it, plus two things: a transaction is stamped with its customer, and floats in JSON stay floats."""

import json
import re
from typing import Any

from django.db.backends.postgresql import base
from psycopg.adapt import AdaptersMap, Buffer
from psycopg.pq import TransactionStatus
from psycopg.types.string import TextLoader

from mlops.tenancy.context import current

_MANY_DIGITS = re.compile(r"\d{19}")


class JsonLoader(TextLoader):
    """JSON as text, whose integers beyond 64 bits are floats again: PostgreSQL keeps 1e300 by its 301 digits, which no reader expects."""

    def load(self, data: Buffer) -> bytes | str:
        """The text, unchanged unless it holds such a number."""
        text = super().load(data)
        if isinstance(text, str) and _MANY_DIGITS.search(text):
            return json.dumps(json.loads(text, parse_int=_number))
        return text


def _number(digits: str) -> int | float:
    value = int(digits)
    return value if -(2**63) <= value < 2**63 else float(value)


class DatabaseWrapper(base.DatabaseWrapper):
    """Stamps `app.current_customer_id` as each transaction opens; row-level security compares it with every row.

    `ATOMIC_REQUESTS` opens its transaction after all middleware, so nothing earlier could set a transaction-local value.
    The setting ends with the transaction, which makes pooled connections safe to hand on.
    """

    def get_connection_params(self) -> dict[str, Any]:
        """Django's, with our reader of JSON."""
        parameters: dict[str, Any] = super().get_connection_params()
        parameters["context"] = AdaptersMap(parameters["context"])
        parameters["context"].register_loader("jsonb", JsonLoader)
        return parameters

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
