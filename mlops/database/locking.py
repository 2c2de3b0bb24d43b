"""Row locks that both databases know."""

from typing import TypeVar

from django.db import connection
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


def unlocked(queryset: QuerySet[Row]) -> QuerySet[Row]:
    """The rows that nobody else holds, locked: several claimers share a queue without waiting for one another."""
    if connection.features.has_select_for_update_skip_locked:
        return queryset.select_for_update(skip_locked=True, no_key=True)
    return queryset  # SQLite: the IMMEDIATE transaction is the lock
