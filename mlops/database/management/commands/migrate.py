"""`migrate`, run as the owner of the tables, leaving the restricted role and all guards in place."""

from typing import Any

from django.core.management.commands import migrate

from mlops.database.roles import as_owner


class Command(migrate.Command):
    """Django's own command inside `as_owner`."""

    def get_check_kwargs(self, options: Any) -> Any:
        """Without the database checks: what they would find missing is what this command is about to install."""
        return {name: value for name, value in super().get_check_kwargs(options).items() if name != "databases"}

    def handle(self, *args: Any, **options: Any) -> None:
        """Apply migrations as the owner."""
        with as_owner(options["database"]):
            super().handle(*args, **options)
