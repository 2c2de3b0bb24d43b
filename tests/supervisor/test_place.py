"""What is refused before anything starts, and what the state folder keeps."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from mlops.supervisor import place, programs
from mlops.supervisor.__main__ import _seed
from mlops.supervisor.supervise import Program, Supervisor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def supervise(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlops.supervisor", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_in_use_ends_the_start_with_a_message_before_anything_is_made(taken_port: str, tmp_path: Path) -> None:
    result = supervise("up", PORT=taken_port, VAR_DIR=str(tmp_path / "var"))

    assert result.returncode == 1
    assert f"Port {taken_port} on 127.0.0.1 is already in use" in result.stdout
    assert not (tmp_path / "var").exists()


def test_data_that_is_not_there_ends_the_start_with_a_message(tmp_path: Path) -> None:
    result = supervise("run", "--data", str(tmp_path / "sales.csv"), VAR_DIR=str(tmp_path / "var"))

    assert result.returncode == 1
    assert f"DATA={tmp_path / 'sales.csv'}: there is no such file or folder." in result.stdout


@pytest.mark.parametrize("sundays", ["six", "-1", "2.5", "1000", " "])
def test_sundays_that_are_no_number_of_weeks_end_the_start_with_a_message(tmp_path: Path, sundays: str) -> None:
    result = supervise("run", f"--sundays={sundays}", VAR_DIR=str(tmp_path / "var"))

    assert result.returncode == 1
    assert f"SUNDAYS={sundays}: must be a whole number of weeks" in result.stdout
    assert not (tmp_path / "var").exists()


def test_data_and_sundays_reach_the_demo(tmp_path: Path) -> None:
    steps: list[Program] = []
    recorder = cast("Supervisor", SimpleNamespace(step=lambda program: steps.append(program)))

    _seed(recorder, data=tmp_path / "sales.csv", sundays="6")
    _seed(recorder, data=None, sundays="")

    assert [step.command[-5:] for step in steps] == [
        ("seed_demo", "--data", str(tmp_path / "sales.csv"), "--sundays", "6"),
        programs.manage("seed_demo")[-5:],
    ]


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", "http"), ("127.0.0.1", "0"), ("127.0.0.1", "65536"), ("192.0.2.1", "8123")])
def test_an_address_nobody_can_listen_on_is_refused(host: str, port: str) -> None:
    with pytest.raises(place.Refused):
        place.check_address(host, port)


def test_the_secret_key_is_long_private_and_kept(tmp_path: Path) -> None:
    first = place.secret_key(tmp_path)

    second = place.secret_key(tmp_path)

    assert first == second
    assert len(first) >= 50
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_commands_in_another_shell_know_the_address(tmp_path: Path) -> None:
    place.keep_address(tmp_path, "http://127.0.0.1:8591")
    program = "from mlops import settings; print(settings.PUBLIC_URL)"
    bare = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT", "PUBLIC_URL")}

    def told(**env: str) -> str:
        values = {**bare, "VAR_DIR": str(tmp_path), "SECRET_KEY": "x" * 50, **env}
        return subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=values, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert told() == "http://127.0.0.1:8591"
    assert told(PORT="8600") == "http://127.0.0.1:8600"
    assert told(PUBLIC_URL="https://tiltyard.example.org/") == "https://tiltyard.example.org"


STATE = """
import json, django
django.setup()
from django.conf import settings
from mlops.artifacts.storage import storage
storage().put_bytes("kept/one", b"1")
print(json.dumps([str(settings.DATABASES["default"]["NAME"]), str(storage().local_root), settings.EMAIL_FILE_PATH]))
"""


def test_all_state_is_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "v #1?x%20"
    known = ("HOST", "PORT", "PUBLIC_URL", "DATABASE_URL", "BROKER_URL")
    bare = {name: value for name, value in os.environ.items() if name not in known}
    env = {**bare, "VAR_DIR": str(folder), "SECRET_KEY": "x" * 50, "DEBUG": "true", "DJANGO_SETTINGS_MODULE": "mlops.settings"}

    told = subprocess.run([sys.executable, "-c", STATE], cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout

    assert json.loads(told) == [str(folder / "tiltyard.sqlite3"), str(folder / "artifacts"), str(folder / "mail")]
    assert (folder / "artifacts" / "kept" / "one").read_bytes() == b"1"


SET = """
from mlops import settings
print([str(settings.VAR_DIR), settings.DATABASES["default"]["NAME"], settings.ARTIFACT_STORAGE_URL, settings.PORT, settings.DEBUG])
"""


def test_an_empty_variable_is_no_variable() -> None:
    names = ("VAR_DIR", "DATABASE_URL", "DATABASE_OWNER_URL", "ARTIFACT_STORAGE_URL", "BROKER_URL", "PORT", "DEBUG", "MAX_BODY_BYTES")
    bare = {name: value for name, value in os.environ.items() if name not in names} | {"SECRET_KEY": "x" * 50}

    def told(env: dict[str, str]) -> str:
        return subprocess.run([sys.executable, "-c", SET], cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout

    assert told(bare | dict.fromkeys(names, "")) == told(bare)


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "s3//bucket", "file:relative"])
def test_a_storage_we_do_not_know_stops_the_start_with_a_message(tmp_path: Path, url: str) -> None:
    env = {**os.environ, "VAR_DIR": str(tmp_path), "SECRET_KEY": "x" * 50, "ARTIFACT_STORAGE_URL": url}
    command = [sys.executable, "-c", "from mlops.command_line import main; main()", "check"]

    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "ARTIFACT_STORAGE_URL" in result.stderr


@pytest.mark.parametrize("url", ["sqlite.db", "nonsense://x", "mysql://db/x", "postgresql://[x"])
@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_OWNER_URL"])
def test_a_database_we_do_not_know_stops_the_start_with_a_message(tmp_path: Path, variable: str, url: str) -> None:
    env = {**os.environ, "VAR_DIR": str(tmp_path), "SECRET_KEY": "x" * 50, variable: url}
    command = [sys.executable, "-c", "from mlops.command_line import main; main()", "check"]

    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert variable in result.stderr


def test_the_state_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    folder.mkdir(mode=0o755)

    place.open_state_folder(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(place.Refused, match="Set VAR_DIR"):
        place.open_state_folder(tmp_path / "file" / "var")


def test_a_lock_whose_holder_is_dead_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    held = place.lock(tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    os.pwrite(held, f"{dead.pid}\n".encode().ljust(16), 0)

    with pytest.raises(place.Refused):
        place.lock(tmp_path, patience_s=0.3)

    os.close(held)
    os.close(place.lock(tmp_path))
