"""Reading tenant tables outside a request's transaction."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def reading() -> Iterator[None]:
    """A transaction on PostgreSQL, whose row policies need one; nothing on SQLite, where it would lock out every writer."""
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        with transaction.atomic():
            yield
    else:
        yield
