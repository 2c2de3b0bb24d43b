"""The database: made, brought forward, taken back, emptied."""

import os
import sys
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.base import CommandParser
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.migrations.loader import MigrationLoader

from experiments.cli.checked import wrong
from experiments.cli.frame import Act, ActsCommand, Call, Refusal, json_argument
from experiments.management.commands.seed_demo import ACCESS_FILE
from mlops.database.roles import as_owner
from mlops.supervisor import place

ENUMS = """
    SELECT DISTINCT kind.typname FROM pg_attribute attribute JOIN pg_class owner ON owner.oid = attribute.attrelid
    JOIN pg_type kind ON kind.oid = attribute.atttypid
    WHERE kind.typtype = 'e' AND owner.relname = ANY(%s) AND owner.relnamespace = 'public'::regnamespace ORDER BY kind.typname
"""
"""The types that the columns of these tables brought along; dropping a table leaves them."""


def init(call: Call) -> None:
    """Make every table and guard; what is there already stays."""
    _migrate()
    call.out.done(f"{_name()} is ready; {len(_applied())} migrations are applied.", _state())


def migrate(call: Call) -> None:
    """Write migrations for models that changed, or with `--check` only say whether any is missing."""
    if not (settings.DEBUG or call.options["check"]):
        raise Refusal("Migrations are written in development (DEBUG=1); --check looks only.", code="development_only")
    given = {name: value for name, value in call.given("name").items() if value}
    try:
        call_command("makemigrations", *call.options["app"], check_changes=call.options["check"], stdout=sys.stderr, **given)
    except SystemExit:  # how makemigrations says so
        raise Refusal("Some models have changes that no migration holds.", code="migration_missing") from None
    call.out.done("No migration is missing." if call.options["check"] else "Migrations are written.", _state())


def upgrade(call: Call) -> None:
    """Apply what is not applied, of every app or of one, up to the newest or a named migration."""
    app, target = call.options["app"], call.options["migration"]
    _migrate(*([app] if app else []), *([target] if target else []))
    call.out.done(f"{_name()} is up to date." if not app else f"{app} is up to date.", _state())


def downgrade(call: Call) -> None:
    """Take an app back to a migration. Columns and tables that came later go, with what they hold."""
    app, target = call.options["app"], call.options["migration"]
    applied = sorted(name for of, name in _applied() if of == app)
    found = [name for name in applied if name.startswith(target)]
    if target == "zero":
        if not settings.DEBUG:
            raise Refusal("Every table of an app is dropped in development alone (DEBUG=1).", code="development_only")
    elif len(found) != 1:
        raise wrong("migration", f"{app} has {len(found)} applied migrations that begin with {target}: {', '.join(applied) or 'none'}.")
    _confirm(call, app, f"What later migrations of {app} added is dropped, with all it holds.")
    _migrate(app, target if target == "zero" else found[0])
    call.out.done(f"{app} is back at {target}.", _state())


def reset(call: Call) -> None:
    """Drop every table and make them anew. For development alone."""
    if not settings.DEBUG:
        raise Refusal("A database is reset in development alone (DEBUG=1).", code="development_only")
    _confirm(call, _name(), f"Everything in {_name()} is dropped, the audit trail with it.")
    try:
        lock = place.lock(settings.VAR_DIR, patience_s=0.0)
    except place.Refused as refusal:
        raise Refusal(str(refusal), code="in_use") from None
    try:
        _drop_everything()
        (settings.VAR_DIR / ACCESS_FILE).unlink(missing_ok=True)  # its logins are gone
        _migrate()
    finally:
        os.close(lock)
    call.out.done(f"{_name()} is empty. Stored files are where they were.", _state())


def _migrate(*names: str) -> None:
    try:
        call_command("migrate", *names, stdout=sys.stderr)
    except CommandError as failure:
        raise Refusal(str(failure), code="invalid", returncode=2) from None


def _applied() -> set[tuple[str, str]]:
    return set(MigrationLoader(connection).applied_migrations)


def _state() -> dict[str, object]:
    loader = MigrationLoader(connection)
    waiting = sorted(set(loader.graph.nodes) - set(loader.applied_migrations))
    return {
        "database": _name(),
        "vendor": connection.vendor,
        "applied": len(loader.applied_migrations),
        "waiting": [f"{app}.{name}" for app, name in waiting],
    }


def _name() -> str:
    return Path(str(connection.settings_dict["NAME"])).name


def _confirm(call: Call, name: str, what: str) -> None:
    """Have the name typed, or given with `--yes`. Raises Refusal."""
    typed = call.options["yes"]
    if typed is None and sys.stdin.isatty():
        typed = input(f"{what}\nType {name} to go on: ")
    if typed != name:
        raise Refusal(f"Nothing was done. {what} Type {name} when asked, or give --yes {name}.", code="not_confirmed")


def _drop_everything() -> None:
    if connection.vendor == "sqlite":
        path = Path(str(connection.settings_dict["NAME"]))
        connection.close()
        for leftover in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            leftover.unlink(missing_ok=True)
        return
    ours = {model._meta.db_table for model in apps.get_models(include_auto_created=True)} | {"django_migrations"}
    quoted = connection.ops.quote_name
    with as_owner(DEFAULT_DB_ALIAS), transaction.atomic(), connection.cursor() as cursor:
        # A table of somebody else's in the same database is none of ours to drop.
        tables = sorted(ours & set(connection.introspection.table_names(cursor)))
        cursor.execute(ENUMS, [tables])
        types = [name for (name,) in cursor.fetchall()]
        for table in tables:
            cursor.execute(f"DROP TABLE {quoted(table)} CASCADE")
        for name in types:
            cursor.execute(f"DROP TYPE {quoted(name)}")


def _migrate_arguments(parser: CommandParser) -> None:
    parser.add_argument("app", nargs="*", metavar="APP")
    parser.add_argument("--name", help="What the migration does, in a few words.")
    parser.add_argument("--check", action="store_true", help="Write nothing; exit code 1 where one is missing.")


def _upgrade_arguments(parser: CommandParser) -> None:
    parser.add_argument("app", nargs="?", metavar="APP")
    parser.add_argument("migration", nargs="?", metavar="MIGRATION")


def _downgrade_arguments(parser: CommandParser) -> None:
    parser.add_argument("app", metavar="APP")
    parser.add_argument("migration", metavar="MIGRATION", help="An applied migration, or the beginning of its name; or zero.")
    _yes(parser)


def _yes(parser: CommandParser) -> None:
    parser.add_argument("--yes", metavar="NAME", help="What would be asked for: the name of what is lost.")


class Command(ActsCommand):
    """`db init|migrate|upgrade|downgrade|reset`."""

    help = __doc__
    shared = staticmethod(json_argument)
    acts = (
        Act("init", "Make every table and guard; what is there already stays.", init, scope="nobody"),
        Act("migrate", "Write migrations for models that changed.", migrate, _migrate_arguments, "nobody"),
        Act("upgrade", "Apply migrations.", upgrade, _upgrade_arguments, "nobody"),
        Act("downgrade", "Take an app back to an earlier migration.", downgrade, _downgrade_arguments, "nobody"),
        Act("reset", "Drop every table and make them anew; in development alone.", reset, _yes, "nobody"),
    )
