"""What the database refuses by itself survives an upgrade, and bars none."""

from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, migrations, models, transaction
from django.db.models import Model

from mlops.database import guards
from mlops.database.checks import guards_are_installed
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from registry.models import BacktestResult, BacktestRun, DatasetVersion, ModelVersion, PromotionRequest, RegisteredModel
from registry.services import promotion
from tests.conftest import NOON
from tests.registry.factories import make_dataset, make_model, make_request, make_run, make_version


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


CHANGES: dict[str, Any] = {
    "algorithm": "other",
    "artifact_size": 1,
    "training_seconds": 0.5,
    "trained_through": "2020-01-01",
    "notes": "other",
    "created_by": "other",
    "created_at": "2020-01-01T00:00:00Z",
    "panel_path": "other",
    "panel_sha256": "other",
    "rows": 1,
    "series": 1,
    "first_day": "2020-01-01",
    "last_day": "2020-01-01",
    "report": '{"other": 1}',
    "profile": '{"other": 1}',
    "source_name": "other",
    "source_size": 1,
    "status": "received",
}


def rewrite(row: Model, column: str, value: Any) -> None:
    """As a person with the application's login would, who set the customer first."""
    identifier = row.pk if connection.vendor == "postgresql" else row.pk.hex
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {row._meta.db_table} SET {column} = %s WHERE id = %s", [value, identifier])
        assert cursor.rowcount == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "column", ["algorithm", "artifact_size", "training_seconds", "trained_through", "notes", "created_by", "created_at"]
)
def test_what_a_version_was_registered_with_cannot_be_rewritten(manager: Principal, column: str) -> None:
    with acting(manager), pytest.raises(IntegrityError, match="a registered fact cannot be rewritten"):
        rewrite(make_version(make_model()), column, CHANGES[column])


@pytest.mark.django_db
def test_a_version_cannot_be_deleted(manager: Principal) -> None:
    with acting(manager):
        version = make_version(make_model())
        identifier = version.pk if connection.vendor == "postgresql" else version.pk.hex
        with pytest.raises(IntegrityError, match="evidence cannot be deleted"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM model_versions WHERE id = %s", [identifier])

        assert ModelVersion.objects.get() == version


@pytest.mark.skipif(connection.vendor != "sqlite", reason="Only SQLite replaces rows.")
@pytest.mark.django_db
def test_a_version_cannot_be_replaced(manager: Principal) -> None:
    with acting(manager):
        version = make_version(make_model())
        columns = ", ".join(field.column for field in ModelVersion._meta.concrete_fields)
        others = columns.replace(" metrics,", """ '{"mae": 0}',""")
        with (
            pytest.raises(IntegrityError, match="a registered fact cannot be rewritten"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"INSERT OR REPLACE INTO model_versions ({columns}) SELECT {others} FROM model_versions")

        assert ModelVersion.objects.get().metrics == version.metrics


@pytest.mark.django_db
@pytest.mark.parametrize(
    "column", [*sorted(DatasetVersion.settled_fields), "profile", "source_name", "source_size", "created_by", "created_at"]
)
def test_what_was_found_in_data_cannot_be_rewritten_once_it_is_ready(manager: Principal, column: str) -> None:
    with acting(manager), pytest.raises(IntegrityError, match="a registered fact cannot be rewritten"):
        rewrite(make_dataset(), column, CHANGES[column])


@pytest.mark.django_db
def test_what_is_still_being_read_is_written_down(manager: Principal) -> None:
    with acting(manager):
        data = make_dataset()
        data.pk, data.number, data.status, data.panel_sha256 = uuid4(), 2, "received", ""
        data.save(force_insert=True)

        for column in ("panel_path", "panel_sha256", "rows", "report"):
            rewrite(data, column, CHANGES[column])
        rewrite(data, "status", "ready")
        with pytest.raises(IntegrityError, match="a registered fact cannot be rewritten"):
            rewrite(data, "rows", 2)


def identifier(row: Model) -> Any:
    return row.pk if connection.vendor == "postgresql" else row.pk.hex


def decided_request(by: Principal) -> PromotionRequest:
    asked = make_request(make_version(make_model(policy={"four_eyes": True})), by=by)
    promotion.reject(request_id=asked.pk, by=by, at=NOON, reason="Not yet.")
    return asked


def decision_of(asked: PromotionRequest) -> tuple[str, str, str]:
    return PromotionRequest.objects.values_list("status", "decided_by", "decision_reason").get(pk=asked.pk)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "approved"), ("decided_by", "sam"), ("decision_reason", "Fine."), ("kind", "rollback"), ("override", True)],
)
def test_a_request_that_was_decided_cannot_be_rewritten(manager: Principal, column: str, value: Any) -> None:
    with acting(manager):
        asked = decided_request(manager)
        with pytest.raises(IntegrityError, match="a registered fact cannot be rewritten"):
            rewrite(asked, column, value)

        assert decision_of(asked) == ("rejected", manager.name, "Not yet.")


@pytest.mark.django_db
@pytest.mark.parametrize("evidence", ["request", "backtest"])
def test_evidence_of_a_decision_cannot_be_deleted(manager: Principal, evidence: str) -> None:
    with acting(manager):
        row: Model = decided_request(manager) if evidence == "request" else backtested().results.all()[0]
        with pytest.raises(IntegrityError, match="evidence cannot be deleted"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {row._meta.db_table} WHERE id = %s", [identifier(row)])


def backtested() -> BacktestRun:
    """A run that holds the days of its window."""
    model = make_model()
    return make_run(make_version(model), make_dataset(models=[model]), level=1.0)


@pytest.mark.django_db
@pytest.mark.parametrize(("column", "value"), [("mae", 0.0), ("n", 1), ("run_id", None), ("forecast_date", "2020-01-01")])
def test_a_day_of_a_backtest_cannot_be_rewritten(manager: Principal, column: str, value: Any) -> None:
    with acting(manager):
        day = backtested().results.all()[0]
        with pytest.raises(IntegrityError, match="a registered fact cannot be rewritten"):
            rewrite(day, column, value)


@pytest.mark.django_db
@pytest.mark.parametrize("first", [True, False], ids=["that no run held", "of an earlier run"])
def test_a_later_backtest_takes_over_a_day(manager: Principal, first: bool) -> None:
    with acting(manager):
        run = backtested()
        later = make_run(run.version, run.dataset_version, level=2.0, back=30)
        day = run.results.all()[0]
        if first:
            day.pk, day.run, day.forecast_date = uuid4(), None, run.window_start.replace(year=2020)
            day.save(force_insert=True)
            rewrite(day, "mae", 7.0)

        day.run, day.mae = later, 2.5
        day.save()

        assert BacktestResult.objects.values_list("run", "mae").get(pk=day.pk) == (later.pk, 2.5)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="Only SQLite replaces rows.")
@pytest.mark.django_db
@pytest.mark.parametrize("run", ["run_id", "NULL"])
def test_a_day_of_a_backtest_cannot_be_replaced_by_its_date(manager: Principal, run: str) -> None:
    with acting(manager):
        day = backtested().results.all()[0]
        columns = [field.column for field in BacktestResult._meta.concrete_fields]
        given = {"id": f"'{uuid4().hex}'", "mae": "0.0", "run_id": run}
        named, others = ", ".join(columns), ", ".join(given.get(column, column) for column in columns)
        with (
            pytest.raises(IntegrityError, match="a registered fact cannot be rewritten"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"INSERT OR REPLACE INTO backtest_results ({named}) SELECT {others} FROM backtest_results")

        assert BacktestResult.objects.get(pk=day.pk).mae == day.mae
