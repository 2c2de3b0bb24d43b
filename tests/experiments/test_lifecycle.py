"""The life cycle of experiments, spelled out a second time: changing it means changing it here too."""

from contextlib import nullcontext
from itertools import product
from typing import Any

import pytest

from experiments.models import Experiment
from experiments.services import concluding, deciding, proposing, running
from experiments.states import EXPERIMENT_LIFECYCLE, ExperimentStatus
from mlops.audit.models import AuditEvent
from mlops.audit.services import verify
from mlops.errors import InvalidField
from mlops.lifecycle.mechanism import IllegalMove
from mlops.lifecycle.models import Move
from mlops.tenancy.roles import ACTIONS, Principal, Role
from tests.conftest import NOON
from tests.experiments.proposals import STEPS, make_experiment

pytestmark = pytest.mark.django_db

LEGAL = {
    ("proposed", "approved"): 1,
    ("proposed", "rejected"): 1,
    ("approved", "in_progress"): 1,
    ("approved", "completed"): 3,
    ("in_progress", "shadow_testing"): 1,
    ("in_progress", "completed"): 2,
    ("in_progress", "rolled_back"): 1,
    ("shadow_testing", "completed"): 1,
    ("shadow_testing", "rolled_back"): 1,
}
"""Source and target of every act, and how many steps it records."""
NEEDS = {"approved": "ml_manager", "rejected": "ml_manager", "in_progress": "data_scientist", "shadow_testing": "data_scientist"}
NEEDS |= {"completed": "ml_manager", "rolled_back": "ml_manager"}


@pytest.mark.parametrize(("current", "target"), list(product(ExperimentStatus.values, STEPS)))
def test_the_life_cycle_allows_its_moves_and_nothing_else(scope: Principal, current: str, target: str) -> None:
    experiment = make_experiment(scope, current)
    before = Move.objects.filter(object_id=experiment.pk).count()
    steps = LEGAL.get((current, target), 0)

    with nullcontext() if steps else pytest.raises(IllegalMove):
        STEPS[target](experiment, scope)

    experiment.refresh_from_db()
    assert experiment.status == (target if steps else current)
    assert Move.objects.filter(object_id=experiment.pk).count() == before + steps
    assert verify().intact


@pytest.mark.parametrize(("target", "role"), list(product(STEPS, [Role.VIEWER, Role.DATA_SCIENTIST, Role.ML_MANAGER, Role.ADMIN])))
def test_each_step_needs_its_role(scope: Principal, target: str, role: Role) -> None:
    actions = {action for _, to, action in EXPERIMENT_LIFECYCLE.edges() if to == target}
    somebody = Principal("user", "kim", role, scope.customer_id)

    assert actions
    assert {somebody.may(action) for action in actions} == {role.includes(Role(NEEDS[target]))}
    assert actions <= set(ACTIONS)


def test_completing_early_records_the_steps_that_nobody_took(scope: Principal) -> None:
    experiment = make_experiment(scope, "approved")

    STEPS["completed"](experiment, scope)

    made = Move.objects.filter(stream_id=experiment.pk).order_by("sequence")
    assert [(one.sequence, one.target) for one in made] == [(1, "approved"), (2, "in_progress"), (3, "shadow_testing"), (4, "completed")]
    assert [one.reason for one in made][1:] == [concluding.SKIPPED, concluding.SKIPPED, "No gain."]


@pytest.mark.parametrize("status", ["proposed", "approved"])
def test_editing_leads_back_to_proposed_and_revokes_the_approval(scope: Principal, status: str) -> None:
    experiment = make_experiment(scope, status)

    proposing.edit(experiment_id=experiment.pk, changes={"hypothesis": "Another one."}, by=scope, at=NOON)

    experiment.refresh_from_db()
    assert (experiment.status, experiment.approved_by, experiment.approved_at, experiment.approval_rationale) == ("proposed", "", None, "")
    assert experiment.hypothesis == "Another one."
    edited = AuditEvent.objects.get(action="experiment.edited")
    assert (edited.before, edited.after) == (
        {"hypothesis": "Electronics demand differs from Grocery."},
        {"hypothesis": "Another one."},
    )
    assert AuditEvent.objects.filter(action="experiment.proposed").count() == (2 if status == "approved" else 1)


def test_an_edit_that_changes_nothing_revokes_nothing(scope: Principal) -> None:
    experiment = make_experiment(scope, "approved")

    proposing.edit(experiment_id=experiment.pk, changes={"hypothesis": experiment.hypothesis}, by=scope, at=NOON)

    after = Experiment.objects.get(pk=experiment.pk)
    assert (after.status, after.revision) == ("approved", experiment.revision)


@pytest.mark.parametrize("status", ["in_progress", "shadow_testing", "completed", "rejected", "rolled_back"])
def test_what_was_begun_or_ended_is_not_edited(scope: Principal, status: str) -> None:
    experiment = make_experiment(scope, status)

    with pytest.raises(IllegalMove, match="cannot be edited"):
        proposing.edit(experiment_id=experiment.pk, changes={"hypothesis": "Another one."}, by=scope, at=NOON)


def test_whoever_edited_cannot_approve_either(scope: Principal) -> None:
    experiment = make_experiment(scope)
    proposing.edit(experiment_id=experiment.pk, changes={"hypothesis": "Another one."}, by=scope, at=NOON)

    with pytest.raises(deciding.OwnExperiment):
        deciding.approve(experiment_id=experiment.pk, by=scope, at=NOON)


@pytest.mark.parametrize("act", [deciding.reject, running.roll_back])
def test_ending_without_a_rationale_is_refused(scope: Principal, act: Any) -> None:
    experiment = make_experiment(scope, "proposed" if act is deciding.reject else "in_progress")

    with pytest.raises(InvalidField, match="Say why"):
        act(experiment_id=experiment.pk, by=scope, at=NOON, rationale=" ")


def test_a_decision_keeps_what_it_rested_on(scope: Principal) -> None:
    experiment = make_experiment(scope, "shadow_testing")
    results = {"baseline_mae": 12.8, "experimental_mae": 13.0}

    concluding.complete(experiment_id=experiment.pk, decision="reject", decision_rationale="Worse.", by=scope, at=NOON, results=results)

    event = AuditEvent.objects.get(action="experiment.completed")
    assert (event.reason, event.after["decision"], event.after["approved_by"]) == ("Worse.", "reject", scope.name)
    assert event.after["results"] == {"baseline_mae": 12.8, "experimental_mae": 13.0, "improvement_pct": -1.5625}
