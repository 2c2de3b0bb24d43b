"""Several statements as one transaction, in one round trip where the database takes them so.

A study writes a trial in a millisecond between two fits; Django's `atomic()` alone costs four round trips on PostgreSQL. Statements sent
together are one implicit transaction there, stamped with the customer first, as every transaction is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Field, Model

from mlops.tenancy.context import required

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Statement:
    """SQL and its parameters, which have been through `stored`."""

    sql: str
    params: Sequence[Any] = ()


def stored(model: type[Model], column: str, value: Any) -> Any:
    """A value as the column's database type wants it."""
    field: Field[Any, Any] = model._meta.get_field(column)  # type: ignore[assignment]  # columns only, no relations
    return field.get_db_prep_save(value, connection)


def run(statements: Sequence[Statement]) -> list[list[Row]]:
    """The rows of each statement. All happen or none; the ambient customer is in scope."""
    customer_id = required()
    if connection.vendor != "postgresql":
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            return [_rows(cursor, cursor.execute(one.sql, list(one.params))) for one in statements]
    sent = list(statements)
    if not connection.in_atomic_block:
        sent.insert(0, Statement("SELECT set_config('app.current_customer_id', %s, true)", [str(customer_id)]))
    with connection.cursor() as cursor:
        cursor.execute(";\n".join(one.sql for one in sent), [value for one in sent for value in one.params])
        found = [_rows(cursor)]
        while cursor.nextset():
            found.append(_rows(cursor))
    return found[-len(statements) :]


def _rows(cursor: Any, _: object = None) -> list[Row]:
    return list(cursor.fetchall()) if cursor.description else []
