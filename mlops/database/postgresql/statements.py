"""SQL that is worth writing out: planned once for each connection, answered in one round trip.

An ORM query of the registry costs a millisecond, nearly all of it before and around the execution: compiling it, planning it (half a
millisecond under row policies), BEGIN, the stamp, COMMIT. Here the stamp and the `EXECUTE` of a prepared statement travel as one simple
query, which PostgreSQL runs as one transaction. The policies see the stamp like in any other transaction, and the statement names the
customer besides.
"""

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connection
from django.db.utils import NotSupportedError, ProgrammingError
from psycopg import Connection
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName

from mlops.tenancy.context import required

_STAMP = "SELECT set_config('app.current_customer_id', %(customer)s::text, true); "
_prepared: WeakKeyDictionary[Connection[Any], set[str]] = WeakKeyDictionary()


class Prepared:
    """One statement with its parameters numbered `$1`, `$2`, …, as connections know it by its name."""

    def __init__(self, numbered: str) -> None:
        self.name = f"tiltyard_{hashlib.sha256(numbered.encode()).hexdigest()[:24]}"
        self._sql = f"PREPARE {self.name} AS {numbered}"

    def make_known(self, cursor: Any) -> None:
        """Prepare it, unless the connection knows it."""
        known = _prepared.setdefault(connection.connection, set())
        if self.name not in known:
            cursor.execute(self._sql)
            known.add(self.name)

    def forget(self) -> None:
        """Drop it from the connection, if it is there at all."""
        _prepared.get(connection.connection, set()).discard(self.name)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_prepared_statements WHERE name = %s", [self.name])
            if cursor.fetchone():
                cursor.execute(f"DEALLOCATE {self.name}")


def is_gone(refusal: Exception) -> bool:
    """Whether a prepared statement was refused as such, before anything was done: whoever pools connections behind our back may have
    discarded it; a migration may have changed a column's type."""
    return isinstance(refusal.__cause__, InvalidSqlStatementName | FeatureNotSupported)


class Statement:
    """A SELECT with parameters `%(name)s`, `%(customer)s` among them, which is always the ambient customer."""

    def __init__(self, sql: str, *names: str) -> None:
        if "%(customer)s" not in sql:
            raise ValueError("A statement on tenant tables names the customer: %(customer)s.")
        self.sql = sql
        given = ("customer", *names)
        self._prepared = Prepared(sql % {name: f"${number}" for number, name in enumerate(given, start=1)})
        self._execute = f"{_STAMP}EXECUTE {self._prepared.name} ({', '.join(f'%({name})s' for name in given)})"

    def rows(self, **values: Any) -> list[Any]:
        """The rows of the ambient customer. Raises NoCustomer outside any scope.

        In an open transaction, which is stamped already, the statement is sent as it stands.
        """
        values["customer"] = required()
        if connection.in_atomic_block:
            with connection.cursor() as cursor:
                cursor.execute(self.sql, values)
                return list(cursor.fetchall())
        try:
            return self._executed(values)
        except (ProgrammingError, NotSupportedError) as refusal:
            if not is_gone(refusal):
                raise
        self._prepared.forget()
        return self._executed(values)

    def _executed(self, values: dict[str, Any]) -> list[Any]:
        with connection.cursor() as cursor:
            self._prepared.make_known(cursor)
            cursor.execute(self._execute, values)
            cursor.nextset()  # the first result is the stamp's
            return list(cursor.fetchall())
