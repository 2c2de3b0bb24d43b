"""Start-up checks: is the database as safe as the code believes it to be?"""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from mlops.database import guards
from mlops.database.roles import APP_ROLE


@register(Tags.database)
def guards_are_installed(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Every trigger is there, and on PostgreSQL the session is restricted and every tenant table forces its policy."""
    problems: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if "django_migrations" not in connection.introspection.table_names():
            continue
        missing = guards.expected_triggers(connection) - _existing_triggers(connection)
        if missing:
            hint = "Run `manage.py migrate`, which installs them again."
            problems.append(Error(f"Database guards are missing: {', '.join(sorted(missing))}.", hint=hint, id="database.E001"))
        if connection.vendor == "postgresql":
            problems.extend(_role_problems(connection))
    return problems


def _existing_triggers(connection: Any) -> set[str]:
    query = (
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')"  # a disabled one guards nothing
        if connection.vendor == "postgresql"
        else "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        return {name for (name,) in cursor.fetchall()}


def _role_problems(connection: Any) -> list[CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        powerful = any(cursor.fetchone() or (True,))
        cursor.execute("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relowner = current_user::regrole")
        owns = cursor.fetchone()[0]
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relrowsecurity AND relforcerowsecurity")
        forced = {name for (name,) in cursor.fetchall()}
    problems: list[CheckMessage] = []
    if powerful or owns:
        message = f"The application's session may bypass row-level security (superuser, BYPASSRLS, or owner of {owns} tables)."
        problems.append(Error(message, hint=f"Run `manage.py migrate`; sessions then start as {APP_ROLE}.", id="database.E002"))
    open_tables = {model._meta.db_table for model in guards.guarded_models(connection)} - forced
    if open_tables:
        problems.append(Error(f"Row-level security is not forced on: {', '.join(sorted(open_tables))}.", id="database.E003"))
    return problems
