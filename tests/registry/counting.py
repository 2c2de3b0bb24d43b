"""What a request costs in statements beside its own queries."""

from django.db import connection


def frame(*, atomic: bool = True) -> int:
    """On PostgreSQL the customer is stamped on the open transaction and off again; an atomic request adds a savepoint and its release."""
    return (4 if atomic else 2) if connection.vendor == "postgresql" else 0


def written_out(otherwise: int) -> int:
    """Statements of a read that is written out in SQL: one on PostgreSQL, as many as otherwise on SQLite."""
    return 1 if connection.vendor == "postgresql" else otherwise
