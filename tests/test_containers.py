"""compose.yaml, .env.example and the Dockerfile agree with each other and with the code; no container engine is needed to see it."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from tests.plugin import missing
from tests.servers import NoServer, PostgresServer

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = (ROOT / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:[-?][^}]*)?\}")


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_env_example_names_exactly_the_variables_that_compose_reads() -> None:
    assert {name for name, _ in _VARIABLE.findall(COMPOSE)} == set(example())


def test_what_has_no_default_is_left_empty_in_the_example_and_demanded_by_compose() -> None:
    demanded = {name for name, default in _VARIABLE.findall(COMPOSE) if default.startswith(":?")}
    secret = {"SECRET_KEY", "POSTGRES_PASSWORD", "OWNER_PASSWORD", "APP_PASSWORD"}

    assert demanded == secret
    assert {example()[name] for name in secret} == {""}


def test_the_environment_of_our_services_is_read_by_settings() -> None:
    settings = (ROOT / "mlops" / "settings.py").read_text()

    given = {name for service in OURS for name in SERVICES[service]["environment"]}

    assert {name for name in given if f'"{name}"' not in settings} == set()


@pytest.mark.parametrize("service", [name for name in OURS if "command" in SERVICES[name]])
def test_every_command_of_our_services_exists(service: str) -> None:
    program, *arguments = SERVICES[service]["command"]

    if program == "python":
        assert arguments[0] == "manage.py"
        assert arguments[1] in get_commands()
    else:
        assert program == "celery"
        assert arguments[:2] == ["-A", "mlops"]
        assert arguments[2] in {"worker", "beat"}


def test_the_queues_that_workers_serve_are_those_the_settings_name() -> None:
    settings = (ROOT / "mlops" / "settings.py").read_text()

    served = {command[command.index("-Q") + 1] for service in OURS if "-Q" in (command := SERVICES[service].get("command", []))}

    assert served == {"jobs", "events", "deliveries"}
    assert {queue for queue in served if f'"{queue}"' not in settings} == set()


def test_only_migrations_know_the_owner_of_the_tables() -> None:
    knowing = {name for name, service in SERVICES.items() if "DATABASE_OWNER_URL" in service.get("environment", {})}

    assert knowing == {"migrate"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_a_health_check_and_runs_without_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]

    assert name == "web" or "healthcheck" in service  # the image's own check is the web's
    assert "privileged" not in service
    assert name not in OURS or service["cap_drop"] == ["ALL"]


def test_depends_on_names_services_that_exist() -> None:
    wanted = {other for service in SERVICES.values() for other in service.get("depends_on", {})}

    assert wanted <= set(SERVICES)


def test_the_image_installs_the_runtime_lock_with_hashes_and_drops_root() -> None:
    lines = (ROOT / "Dockerfile").read_text()

    users = re.findall(r"^USER (\w+)$", lines, re.MULTILINE)

    assert users[-1:] == ["tiltyard"]
    assert "--require-hashes" in lines
    assert "COPY requirements.txt" in lines


def test_the_image_starts_a_server_that_the_lock_contains_on_a_module_that_exists() -> None:
    dockerfile, lock = (ROOT / "Dockerfile").read_text(), (ROOT / "requirements.txt").read_text()

    assert "granian --interface rsgi" in dockerfile
    assert re.search(r"^granian==", lock, re.MULTILINE)
    assert importlib.util.find_spec("mlops.rsgi") is not None


def test_no_file_of_the_image_is_left_out_of_it() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20).stdout.split()

    needed = {"mlops", "engine", "registry", "manage.py", "requirements.txt"} & {Path(name).parts[0] for name in tracked}

    assert needed
    assert not needed & ignored


def manage(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    environment = {**os.environ, "SECRET_KEY": "x" * 50, "DJANGO_SETTINGS_MODULE": "mlops.settings", **env}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL as its image starts it: nobody in it but the superuser."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(PostgresServer(bare=True))
        except NoServer as error:
            missing(str(error))


def test_its_database_logins_let_the_owner_migrate_and_keep_the_application_restricted(server: PostgresServer, tmp_path: Path) -> None:
    script = yaml.safe_load(COMPOSE)["configs"]["roles"]["content"].replace("$$", "$")
    sql = script.partition("<<'SQL'\n")[2].partition("SQL\n")[0]
    server.run_script(sql, owner="a", app="b")
    env = {"DATABASE_URL": server.url_of("tiltyard"), "VAR_DIR": str(tmp_path)}
    migrated = manage("migrate", "--no-input", **env, DATABASE_OWNER_URL=server.url_of("tiltyard_owner"))
    checked = manage("check", "--database", "default", **env)  # finds an application that owns tables or bypasses policies
    refused = manage("migrate", "registry", "zero", "--no-input", **env)

    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert checked.returncode == 0, checked.stderr
    assert refused.returncode != 0


def test_the_database_roles_script_is_valid_shell() -> None:
    script = yaml.safe_load(COMPOSE)["configs"]["roles"]["content"].replace("$$", "$")

    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=20)

    assert (checked.returncode, checked.stderr) == (0, "")
