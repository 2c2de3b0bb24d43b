"""`manage.py db` and the script `tiltyard`, each in a process of its own on a database of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[3]
KEY = "a-key-for-tests-0123456789"


@dataclass(frozen=True)
class Place:
    """A state folder with its database."""

    environment: dict[str, str]
    name: str

    def run(self, *arguments: str, stdin: str = "", cwd: Path = ROOT, **changes: str) -> "subprocess.CompletedProcess[str]":
        """One command, as a shell runs it."""
        program = [sys.executable, "-P", "-c", "from mlops.command_line import main; main()", *arguments]
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(ROOT), **changes}
        return subprocess.run(program, env=environment, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An SQLite database that does not exist yet."""
    return Place(_environment(tmp_path, f"sqlite:///{tmp_path / 'shop.sqlite3'}"), "shop.sqlite3")


def _environment(folder: Path, url: str) -> dict[str, str]:
    return {"VAR_DIR": str(folder), "DATABASE_URL": url, "DATABASE_OWNER_URL": "", "SECRET_KEY": KEY, "DEBUG": "1", "LOG_LEVEL": "WARNING"}


def test_a_database_is_made_taken_back_brought_forward_and_emptied(place: Place, tmp_path: Path) -> None:
    made = place.run("db", "init", "--json")
    customer = place.run("create_customer", "--name", "Shops")
    (tmp_path / "demo-access.json").write_text("{}")
    back = place.run("db", "downgrade", "registry", "0003", "--yes", "registry", "--json")
    forward = place.run("db", "upgrade", "--json")
    unconfirmed = place.run("db", "reset", "--yes", "another")
    emptied = place.run("db", "reset", "--yes", place.name)
    afterwards = place.run("splits", "list")

    assert ('"waiting": []' in made.stdout, customer.returncode) == (True, 0), made.stderr
    assert '"registry.0004_deleted_versions"' in back.stdout, back.stderr
    assert '"waiting": []' in forward.stdout, forward.stderr
    assert (unconfirmed.returncode, "Nothing was done" in unconfirmed.stderr) == (1, True)
    assert (emptied.returncode, (tmp_path / "demo-access.json").exists()) == (0, False), emptied.stderr
    assert (afterwards.returncode, "no customer yet" in afterwards.stderr) == (3, True)


@pytest.mark.parametrize(
    "arguments", [("db", "reset", "--yes", "shop.sqlite3"), ("db", "downgrade", "registry", "zero", "--yes", "registry"), ("db", "migrate")]
)
def test_outside_development_nothing_is_dropped_or_written(place: Place, arguments: tuple[str, ...]) -> None:
    refused = place.run(*arguments, DEBUG="0")

    assert (refused.returncode, "in development" in refused.stderr) == (1, True), refused.stderr


def test_a_downgrade_never_goes_forward(place: Place) -> None:
    assert place.run("db", "downgrade", "registry", "0003", "--yes", "registry").returncode == 2


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_on_postgresql_only_our_own_tables_are_dropped(tmp_path: Path) -> None:
    name = f"reset_{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")
        cursor.execute(f"CREATE DATABASE {name}")
    url = os.environ["DATABASE_URL"].rsplit("/", 1)[0] + f"/{name}"
    place = Place(_environment(tmp_path, url), name)
    try:
        made = place.run("db", "init")
        place.run("create_customer", "--name", "Shops")
        with psycopg.connect(url) as theirs:
            theirs.execute("SET ROLE NONE")
            theirs.execute("CREATE TABLE somebody_elses (id int)")
        emptied = place.run("db", "reset", "--yes", name)
        afterwards = place.run("splits", "list")
        with psycopg.connect(url) as theirs:
            assert theirs.execute("SELECT to_regclass('somebody_elses')").fetchone() != (None,)

        assert (made.returncode, emptied.returncode) == (0, 0), made.stderr + emptied.stderr
        assert (afterwards.returncode, "no customer yet" in afterwards.stderr) == (3, True)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE NONE")
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.close()


def test_the_script_says_what_there_is_and_what_is_missing(place: Place) -> None:
    overview = place.run()
    keyless = place.run("models", "list", SECRET_KEY="")

    assert (overview.returncode, "export-metrics" in overview.stdout) == (0, True)
    assert (keyless.returncode, keyless.stderr.startswith("Error: SECRET_KEY")) == (1, True)


def test_a_file_in_the_present_folder_takes_no_modules_place(place: Place, tmp_path: Path) -> None:
    for module in ("timeit", "polars", "experiments", "celery"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(99)")

    ended = place.run("splits", "list", "--help", cwd=tmp_path)

    assert (ended.returncode, "--status" in ended.stdout) == (0, True), ended.stderr


def test_a_reader_that_has_seen_enough_is_no_error(place: Place) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    program = [sys.executable, "-P", "-c", "from mlops.command_line import main; main()", "help"]
    environment = {**os.environ, **place.environment, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(program, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)

    assert (ended.returncode, ended.stderr) == (141, "")
