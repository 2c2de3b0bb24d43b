"""What the machine or the storage refuses ends a command with a sentence, as JSON where that is wanted, and never with a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError

from experiments.cli.frame import Refusal, refusals
from mlops import command_line
from mlops.tenancy.roles import Principal
from tests.experiments.cli.shell import Ended, shell

pytestmark = pytest.mark.django_db
KIM = ("--as", "kim@example.com")


@pytest.fixture(autouse=True)
def kim(principal: Callable[..., Principal], scope: Principal) -> Principal:
    return principal("ml_manager", "kim@example.com")


def split(path: object) -> Ended:
    return shell("splits", "create", "--name", "houses", "--target", "y", "--task", "regression", "--file", path, "--json", *KIM)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n" + "".join(f"{one},{one}\n" for one in range(30)))
    return path


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "nonsense://nowhere/", "file:///dev/null/artifacts"])
def test_a_storage_that_cannot_be_reached_is_told(settings: Any, table: Path, url: str) -> None:
    settings.ARTIFACT_STORAGE_URL = url

    ended = split(table)

    assert (ended.code, ended.out) == (1, "")
    assert ended.error["code"] in ("storage_unavailable", "system_error")
    assert "The cause: " in ended.error["detail"]


def test_a_file_that_cannot_be_read_is_named_by_its_option(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_long = split("x" * 300)
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    forbidden = split(table)

    assert [(one.code, one.error["errors"][0]["field"]) for one in (too_long, forbidden)] == [(2, "--file")] * 2
    assert "Permission denied" in forbidden.error["errors"][0]["message"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (OSError(28, "No space left on device"), "storage_full"),
        (GenericError("no route\n\nDebug source:"), "storage_unavailable"),
        (OSError(97, "Address family not supported by protocol"), "system_error"),
    ],
)
def test_each_trouble_has_a_code_and_one_line(failure: Exception, code: str) -> None:
    with pytest.raises(Refusal) as refused, refusals():
        raise failure

    assert (refused.value.code, str(refused.value).count("\n")) == (code, 0)


def test_a_reader_who_left_is_nobodys_trouble() -> None:
    with pytest.raises(BrokenPipeError), refusals():
        raise BrokenPipeError(32, "Broken pipe")


def test_the_overview_names_every_act() -> None:
    from django.core.management import load_command_class

    lines = {line.split()[0]: line for line in command_line.OVERVIEW.splitlines() if line.startswith("  ")}
    commands = ("splits", "experiments", "models", "db", "maintenance")
    missing = {
        f"{name} {act.name}"
        for name in commands
        for act in load_command_class("experiments", name).acts  # type: ignore[attr-defined]
        if act.name not in lines[name]
    }

    assert missing == {"maintenance gcs verify"}, "an alias"
