"""The life cycle of versions, spelled out a second time: changing it means changing it here too."""

from contextlib import nullcontext
from itertools import product

import pytest

from mlops.audit.models import AuditEvent
from mlops.audit.services import verify
from mlops.errors import InvalidField
from mlops.lifecycle.mechanism import IllegalMove
from mlops.lifecycle.models import Move
from mlops.tenancy.roles import ACTIONS, Principal, Role
from registry.models import DecisionRecord, ModelVersion
from registry.services import moves, promotion
from registry.states import VERSION_LIFECYCLE, VersionStatus
from tests.conftest import NOON
from tests.registry.factories import make_champion, make_model, make_version

pytestmark = pytest.mark.django_db

LEGAL = {
    ("candidate", "shadow"),
    ("candidate", "challenger"),
    ("candidate", "champion"),
    ("candidate", "archived"),
    ("shadow", "challenger"),
    ("shadow", "champion"),
    ("shadow", "archived"),
    ("challenger", "shadow"),
    ("challenger", "champion"),
    ("challenger", "archived"),
    ("deprecated", "champion"),
    ("deprecated", "archived"),
}
NEEDS = {"shadow": "data_scientist", "challenger": "data_scientist", "champion": "ml_manager", "archived": "ml_manager"}
TARGETS = list(NEEDS)


def move_to(target: str, version: ModelVersion, by: Principal) -> None:
    """The service that makes this move."""
    services = {"shadow": moves.shadow, "challenger": moves.challenge, "champion": promotion.promote, "archived": moves.archive}
    services[target](version_id=version.pk, by=by, at=NOON, reason="Because.")


def version_in(status: str, by: Principal) -> ModelVersion:
    """A version that came there by legal moves, in a model that has another champion."""
    model = make_model()
    make_champion(model)
    version = make_version(model)
    for step in {"deprecated": ["champion"], "candidate": []}.get(status, [status]):
        move_to(step, version, by)
    if status == "deprecated":
        move_to("champion", make_version(model), by)
    version.refresh_from_db()
    assert version.status == status
    return version


@pytest.mark.parametrize(("current", "target"), list(product(VersionStatus.values, TARGETS)))
def test_the_life_cycle_allows_its_moves_and_nothing_else(scope: Principal, current: str, target: str) -> None:
    version = version_in(current, scope)
    legal = (current, target) in LEGAL
    before = (Move.objects.filter(object_id=version.pk).count(), AuditEvent.objects.filter(object_id=str(version.pk)).count())

    with nullcontext() if legal else pytest.raises(IllegalMove):
        move_to(target, version, scope)

    version.refresh_from_db()
    after = (Move.objects.filter(object_id=version.pk).count(), AuditEvent.objects.filter(object_id=str(version.pk)).count())
    assert version.status == (target if legal else current)
    assert after == (before[0] + legal, before[1] + legal)
    assert ModelVersion.objects.filter(model=version.model_id, status="champion").count() == 1
    assert verify().intact


@pytest.mark.parametrize("target", ["candidate", "deprecated"])
@pytest.mark.parametrize("current", VersionStatus.values)
def test_nobody_moves_a_version_to_candidate_or_deprecated(scope: Principal, current: str, target: str) -> None:
    with pytest.raises(IllegalMove):
        VERSION_LIFECYCLE.check(label="it", current=current, target=target, actor=scope)


def test_a_move_is_kept_with_who_when_and_why(scope: Principal) -> None:
    version = version_in("candidate", scope)

    moves.shadow(version_id=version.pk, by=scope, at=NOON, reason="See how it does.")

    made = Move.objects.get(object_id=version.pk)
    event = AuditEvent.objects.get(action="version.shadow")
    assert (made.source, made.target, made.actor, made.reason, made.occurred_at) == (
        "candidate",
        "shadow",
        scope.name,
        "See how it does.",
        NOON,
    )
    assert (event.number, event.before, event.after) == (made.audit_number, {"status": "candidate"}, {"status": "shadow"})


def test_a_models_moves_are_numbered_without_gaps(scope: Principal) -> None:
    version = version_in("deprecated", scope)
    move_to("champion", version, scope)

    numbers = list(Move.objects.filter(stream_id=version.model_id).order_by("sequence").values_list("sequence", flat=True))

    assert numbers == list(range(1, len(numbers) + 1))


def test_bringing_a_former_champion_back_is_a_rollback(scope: Principal) -> None:
    version = version_in("deprecated", scope)

    promotion.promote(version_id=version.pk, by=scope, at=NOON, reason="Back.")

    assert DecisionRecord.objects.filter(version=version).latest("audit_number").kind == "rollback"


@pytest.mark.parametrize(("target", "role"), list(product(TARGETS, [Role.VIEWER, Role.DATA_SCIENTIST, Role.ML_MANAGER, Role.ADMIN])))
def test_each_move_needs_its_role(scope: Principal, target: str, role: Role) -> None:
    action = VERSION_LIFECYCLE.moves[VersionStatus.CANDIDATE][VersionStatus(target)]
    somebody = Principal("user", "kim", role, scope.customer_id)

    assert somebody.may(action) == role.includes(Role(NEEDS[target]))
    assert action in ACTIONS


def test_a_rejection_without_a_reason_is_refused(scope: Principal) -> None:
    version = version_in("candidate", scope)

    with pytest.raises(InvalidField, match="Say why"):
        moves.archive(version_id=version.pk, by=scope, at=NOON, reason=" ")
