"""`migrate`, run as the owner of the tables, leaving the restricted role and all guards in place."""

from typing import Any

from django.core.management.commands import migrate

from mlops.database.roles import as_owner


class Command(migrate.Command):
    """Django's own command inside `as_owner`."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Apply migrations as the owner."""
        with as_owner(options["database"]):
            super().handle(*args, **options)
