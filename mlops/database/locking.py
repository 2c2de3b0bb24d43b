"""Row locks that both databases know."""

from collections.abc import Callable
from typing import TypeVar

from django.db import connection
from django.db.models import Model, QuerySet

from mlops.errors import NotFound

Row = TypeVar("Row", bound=Model)


def lock_row(rows: QuerySet[Row], *, missing: str, if_match: Callable[[Row], None] | None = None) -> Row:
    """Lock first, then look: the one of these rows, as it is under its lock. Call inside a transaction.

    Raises NotFound, in the words of `missing`, or what `if_match` refuses it with (412). Its key stays free: references are checked when
    their transaction commits, holding the head of the audit trail by then, and would wait for whoever holds the key and waits for that
    head.
    """
    found = rows.select_for_update(no_key=True).first()
    if found is None:
        raise NotFound(missing)
    if if_match is not None:
        if_match(found)
    return found


def unlocked(queryset: QuerySet[Row]) -> QuerySet[Row]:
    """The rows that nobody else holds, locked: several claimers share a queue without waiting for one another."""
    if connection.features.has_select_for_update_skip_locked:
        return queryset.select_for_update(skip_locked=True, no_key=True)
    return queryset  # SQLite: the IMMEDIATE transaction is the lock
