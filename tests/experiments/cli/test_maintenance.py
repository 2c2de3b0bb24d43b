"""`manage.py maintenance`: the storage is verified, stray files are found and removed, metrics are exported."""

import csv
import io
import json
import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from experiments.services import stored_files
from experiments.services.demo import DemoFailed
from mlops.artifacts.storage import ObjectMissing, Stored, storage
from mlops.audit.models import AuditEvent
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import ModelVersion
from registry.services.artifacts import ArtifactFacts
from registry.services.dataset_files import MANIFEST
from registry.services.registration import PreparedArtifact
from tests.experiments.cli.shell import shell
from tests.experiments.training.studying import make_ready_split, make_study
from tests.mlops.helpers import as_intruder
from tests.registry.factories import make_champion, make_dataset, make_model, make_version

pytestmark = pytest.mark.django_db
KIM = ("--as", "kim@example.com")
OLD = 30 * 3600.0


@pytest.fixture(autouse=True)
def kim(principal: Callable[..., Principal]) -> Principal:
    return principal("admin", "kim@example.com")


def stored(path: str, content: bytes = b"{}", *, age: float = OLD) -> Stored:
    """An object that was written so many seconds ago."""
    made = storage().put_bytes(path, content)
    root = storage().local_root
    assert root is not None
    os.utime(root / path, (time.time() - age, time.time() - age))
    return made


def with_file(name: str = "churn", **values: Any) -> ModelVersion:
    model, version_id = make_model(name), uuid4()
    made = stored(f"models/{model.customer_id}/{name}/{version_id}/model.json")
    facts = ArtifactFacts("tabular", ".json", "lightgbm", {})
    return make_version(model, artifact=PreparedArtifact(version_id, made, facts), **values)


def overwrite(path: str, content: bytes) -> None:
    root = storage().local_root
    assert root is not None
    (root / path).write_bytes(content)


def test_one_command_verifies_chains_guards_and_files_of_every_customer(
    scope: Principal, customer: Customer, other_customer: Customer
) -> None:
    with_file()
    with acting(system(other_customer.pk)):
        with_file()

    ended = shell("maintenance", "verify", "--json")
    one = shell("maintenance", "verify", "--json", "--customer", str(customer.pk))
    nobody = shell("maintenance", "verify", "--json", "--customer", str(uuid4()))

    assert (ended.code, ended.json["intact"], ended.json["guards_missing"], ended.json["problems"]) == (0, True, [], [])
    told = {row["customer_id"]: (row["audit_intact"], row["events"] > 0, row["versions"], row["files"]) for row in ended.json["customers"]}
    assert told == {str(customer.pk): (True, True, 1, 1), str(other_customer.pk): (True, True, 1, 1)}
    assert [row["customer_id"] for row in one.json["customers"]] == [str(customer.pk)]
    assert nobody.code == 3
    assert shell("maintenance", "verify").code == 0


def test_whatever_is_not_as_it_was_written_is_named(scope: Principal, other_customer: Customer) -> None:
    with acting(system(other_customer.pk)):
        overwrite(with_file().artifact_path, b"other")
    with connection.cursor() as cursor:
        on = " ON audit_events" if connection.vendor == "postgresql" else ""
        cursor.execute("SET LOCAL ROLE NONE" if on else "SELECT 1")
        cursor.execute(f"DROP TRIGGER audit_events_append_only_u{on}")
        cursor.execute(f"DROP TRIGGER model_versions_frozen{' ON model_versions' if on else ''}")
        cursor.execute("SET LOCAL ROLE tiltyard_app" if on else "SELECT 1")
        mine = scope.customer_id if on else scope.customer_id.hex
        cursor.execute("UPDATE audit_events SET actor = 'somebody else' WHERE number = 1 AND customer_id = %s", [mine])

    ended = shell("maintenance", "verify", "--json")

    assert (ended.code, ended.json["intact"]) == (1, False)
    assert "model_versions_frozen" in ended.json["guards_missing"][0]
    assert sorted(row["what"].split(" ")[0] for row in ended.json["problems"]) == ["audit", "database", "version"]
    assert shell("maintenance", "verify").code == 1


AWKWARD = {"mae": 1.0, "mape": 1e-7, "rmse": 1e17, "bias_pct": -0.0, "wape": 5e-324, "mase": 123456789.125}


def test_what_versions_were_registered_with_is_held_against_the_trail(scope: Principal) -> None:
    model = make_model()
    champion = make_version(model, metrics={"mae": 2.0}, lineage={"a": [1, 2.0, {"b": None}], "c": "ü"}, training_seconds=3.0)
    swapped = make_version(model, trained_through=date(2026, 3, 1))
    make_version(model, metrics=AWKWARD, signature={"features": [{"name": "price", "dtype": "number", "low": -0.0, "high": 1e300}]})
    gone, unknown = make_version(model), make_version(model)
    sound = shell("maintenance", "verify", "--json")
    with as_intruder() as cursor:
        on = " ON model_versions" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER model_versions_frozen{on}")

        def key(version: ModelVersion) -> Any:
            return version.pk if on else version.pk.hex

        cursor.execute("""UPDATE model_versions SET metrics = '{"mae": 0.001}' WHERE id = %s""", [key(champion)])
        cursor.execute("UPDATE model_versions SET trained_through = NULL WHERE id = %s", [key(swapped)])
        cursor.execute("DELETE FROM model_versions WHERE id = %s", [key(gone)])
        cursor.execute("UPDATE model_versions SET id = %s WHERE id = %s", [uuid4() if on else uuid4().hex, key(unknown)])

    ended = shell("maintenance", "verify", "--json")

    assert (sound.code, sound.json["problems"]) == (0, [])
    found = sorted((row["what"], row["problem"]) for row in ended.json["problems"] if row["what"] != "database")
    assert found == [
        ("version demand_forecast v1", "differs from what was registered"),
        ("version demand_forecast v2", "differs from what was registered"),
        ("version demand_forecast v4", "is gone, although it was registered"),
        ("version demand_forecast v5", "is gone, although it was registered"),
        ("version demand_forecast v5", "no event of the audit trail registered it"),
    ]


@pytest.mark.parametrize("name", ["storage", "gcs"])
def test_a_sound_storage_is_verified(scope: Principal, name: str) -> None:
    with_file()
    make_ready_split()

    ended = shell("maintenance", name, "verify", "--digests", "--json")

    assert (ended.code, ended.json) == (0, {"writable": True, "files": 4, "digests_checked": True, "findings": []})
    assert storage().list("probe") == []


def test_missing_and_changed_files_are_named(scope: Principal) -> None:
    changed, gone = with_file("churn"), with_file("demand")
    overwrite(changed.artifact_path, b"[]")
    storage().delete(gone.artifact_path)

    quick = shell("maintenance", "storage", "verify", "--json")
    thorough = shell("maintenance", "storage", "verify", "--digests", "--json")

    assert (quick.code, [one["path"] for one in quick.json["findings"]]) == (1, [gone.artifact_path])
    assert {one["path"] for one in thorough.json["findings"]} == {changed.artifact_path, gone.artifact_path}
    assert thorough.error["code"] == "storage_damaged"


def test_a_storage_that_refuses_is_told(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Stored:
        raise PermissionError("read-only")

    monkeypatch.setattr(type(storage()), "put_bytes", refuse)

    ended = shell("maintenance", "storage", "verify", "--json")

    assert (ended.code, ended.error["code"]) == (1, "storage_unavailable")


def test_files_that_were_deleted_with_their_version_are_not_missed(
    scope: Principal, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    version = with_file()
    with django_capture_on_commit_callbacks(execute=True):
        shell("models", "delete", version.pk, "--delete-artifacts", *KIM)

    assert shell("maintenance", "storage", "verify", "--json").json["files"] == 0


def test_strays_are_shown_and_only_removed_when_told(scope: Principal, customer: Customer, kim: Principal) -> None:
    version, split = with_file(), make_ready_split()
    stray = stored(f"models/{customer.pk}/churn/{uuid4()}/model.json", b"12345")

    shown = shell("maintenance", "cleanup-artifacts", "--json", *KIM)
    aloud = shell("maintenance", "cleanup-artifacts", "--dry-run", "--json", *KIM)
    both = shell("maintenance", "cleanup-artifacts", "--dry-run", "--delete", *KIM)
    still = storage().list(f"models/{customer.pk}")
    removed = shell("maintenance", "cleanup-artifacts", "--delete", "--json", *KIM)

    assert (shown.json["dry_run"], shown.json["bytes"], [one["path"] for one in shown.json["results"]]) == (True, 5, [stray.path])
    assert (aloud.json, both.code, stray.path in still) == (shown.json, 2, True)
    assert (removed.json["dry_run"], removed.json["files"]) == (False, 1)
    assert storage().list(f"models/{customer.pk}") == [version.artifact_path]
    assert len(storage().list(f"splits/{customer.pk}/{split.pk}")) == 3
    event = AuditEvent.objects.get(action="storage.cleaned")
    assert (event.actor, event.after) == (kim.name, {"files": 1, "bytes": 5})


def test_what_any_row_names_is_no_stray(scope: Principal, customer: Customer) -> None:
    folder = f"datasets/{customer.pk}/{uuid4()}/1"
    data = make_dataset()
    for path in ("one.csv", MANIFEST):
        stored(f"{folder}/source/{path}", path.encode())
    stored(f"{folder}/panel-1.parquet")
    type(data).objects.create(
        **{name: getattr(data, name) for name in ("dataset", "status", "source_name", "source_sha256", "source_size", "mapping")},
        number=2,
        source_path=f"{folder}/source/{MANIFEST}",
        panel_path=f"{folder}/panel-1.parquet",
        panel_sha256="0" * 64,
        created_by="kim@example.com",
        created_at=data.created_at,
    )
    kept = stored(f"models/{customer.pk}/churn/{uuid4()}/model.json")
    make_study(system_attrs={"artifacts": [kept.path]})
    hidden = make_ready_split()
    shell("splits", "delete", hidden.pk, *KIM)

    found = shell("maintenance", "cleanup-artifacts", "--json", *KIM).json

    assert found["results"] == []


def test_young_files_are_left_alone(scope: Principal, customer: Customer) -> None:
    young = stored(f"splits/{customer.pk}/{uuid4()}/train.parquet", age=2 * 3600)

    assert shell("maintenance", "cleanup-artifacts", "--delete", "--json", *KIM).json["files"] == 0
    assert shell("maintenance", "cleanup-artifacts", "--older-than-hours", 0, *KIM).code == 2
    assert shell("maintenance", "cleanup-artifacts", "--older-than-hours", 1, "--json", *KIM).json["results"][0]["path"] == young.path


def test_another_customers_files_are_never_looked_at(scope: Principal, customer: Customer, other_customer: Customer) -> None:
    foreign = stored(f"models/{other_customer.pk}/churn/{uuid4()}/model.json")
    with acting(system(other_customer.pk)), transaction.atomic():
        with_file()

    cleaned = shell("maintenance", "cleanup-artifacts", "--delete", "--json", "--customer", customer.pk, *KIM)
    verified = shell("maintenance", "storage", "verify", "--json", "--customer", customer.pk)

    assert (cleaned.json["files"], verified.json["files"]) == (0, 0)
    assert foreign.path in storage().list(f"models/{other_customer.pk}")


def test_only_an_administrator_cleans(scope: Principal, manager: Principal) -> None:
    assert shell("maintenance", "cleanup-artifacts", "--as", manager.name).code == 4
    assert shell("maintenance", "cleanup-artifacts").code == 2


def test_the_report_has_every_metric_and_runs_nothing_in_a_spreadsheet(scope: Principal, tmp_path: Path) -> None:
    model = make_model("churn", task="regression")
    make_champion(model, metrics={"rmse": 1.5, "tier": "=HYPERLINK(1)"})
    make_version(model, metrics={"mae": 2, "=cmd": 1.0, "rmse": None})

    printed = shell("maintenance", "export-metrics", "--output", tmp_path / "report.csv")

    first, second = csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text()))
    assert (printed.code, printed.out) == (0, "")
    assert (first["version"], first["mae"], first["rmse"], first["'=cmd"]) == ("v2", "2.0", "", "1.0")
    assert (second["stage"], second["rmse"], second["tier"]) == ("production", "1.5", "'=HYPERLINK(1)")
    assert second["promoted_at"].endswith("Z")


def test_the_report_may_be_json_and_of_champions_alone(scope: Principal) -> None:
    model = make_model("churn")
    make_champion(model, metrics={"mae": 1.0})
    make_version(model)

    report = json.loads(shell("maintenance", "export-metrics", "--production-only", "--json").out)

    assert [(row["version"], row["mae"]) for row in report["results"]] == [("v1", 1.0)]
    assert shell("maintenance", "export-metrics", "--output", "/no/such/folder/report.csv").code == 2


def test_demo_data_is_seeded_by_the_command_that_make_run_calls(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    called: list[Any] = []
    monkeypatch.setattr("experiments.management.commands.maintenance.call_command", lambda name, **options: called.append((name, options)))

    ended = shell("maintenance", "seed", "demo-data", "--sundays", 0)

    (name, options), *others = called
    assert (ended.code, name, options["sundays"], options["as_json"], others) == (0, "seed_demo", 0, False, [])


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> None:
    """A demo that has its data already."""
    settings.VAR_DIR = tmp_path
    monkeypatch.setattr("experiments.services.demo.is_seeded", lambda: True)


def test_the_demos_logins_are_told_as_json(seeded: None, scope: Principal, settings: Any) -> None:
    ended = shell("maintenance", "seed", "demo-data", "--json")

    people = {one["email"]: one["role"] for one in ended.json["logins"]}
    assert (ended.code, ended.err, set(ended.json)) == (0, "", {"url", "api_key", "logins"})
    assert (people["admin@example.com"], ended.json["api_key"].startswith("ty_")) == ("admin", True)


def test_what_the_demo_refuses_is_told_as_json(monkeypatch: pytest.MonkeyPatch, scope: Principal, settings: Any, tmp_path: Path) -> None:
    def fail(**_: Any) -> None:
        raise DemoFailed("The retraining ended as failed: too little history")

    settings.VAR_DIR = tmp_path
    monkeypatch.setattr("experiments.services.demo.seed", fail)
    data = tmp_path / "sales.csv"
    data.write_text("day,units\n2024-01-01,1\n")

    failed = shell("maintenance", "seed", "demo-data", "--data", data, "--json")
    missing = shell("maintenance", "seed", "demo-data", "--data", tmp_path / "no.csv", "--json")

    assert (failed.code, failed.out, failed.error["code"]) == (1, "", "demo_failed")
    assert "too little history" in failed.error["detail"]
    assert (missing.code, missing.error["errors"][0]["field"]) == (2, "--data")


def test_a_file_that_vanishes_while_it_is_digested_is_a_finding(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    version = with_file()

    def vanish(*_: object, **__: object) -> None:
        raise ObjectMissing(version.artifact_path)

    monkeypatch.setattr(type(storage()), "verify", vanish)

    looked_at, findings = stored_files.verify(digests=True)

    assert (looked_at, [one.problem for one in findings]) == (1, ["missing"])
