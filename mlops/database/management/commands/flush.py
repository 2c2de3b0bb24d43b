"""`flush`, for test databases alone: anywhere else it would cut the audit trail."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import flush
from django.db import connections

from mlops.database import guards
from mlops.database.roles import as_owner


class Command(flush.Command):
    """Django's own command, after dropping what refuses deletes in a test database."""

    def handle(self, **options: Any) -> None:
        """Empty a test database. Raises CommandError for any other."""
        connection = connections[options["database"]]
        name = str(connection.settings_dict["NAME"]).rsplit("/", 1)[-1]
        if not (name.startswith("test") or "mode=memory" in name):
            raise CommandError(f"{name} is not a test database: its audit trail is append-only and cannot be flushed.")
        with as_owner(options["database"]):
            guards.allow_deletion(connection)
            try:
                super().handle(**options)
            finally:
                guards.install(connection)
