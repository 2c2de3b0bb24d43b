"""What the database refuses by itself survives an upgrade, and bars none."""

import pytest
from django.core.management import call_command
from django.db import connection, migrations, models

from mlops.database import guards
from mlops.database.checks import guards_are_installed
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from registry.models import RegisteredModel
from tests.registry.factories import make_model, make_version


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite rebuilds tables, and reads the triggers of others while it does")
def test_a_table_that_others_refer_to_can_be_rebuilt(manager: Principal) -> None:
    with acting(manager):
        model = make_model()
        make_version(model)
    guards.remove_before_migrate(plan=[(migrations.Migration, False)])

    with connection.schema_editor() as editor:
        wider = models.CharField(max_length=129, default="")
        wider.set_attributes_from_name("name")
        editor.alter_field(RegisteredModel, RegisteredModel._meta.get_field("name"), wider, strict=True)
    call_command("migrate", verbosity=0)

    assert guards_are_installed(["default"]) == []
    with acting(manager):
        assert make_version(model).version == "v2"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL replaces its functions")
def test_a_guard_of_an_older_release_is_replaced(db: None) -> None:
    name = "model_versions_frozen"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER {name}")
        cursor.execute(f"CREATE TRIGGER {name} BEFORE UPDATE ON model_versions WHEN 0 BEGIN SELECT 1; END")

    call_command("migrate", verbosity=0)

    with connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [name])
        assert "cannot be rewritten" in cursor.fetchone()[0]
