"""Several statements as one transaction, in one round trip where the database takes them so.

A study writes a trial in a millisecond between two fits; Django's `atomic()` alone costs four round trips on PostgreSQL, and planning five
statements under row policies half a millisecond. Statements sent together are one implicit transaction there, stamped with the customer
first, as every transaction is, and each is planned once for a connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models import Field, Model
from django.db.utils import NotSupportedError, ProgrammingError

from mlops.tenancy.context import required

if TYPE_CHECKING:
    from mlops.database.postgresql.in_flight import InFlight
    from mlops.database.postgresql.statements import Prepared

Row = tuple[Any, ...]
_Sql = tuple[str, Sequence[Any]]
_STAMP = "SELECT set_config('app.current_customer_id', %s, true)"
_STAMP_PREPARED = f"{_STAMP}, set_config('plan_cache_mode', 'force_generic_plan', true)"
"""Every statement finds its rows by their keys, whatever the values: there is nothing to plan anew for."""


@dataclass(frozen=True)
class Statement:
    """SQL and its parameters, which have been through `stored`."""

    sql: str
    params: Sequence[Any] = ()


def stored(model: type[Model], column: str, value: Any) -> Any:
    """A value as the column's database type wants it."""
    field: Field[Any, Any] = model._meta.get_field(column)  # type: ignore[assignment]  # columns only, no relations
    return field.get_db_prep_save(value, connection)


class Answers:
    """What statements have answered, or will."""

    def __init__(self, statements: Sequence[Statement]) -> None:
        """Send them, or run them where the database does not work by itself or a transaction is open."""
        self._statements = statements
        self._found: list[list[Row]] | None = None
        self._flight: InFlight | None = None
        if connection.vendor == "postgresql" and not connection.in_atomic_block:
            self._flight = _prepared_flight(statements)
        else:
            self._found = _run_here(statements)

    @property
    def on_their_way(self) -> bool:
        """Whether `rows` has to be called before anything else is asked of the database."""
        return self._found is None

    def rows(self) -> list[list[Row]]:
        """The rows of each statement."""
        if self._found is None:
            self._found = self._landed()
        return self._found

    def _landed(self) -> list[list[Row]]:
        from mlops.database.postgresql.statements import is_gone

        assert self._flight is not None  # noqa: S101 - it is one or the other
        try:
            return self._flight.results()[1:]  # the first is the stamp's
        except (ProgrammingError, NotSupportedError) as refusal:
            if not is_gone(refusal):
                raise
        for one in self._statements:
            _plan(one.sql).forget()
        return _flight(_STAMP, [(one.sql, one.params) for one in self._statements]).results()[1:]


def run(statements: Sequence[Statement]) -> list[list[Row]]:
    """The rows of each statement. All happen or none; the ambient customer is in scope."""
    return Answers(statements).rows()


def _run_here(statements: Sequence[Statement]) -> list[list[Row]]:
    """In the open transaction, which is stamped already, or in one of their own where a statement costs no round trip."""
    required()
    if connection.vendor != "postgresql":
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            return [_rows(cursor, cursor.execute(one.sql, list(one.params))) for one in statements]
    with connection.cursor() as cursor:
        cursor.execute(";\n".join(one.sql for one in statements), [value for one in statements for value in one.params])
        found = [_rows(cursor)]
        while cursor.nextset():
            found.append(_rows(cursor))
    return found


def _prepared_flight(statements: Sequence[Statement]) -> "InFlight":
    """Executions of the statements, each of which the connection knows from now on."""
    plans = [_plan(one.sql) for one in statements]
    with connection.cursor() as cursor:
        for plan in plans:
            plan.make_known(cursor)
    return _flight(_STAMP_PREPARED, [(_call(plan, one), one.params) for plan, one in zip(plans, statements, strict=True)])


def _call(plan: "Prepared", statement: Statement) -> str:
    values = f" ({', '.join(['%s'] * len(statement.params))})" if statement.params else ""
    return f"EXECUTE {plan.name}{values}"


def _flight(stamp: str, parts: Sequence[_Sql]) -> "InFlight":
    from mlops.database.postgresql.in_flight import InFlight  # psycopg is not wanted where SQLite is used

    sent = [(stamp, [str(required())]), *parts]
    return InFlight(";\n".join(sql for sql, _ in sent), [value for _, params in sent for value in params])


@lru_cache(maxsize=256)
def _plan(sql: str) -> "Prepared":
    from mlops.database.postgresql.statements import Prepared

    first, *others = sql.split("%s")
    return Prepared(first + "".join(f"${number}{text}" for number, text in enumerate(others, start=1)))


def _rows(cursor: Any, _: object = None) -> list[Row]:
    return list(cursor.fetchall()) if cursor.description else []
