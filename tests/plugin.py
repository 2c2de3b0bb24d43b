"""Before Django reads its settings, a pytest run gets the servers it asks for; afterwards they are gone, Ctrl-C or not.

`TEST_DATABASE` is `postgresql` (the default) or `sqlite`. `TEST_DATABASE_URL` and `TEST_REDIS_URL` name servers to use instead of starting
some. A server that cannot be had skips the tests that need it, with the reason; under `CI=true` it ends the run as failed.
`--only-database` leaves out the tests that use no database: another one has shown what they show.
Only the process that the user started does this: xdist's workers inherit the environment and take a part of their own of each server.
"""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from mlops import broker
from tests.servers import BrokerServer, NoServer, PostgresServer

_MISSING = "TILTYARD_TEST_MISSING_DATABASE"
_NEEDS_DATABASE = {"db", "transactional_db", "django_db_setup", "live_server", "django_db_reset_sequences", "django_db_serialized_rollback"}
_session = contextlib.ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the second database's run asks for."""
    parser.addoption("--only-database", action="store_true", help="leave out tests that use no database")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Prepare the environment before pytest-django imports the settings in this same hook."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        _take_own_part(int(worker.removeprefix("gw")))
    elif not {"--help", "-h", "--version", "-V"}.intersection(early_config.invocation_params.args):
        _start()
    return (yield)


def pytest_unconfigure() -> None:
    """Stop what this process started; in xdist's workers that is nothing."""
    _session.close()


def pytest_report_header() -> str:
    """Say what the tests run on."""
    return f"database: {os.environ.get('DATABASE_URL', '-')}  broker: {os.environ.get('BROKER_URL', '-')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a database that is not there, and PostgreSQL's own tests on SQLite."""
    if config.getoption("only_database"):
        config.hook.pytest_deselected(items=[item for item in items if not _needs_database(item)])
        items[:] = [item for item in items if _needs_database(item)]
    reason = os.environ.get(_MISSING)
    on_sqlite = os.environ.get("DATABASE_URL", "").startswith("sqlite")
    for item in items:
        if reason and _needs_database(item):
            item.add_marker(pytest.mark.skip(reason=reason))
        elif on_sqlite and item.get_closest_marker("postgres_only"):
            item.add_marker(pytest.mark.skip(reason="only PostgreSQL has this"))
        elif item.get_closest_marker("torture") and os.environ.get("TORTURE") != "1":
            item.add_marker(pytest.mark.skip(reason="at full size only in `make torture`"))


def _needs_database(item: pytest.Item) -> bool:
    return item.get_closest_marker("django_db") is not None or bool(_NEEDS_DATABASE.intersection(getattr(item, "fixturenames", ())))


def missing(reason: str) -> None:
    """Skip the running test for want of something on this machine; under CI=true that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI has to provide this: {reason}")
    pytest.skip(reason)


def _start() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` and CI end a run this way: tidy up as after Ctrl-C
    folder = Path(tempfile.mkdtemp(prefix="tiltyard-tests-"))
    _session.callback(shutil.rmtree, folder, ignore_errors=True)
    os.environ["VAR_DIR"] = str(folder / "var")
    os.environ.pop("DATABASE_OWNER_URL", None)
    os.environ.pop("ARTIFACT_STORAGE_URL", None)
    os.environ["DATABASE_URL"] = _database_url(folder)
    os.environ["BROKER_URL"] = _broker_url()


def _database_url(folder: Path) -> str:
    sqlite = f"sqlite:///{folder / 'var' / 'tiltyard.sqlite3'}"
    wanted = os.environ.get("TEST_DATABASE", "postgresql")
    if wanted == "sqlite":
        return sqlite
    if wanted != "postgresql":
        raise pytest.UsageError(f"TEST_DATABASE={wanted}: expected postgresql or sqlite")
    if given := os.environ.get("TEST_DATABASE_URL"):
        return given
    try:
        return _session.enter_context(PostgresServer()).url
    except NoServer as error:
        if os.environ.get("CI") == "true":
            raise pytest.UsageError(str(error)) from error
        os.environ[_MISSING] = f"no PostgreSQL: {error}"
        return sqlite


def _broker_url() -> str:
    if given := os.environ.get("TEST_REDIS_URL"):
        return given
    if broker.find_server() is None:
        return "filesystem://"
    return _session.enter_context(BrokerServer()).url


def _take_own_part(number: int) -> None:
    """A state folder and a logical broker database per worker; test databases are pytest-django's, one per worker as well."""
    os.environ["VAR_DIR"] = f"{os.environ['VAR_DIR']}-{number}"
    url = os.environ["BROKER_URL"]
    if url.startswith("redis+socket://"):
        os.environ["BROKER_URL"] = url.replace("virtual_host=0", f"virtual_host={number + 1}")
