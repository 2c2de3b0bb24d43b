"""`manage.py splits`: the same rules as the API, by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from experiments.models import Split
from mlops.audit.models import AuditEvent
from mlops.telemetry.context import COMMAND_LINE
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from tests.experiments.cli.shell import shell
from tests.experiments.training.splits import csv, cut_in_process, rows
from tests.experiments.training.studying import make_split, make_study

pytestmark = pytest.mark.django_db
KIM = ("--as", "kim@example.com")
PLAN = ("--name", "houses", "--target", "price", "--task", "regression")


@pytest.fixture(autouse=True)
def kim(principal: Callable[..., Principal], monkeypatch: pytest.MonkeyPatch) -> Principal:
    cut_in_process(monkeypatch)
    return principal("admin", "kim@example.com")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "houses.csv"
    path.write_bytes(csv())
    return path


def test_a_file_is_cut_here_and_shown(scope: Principal, table: Path) -> None:
    ended = shell("splits", "create", *PLAN, "--file", table, "--fractions", 0.5, 0.25, 0.25, "--here", *KIM)

    split = Split.objects.get()
    assert (ended.code, split.status, split.created_by) == (0, "ready", "kim@example.com")
    assert (split.parts["train"]["rows"], split.parts["test"]["rows"]) == (30, 15)
    assert str(split.pk) in ended.out
    assert "categorical" in ended.out, "the profile of the columns is shown"


def test_a_file_waits_for_a_worker_unless_told_otherwise(scope: Principal, table: Path) -> None:
    made = shell("splits", "create", *PLAN, "--file", table, "--json", *KIM).json

    assert (made["status"], bool(made["job_id"])) == ("pending", True)


def test_records_are_cut_at_once_as_the_api_answers_it(scope: Principal, tmp_path: Path, api: Callable[..., object]) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows()))

    made = shell("splits", "create", *PLAN, "--records", path, "--json", *KIM).json

    answered = api("viewer").get(f"/v1/splits/{made['id']}").json()  # type: ignore[attr-defined]
    assert made == answered


def test_a_table_that_cannot_be_cut_fails_and_says_why(scope: Principal, table: Path) -> None:
    ended = shell(
        "splits", "create", "--name", "x", "--target", "weight", "--task", "regression", "--file", table, "--here", "--json", *KIM
    )

    assert (ended.code, ended.error["code"], ended.error["exit_code"]) == (1, "unreadable_file", 1)
    assert "weight" in ended.error["errors"][0]["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--records", "/no/such/file"), "--records"),
        (("--file", "/no/such/file"), "--file"),
        (("--uri", "/etc/passwd"), "uri"),
        (("--uri", "s3://elsewhere/x.csv"), "uri"),
        (("--file", __file__, "--fractions", "0.5", "0.5", "0.5"), "fractions"),
        (("--file", __file__, "--seed", "-1"), "--seed"),
        (("--file", __file__, "--entity-column", "x" * 300), "--entity-column"),
        (("--file", __file__, "--description", "a\udc80"), "--description"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(scope: Principal, arguments: tuple[str, ...], said: str) -> None:
    ended = shell("splits", "create", *PLAN, *arguments, *KIM)

    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert not Split.objects.exists()


@pytest.mark.parametrize("content", [b"[]", b"{}", b"[1]", b'[{"a": NaN}]', b'[{"a": 1, "a": 2}]', b"\xff", b""])
def test_records_that_are_none_are_refused(scope: Principal, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)

    assert shell("splits", "create", *PLAN, "--records", path, *KIM).code == 2


def test_lists_are_filtered_and_paged(scope: Principal) -> None:
    for number in range(3):
        make_split(name=f"split {number}")
    make_split(name="another", task="classification")

    listed = shell("splits", "list", "--task", "regression", "--limit", 2, "--page", 2, "--json").json

    assert (listed["count"], len(listed["results"])) == (3, 1)
    assert "split 1" in shell("splits", "list").out


def test_a_name_cannot_steer_the_terminal(scope: Principal) -> None:
    make_split(name="red\x1b[31m\u202eevil[bold]")

    printed = shell("splits", "list").out

    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "evil[bold]" in printed


def test_changes_and_deletions_are_audited_under_the_name_of_whoever_acts(scope: Principal, kim: Principal) -> None:
    split = make_split()

    changed = shell("splits", "update", split.pk, "--name", "town houses", *KIM)
    deleted = shell("splits", "delete", split.pk, "--json", *KIM)

    events = AuditEvent.objects.filter(object_id=split.pk).order_by("number").values_list("action", "actor")
    assert (changed.code, deleted.json["deleted"]) == (0, True)
    assert list(events) == [("split.changed", kim.name), ("split.deleted", kim.name)]
    assert shell("splits", "read", split.pk).code == 3


def test_what_a_study_rests_on_is_not_deleted(scope: Principal) -> None:
    split = make_split()
    make_study(split=split)

    ended = shell("splits", "delete", split.pk, "--json", *KIM)

    assert (ended.code, ended.error["code"]) == (1, "split_in_use")


def test_the_trail_tells_the_command_line_from_a_session(scope: Principal) -> None:
    split = make_split()

    for name in ("one", "two"):
        assert shell("splits", "update", split.pk, "--name", name, *KIM).code == 0

    events = list(AuditEvent.objects.filter(object_id=split.pk, actor="kim@example.com").values_list("actor_kind", "request_id"))
    assert [(kind, request.startswith(COMMAND_LINE)) for kind, request in events] == [("user", True)] * 2
    assert len({request for _, request in events}) == 2, "each command has an id of its own"


def test_a_role_that_may_not_is_refused(scope: Principal, principal: Callable[..., Principal]) -> None:
    split, viewer = make_split(), principal("viewer")

    ended = shell("splits", "update", split.pk, "--name", "mine", "--as", viewer.name)

    assert (ended.code, "role viewer" in ended.err) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("update", uuid4(), "--name", "x"), 2),
        (("update", uuid4(), "--name", "x", "--as", "stranger@example.com"), 4),
        (("update", uuid4(), "--name", "x", *KIM), 3),
        (("update", uuid4(), *KIM), 2),
        (("read", uuid4()), 3),
        (("read", "seven"), 2),
        (("list", "--limit", "0"), 2),
        (("list", "--status", "odd"), 2),
        (("list", "--customer", uuid4()), 3),
        (("bogus",), 2),
        ((), 2),
    ],
)
def test_every_way_to_end_has_its_exit_code(scope: Principal, arguments: tuple[object, ...], code: int) -> None:
    assert shell("splits", *arguments).code == code


def test_another_customers_split_is_not_found(scope: Principal, customer: Customer, other_customer: Customer) -> None:
    with acting(system(other_customer.pk)):
        foreign = make_split()

    assert shell("splits", "read", foreign.pk, "--customer", customer.pk).code == 3
    assert shell("splits", "delete", foreign.pk, "--customer", other_customer.pk, *KIM).code == 4, "a member of one is none of the other"
    assert shell("splits", "list").code == 2, "with several customers one has to be named"
