"""The restricted role of the application on PostgreSQL.

With one `DATABASE_URL` the login owns the tables, yet every session starts as `tiltyard_app`, which owns nothing and bypasses no policy:
the database itself switches the role at connect. Only `migrate` and `flush` step out. With `DATABASE_OWNER_URL` the owner is another login,
and the application's own can be nothing but a member of `tiltyard_app`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

APP_ROLE = "tiltyard_app"


@contextmanager
def as_owner(alias: str) -> Iterator[None]:
    """Work as the tables' owner, and leave the restricted role ready for every later session. Does nothing on SQLite."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield
        return
    owner = settings.DATABASES[alias].get("OWNER")
    application_settings = connection.settings_dict
    if owner:
        _close(connection)
        connection.settings_dict = {**application_settings, **{key: owner[key] for key in ("USER", "PASSWORD", "HOST", "PORT")}}
    _prepare(connection, shared_login=not owner)
    try:
        yield
    finally:
        _close(connection)  # its pool holds sessions that began before the role was set
        connection.settings_dict = application_settings


def _prepare(connection: BaseDatabaseWrapper, *, shared_login: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")  # RESET ROLE would go back to the restricted one
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [APP_ROLE])
        if not cursor.fetchone():
            cursor.execute(f"CREATE ROLE {APP_ROLE} NOLOGIN")
        cursor.execute("SELECT current_database(), current_user")
        database, user = cursor.fetchone()
        quoted = connection.ops.quote_name(database)
        cursor.execute(f"GRANT {APP_ROLE} TO {connection.ops.quote_name(user)}")
        cursor.execute(f"GRANT USAGE ON SCHEMA public TO {APP_ROLE}")
        default = "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT"
        cursor.execute(f"{default} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APP_ROLE}")  # never TRUNCATE: it fires no row trigger
        cursor.execute(f"{default} USAGE, SELECT ON SEQUENCES TO {APP_ROLE}")
        if shared_login:
            cursor.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {quoted} SET role TO {APP_ROLE}")


def _close(connection: BaseDatabaseWrapper) -> None:
    connection.close()
    close_pool = getattr(connection, "close_pool", None)
    if close_pool is not None:
        close_pool()
