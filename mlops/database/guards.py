"""What the database refuses by itself, on both databases.

Installed after every `migrate`, not by a migration: SQLite rebuilds a table for most schema changes and silently drops its triggers.

- Tenant tables: row-level security (PostgreSQL), and a row may refer only to rows of its own customer (both).
- Append-only tables: no update, no delete, no replacing insert.
- Frozen columns: what was registered cannot be rewritten, and what a job found out not once it is settled; nor can the row be replaced.
- Held rows: what a run measured gives way to another run's measurement of the same, and to nothing else.
- Undeletable tables: no delete.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import ForeignKey, Model, UniqueConstraint

from mlops.tenancy.models.base import TenantModel

SETTING = "NULLIF(current_setting('app.current_customer_id', true), '')::uuid"


def install_after_migrate(*, using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """Receiver of `post_migrate`: (re)install every guard whose table exists."""
    install(connections[using])


def remove_before_migrate(*, using: str = DEFAULT_DB_ALIAS, plan: Sequence[Any] = (), **_: Any) -> None:
    """Receiver of `pre_migrate`: SQLite rebuilds no table that a trigger of another one reads. They are back after the migrations."""
    connection = connections[using]
    if plan and connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP TRIGGER {connection.ops.quote_name(name)}")


def install(connection: BaseDatabaseWrapper) -> None:
    """Create or replace all guards, in one transaction; repeatable."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for statement in statements(connection):
            cursor.execute(statement)


def allow_deletion(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers of append-only and undeletable tables, for a flush of a test database and nothing else."""
    with connection.cursor() as cursor:
        for model in guarded_models(connection):
            for name in (*_append_only_names(model), _undeletable_name(model)):
                suffix = f" ON {model._meta.db_table}" if connection.vendor == "postgresql" else ""
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}{suffix}")


def guarded_models(connection: BaseDatabaseWrapper) -> list[type[TenantModel]]:
    """Every concrete tenant model whose table exists."""
    existing = set(connection.introspection.table_names())
    return [model for model in tenant_models() if model._meta.db_table in existing]


def tenant_models() -> list[type[TenantModel]]:
    """Every concrete model with a customer."""
    return [model for model in apps.get_models() if issubclass(model, TenantModel)]


def expected_triggers(connection: BaseDatabaseWrapper) -> set[str]:
    """Names of all triggers that have to exist; the system check compares them with what is there."""
    names: set[str] = set()
    for model in guarded_models(connection):
        if _tenant_foreign_keys(model):
            names.update(_same_customer_names(model, connection.vendor))
        if model.append_only:
            names.update(_append_only_names(model) if connection.vendor == "sqlite" else _append_only_names(model)[:1])
        if model.undeletable:
            names.add(_undeletable_name(model))
        if model.frozen_fields:
            names.update(_frozen_names(model) if connection.vendor == "sqlite" else _frozen_names(model)[:1])
    return names


def statements(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """All statements for this database, in order."""
    postgresql = connection.vendor == "postgresql"
    for model in guarded_models(connection):
        if postgresql:
            yield from _policies(model)
            yield from _postgresql_triggers(model)
        else:
            yield from _sqlite_triggers(model)


def _policies(model: type[TenantModel]) -> Iterator[str]:
    table = model._meta.db_table
    yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    yield f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
    yield f"DROP POLICY IF EXISTS customer ON {table}"
    yield f"CREATE POLICY customer ON {table} USING (customer_id = {SETTING}) WITH CHECK (customer_id = {SETTING})"
    yield f"DROP POLICY IF EXISTS owner ON {table}"
    yield f"CREATE POLICY owner ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)"  # migrations and pg_dump see rows


def _tenant_foreign_keys(model: type[TenantModel]) -> list[tuple[str, type[Model]]]:
    return [
        (field.column, field.related_model)
        for field in model._meta.local_fields
        if isinstance(field, ForeignKey) and isinstance(field.related_model, type) and issubclass(field.related_model, TenantModel)
    ]


def _foreign_rows(model: type[TenantModel]) -> str:
    tests = (
        f"(NEW.{column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {parent._meta.db_table} AS parent"  # noqa: S608 - names from our models
        f" WHERE parent.id = NEW.{column} AND parent.customer_id = NEW.customer_id))"
        for column, parent in _tenant_foreign_keys(model)
    )
    return " OR ".join(tests)


def _same_references(model: type[TenantModel]) -> str:
    columns = ["customer_id", *(column for column, _ in _tenant_foreign_keys(model))]
    return " AND ".join(f"OLD.{column} IS NOT DISTINCT FROM NEW.{column}" for column in columns)


def _frozen_changes(model: type[TenantModel], differs: str) -> str:
    def changed(names: Sequence[str]) -> str:
        columns = [field.column for field in model._meta.local_fields if field.name in names]
        return " OR ".join(f"OLD.{column} {differs} NEW.{column}" for column in columns)

    refused = [changed(model.frozen_fields)]
    if model.settled_fields:
        states = ", ".join(f"'{state}'" for state in model.settled_states)
        refused.append(f"(OLD.status IN ({states}) AND ({changed(model.settled_fields)}))")
    if model.held_by:
        holder = _column(model, model.held_by)
        anything = changed([field.name for field in model._meta.local_fields])
        refused.append(f"(OLD.{holder} IS NOT NULL AND (NEW.{holder} IS NULL OR (OLD.{holder} = NEW.{holder} AND ({anything}))))")
    return " OR ".join(refused)


def _column(model: type[TenantModel], name: str) -> str:
    return next(str(field.column) for field in model._meta.local_fields if field.name == name)


def _same_customer_names(model: type[TenantModel], vendor: str) -> tuple[str, ...]:
    table = model._meta.db_table
    return (f"{table}_same_customer",) if vendor == "postgresql" else (f"{table}_same_customer_i", f"{table}_same_customer_u")


def _append_only_names(model: type[TenantModel]) -> tuple[str, ...]:
    table = model._meta.db_table
    return (f"{table}_append_only_u", f"{table}_append_only_d", f"{table}_append_only_i")


def _undeletable_name(model: type[TenantModel]) -> str:
    return f"{model._meta.db_table}_undeletable"


def _frozen_names(model: type[TenantModel]) -> tuple[str, ...]:
    table = model._meta.db_table
    return (f"{table}_frozen", f"{table}_frozen_i")


def _postgresql_triggers(model: type[TenantModel]) -> Iterator[str]:
    table = model._meta.db_table
    if _tenant_foreign_keys(model):
        message = f"{table}: a row cannot refer to another customer"
        unless = f"TG_OP = 'UPDATE' AND {_same_references(model)}"
        yield from _postgresql_trigger(table, f"{table}_same_customer", "INSERT OR UPDATE", _foreign_rows(model), message, unless=unless)
    if model.append_only:
        yield from _postgresql_trigger(table, f"{table}_append_only_u", "UPDATE OR DELETE", "true", f"{table} is append-only")
    if model.undeletable:
        yield from _postgresql_trigger(table, _undeletable_name(model), "DELETE", "true", f"{table}: evidence cannot be deleted")
    if model.frozen_fields:
        condition = _frozen_changes(model, "IS DISTINCT FROM")
        yield from _postgresql_trigger(
            table, _frozen_names(model)[0], "UPDATE", condition, f"{table}: a registered fact cannot be rewritten"
        )


def _postgresql_trigger(table: str, name: str, when: str, condition: str, message: str, *, unless: str = "false") -> Iterator[str]:
    """`unless` reads no table: an IF that reads one costs ten times an IF that does not. Triggers for an `UPDATE OF` columns would save
    that too, but bar every later migration from changing the type of these columns."""
    yield (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {unless} THEN RETURN NEW; END IF; "
        f"IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN NEW; END $$"
    )
    yield f"CREATE OR REPLACE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"


def _sqlite_triggers(model: type[TenantModel]) -> Iterator[str]:
    table = model._meta.db_table
    if _tenant_foreign_keys(model):
        message = f"{table}: a row cannot refer to another customer"
        for name, when in zip(_same_customer_names(model, "sqlite"), ("INSERT", "UPDATE"), strict=True):
            yield from _sqlite_trigger(table, name, when, _foreign_rows(model), message)
    if model.append_only:
        message = f"{table} is append-only"
        update, delete, insert = _append_only_names(model)
        yield from _sqlite_trigger(table, update, "UPDATE", "1", message)
        yield from _sqlite_trigger(table, delete, "DELETE", "1", message)
        yield from _sqlite_trigger(table, insert, "INSERT", _replaces(table), message)
    if model.undeletable:
        yield from _sqlite_trigger(table, _undeletable_name(model), "DELETE", "1", f"{table}: evidence cannot be deleted")
    if model.frozen_fields:
        message = f"{table}: a registered fact cannot be rewritten"
        update, insert = _frozen_names(model)
        yield from _sqlite_trigger(table, update, "UPDATE", _frozen_changes(model, "IS NOT"), message)
        yield from _sqlite_trigger(table, insert, "INSERT", " OR ".join([_replaces(table), *_replaces_held(model)]), message)


def _replaces_held(model: type[TenantModel]) -> Iterator[str]:
    """A replacing insert finds its victim by any unique key. That of an upsert, which comes here first, is another holder's."""
    if not model.held_by:
        return
    table, holder = model._meta.db_table, _column(model, model.held_by)
    for constraint in model._meta.constraints:
        if isinstance(constraint, UniqueConstraint):
            same = " AND ".join(f"kept.{column} = NEW.{column}" for column in (_column(model, name) for name in constraint.fields))
            held = f"kept.{holder} IS NOT NULL AND (NEW.{holder} IS NULL OR NEW.{holder} = kept.{holder})"
            yield f"EXISTS (SELECT 1 FROM {table} AS kept WHERE {same} AND {held})"  # noqa: S608 - names from our models


def _replaces(table: str) -> str:
    """INSERT OR REPLACE fires no update trigger, and no delete trigger unless the connection asked for recursive triggers."""
    return f"EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)"  # noqa: S608 - the name comes from our model


def _sqlite_trigger(table: str, name: str, when: str, condition: str, message: str) -> Iterator[str]:
    yield f"DROP TRIGGER IF EXISTS {name}"  # an older release's may know fewer columns
    yield f"CREATE TRIGGER {name} BEFORE {when} ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"
