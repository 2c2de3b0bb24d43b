"""One mechanism moves everything: by its table, by whom it allows, once."""

from contextlib import nullcontext
from itertools import product
from threading import Barrier
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.transaction import TransactionManagementError

from mlops.audit.models import AuditEvent
from mlops.lifecycle.diagram import mermaid
from mlops.lifecycle.mechanism import IllegalMove, move
from mlops.lifecycle.models import Move
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Forbidden, Principal, Role, system
from registry.models import ModelVersion, RegisteredModel
from registry.states import VERSION_LIFECYCLE, VersionStatus
from tests.conftest import NOON
from tests.mlops.helpers import in_threads

pytestmark = pytest.mark.django_db

# Spelled out a second time on purpose: changing the lifecycle means changing it here too.
LEGAL = {
    ("candidate", "shadow"), ("candidate", "challenger"), ("candidate", "champion"), ("candidate", "archived"),
    ("shadow", "challenger"), ("shadow", "champion"), ("shadow", "archived"),
    ("challenger", "shadow"), ("challenger", "champion"), ("challenger", "archived"),
    ("deprecated", "champion"), ("deprecated", "archived"),
}  # fmt: skip
FORCED = {("champion", "deprecated")}


def make_version(status: str = "candidate", number: int = 1, model: RegisteredModel | None = None) -> ModelVersion:
    owner = model or RegisteredModel.objects.create(name=f"demand-{uuid4()}", created_by="kim", created_at=NOON)
    values = {"model": owner, "model_name": owner.name, "number": number, "version": f"v{number}"}
    return ModelVersion.objects.create(status=status, status_changed_at=NOON, created_by="kim", created_at=NOON, **values)


def to(version: ModelVersion, status: str, *, by: Principal, forced: bool = False) -> Move:
    return move(VERSION_LIFECYCLE, version, status, label="Demand v1", actor=by, at=NOON, reason="because", forced=forced)


@pytest.mark.parametrize(("current", "wanted"), list(product(VersionStatus.values, VersionStatus.values)))
def test_the_table_is_kept_in_every_cell(scope: Principal, current: str, wanted: str) -> None:
    version = make_version(current)
    legal = (current, wanted) in LEGAL

    with nullcontext() if legal else pytest.raises(IllegalMove):
        to(version, wanted, by=scope)

    version.refresh_from_db()
    assert version.status == (wanted if legal else current)
    assert Move.objects.filter(object_id=version.pk).count() == legal
    assert AuditEvent.objects.filter(object_id=str(version.pk)).count() == legal


@pytest.mark.parametrize(("current", "wanted"), sorted(FORCED))
def test_what_only_follows_from_another_move_is_nobodys_choice(scope: Principal, current: str, wanted: str) -> None:
    version = make_version(current)
    with pytest.raises(IllegalMove):
        to(version, wanted, by=scope)

    to(version, wanted, by=scope, forced=True)

    assert ModelVersion.objects.get(pk=version.pk).status == wanted


def test_a_refusal_says_what_is_allowed(scope: Principal) -> None:
    with pytest.raises(IllegalMove, match="is shadow and cannot become deprecated") as refusal:
        to(make_version("shadow"), "deprecated", by=scope)

    assert refusal.value.allowed == ["challenger", "champion", "archived"]


@pytest.mark.parametrize(
    ("status", "way_out"),
    [
        ("champion", "nothing by itself; it becomes deprecated when another version takes its place"),
        ("archived", "nothing: it is an end state"),
    ],
)
def test_a_refusal_says_how_a_status_is_left_that_nobody_leaves(scope: Principal, status: str, way_out: str) -> None:
    with pytest.raises(IllegalMove) as refusal:
        to(make_version(status), "shadow", by=scope)

    assert str(refusal.value) == f"Demand v1 is {status} and cannot become shadow. Allowed from {status}: {way_out}."


def test_a_role_too_low_moves_nothing(scope: Principal, customer: Customer) -> None:
    version = make_version("shadow")

    with pytest.raises(Forbidden):
        to(version, "champion", by=Principal("user", "kim", Role.DATA_SCIENTIST, customer.pk))

    assert ModelVersion.objects.get(pk=version.pk).status == "shadow"


def test_history_and_trail_tell_the_same_story(scope: Principal) -> None:
    version = make_version()
    for status in ("shadow", "challenger", "shadow"):
        to(version, status, by=scope)

    moves = list(Move.objects.filter(stream_id=version.stream_id).order_by("sequence"))
    events = list(AuditEvent.objects.filter(object_id=str(version.pk)).order_by("number"))

    assert [(one.sequence, one.source, one.target) for one in moves] == [
        (1, "candidate", "shadow"),
        (2, "shadow", "challenger"),
        (3, "challenger", "shadow"),
    ]
    assert [one.audit_number for one in moves] == [event.number for event in events]
    assert [(event.before["status"], event.after["status"]) for event in events] == [(one.source, one.target) for one in moves]


def test_history_cannot_be_rewritten(scope: Principal) -> None:
    to(make_version(), "shadow", by=scope)

    with pytest.raises(IntegrityError), transaction.atomic():
        Move.objects.update(reason="another")


@pytest.mark.django_db(transaction=True)
def test_a_move_needs_the_transaction_that_locked_its_object(customer: Customer) -> None:
    with scoped(customer.pk), transaction.atomic():
        version = make_version()

    with scoped(customer.pk), pytest.raises(TransactionManagementError):
        to(version, "shadow", by=system(customer.pk))


def test_a_stale_read_cannot_move_what_another_has_moved(scope: Principal) -> None:
    version = make_version("shadow")
    stale = ModelVersion.objects.get(pk=version.pk)
    to(version, "archived", by=scope)

    with pytest.raises(IllegalMove):
        to(stale, "champion", by=scope)

    assert ModelVersion.objects.get(pk=version.pk).status == "archived"


@pytest.mark.django_db(transaction=True)
def test_of_simultaneous_moves_one_wins_even_without_a_lock(customer: Customer) -> None:
    with scoped(customer.pk), transaction.atomic():
        version = make_version("shadow")
    barrier, outcomes = Barrier(4), []

    def race(_: int) -> None:
        with scoped(customer.pk):
            with transaction.atomic():
                mine = ModelVersion.objects.get(pk=version.pk)
            barrier.wait()
            try:
                with transaction.atomic():
                    to(mine, "archived", by=system(customer.pk))
                outcomes.append("moved")
            except IllegalMove:
                outcomes.append("refused")

    raised = in_threads(4, race)

    assert raised == []
    assert sorted(outcomes) == ["moved", "refused", "refused", "refused"]
    with scoped(customer.pk), transaction.atomic():
        assert Move.objects.filter(object_id=version.pk).count() == 1


def test_the_diagram_is_drawn_from_the_table() -> None:
    drawn = mermaid(VERSION_LIFECYCLE)

    assert {f"    {source} --> {target}" for source, target in LEGAL | FORCED} <= set(drawn.splitlines())
    assert drawn.count("-->") == len(LEGAL | FORCED) + 2
