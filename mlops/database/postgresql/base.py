"""PostgreSQL as Django knows it, plus three things: a transaction begins with its customer, a pooled connection is checked without a round
trip, and floats in JSON stay floats."""

import json
import re
import select
import time
from typing import Any
from weakref import WeakKeyDictionary

from django.db.backends.postgresql import base
from psycopg import Connection
from psycopg.adapt import AdaptersMap, Buffer
from psycopg.pq import TransactionStatus
from psycopg.types.string import TextLoader
from psycopg_pool import ConnectionPool

from mlops.tenancy.context import current

RESTED = 10.0
"""Seconds after which a connection is asked whether it still works: the network may have dropped it without a word."""
_checked_at: WeakKeyDictionary[Connection[Any], float] = WeakKeyDictionary()
_STAMP = "SELECT set_config('app.current_customer_id', %s, true)"
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

    @property
    def pool(self) -> Any:
        """Django's pool, with our check of a connection that is taken from it; None where none is configured."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if not options:
            return super().pool
        pools: dict[str, Any] = self._connection_pools  # type: ignore[attr-defined]  # there, but unknown to the stubs
        if self.alias not in pools:
            parameters = {**self.get_connection_params(), "autocommit": True}
            configure = self._configure_connection  # type: ignore[attr-defined]  # as above
            made = ConnectionPool(kwargs=parameters, open=False, configure=configure, check=check, **options)
            pools.setdefault(self.alias, made)  # another thread may have been first
        return pools[self.alias]

    def _set_autocommit(self, autocommit: bool) -> None:
        customer_id = current()
        if autocommit or customer_id is None:
            super()._set_autocommit(autocommit)  # type: ignore[misc]  # there, but unknown to the stubs
            return
        # In one round trip, which psycopg would make two. It leaves the end of the transaction to us in its autocommit mode too.
        with self.cursor() as cursor:
            cursor.execute(f"BEGIN; {_STAMP}", [str(customer_id)])


def check(connection: Connection[Any]) -> None:
    """Raise OperationalError for a connection that the server has closed, which shows without asking: its socket has something to read."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    now = time.monotonic()
    if poll.poll(0) or now - _checked_at.get(connection, 0.0) > RESTED:
        ConnectionPool.check_connection(connection)
    _checked_at[connection] = now


def takes_statements(connection: Any) -> bool:
    """Whether the connection's open transaction is neither broken nor to be rolled back. Idle: it begins with its first statement."""
    link = connection.connection
    sound = (TransactionStatus.IDLE, TransactionStatus.INTRANS)
    return link is not None and not connection.needs_rollback and link.info.transaction_status in sound


def stamp(connection: Any, value: str) -> None:
    """Set the customer of the open transaction; an empty string means nobody's."""
    with connection.cursor() as cursor:
        cursor.execute(_STAMP, [value])
