"""Several people decide about one experiment at once: one decision, an unbroken trail."""

from collections.abc import Callable, Iterator

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from experiments.models import Experiment
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.lifecycle.models import Move
from mlops.outbox.models import Message
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from tests.experiments.proposals import make_experiment
from tests.registry.factories import make_arena
from tests.registry.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)
Api = Callable[..., APIClient]
CROWD = 8
ADOPTION = {
    "decision": "adopt",
    "decision_rationale": "Better.",
    "results": {"baseline_mae": 2.0, "experimental_mae": 1.0},
    "experimental_version": "v3",
}


@pytest.fixture
def committed(manager: Principal) -> Iterator[Callable[[str], Experiment]]:
    """Makes experiments that other connections see; the test goes on in the manager's scope."""

    def make(status: str) -> Experiment:
        with transaction.atomic():
            return make_experiment(manager, status)

    with acting(manager):
        yield make


def moves_to(experiment: Experiment, target: str) -> int:
    with reading():
        return Move.objects.filter(stream_id=experiment.pk, target=target).count()


def test_approvals_at_once_decide_once(api: Api, committed: Callable[[str], Experiment]) -> None:
    experiment = committed("proposed")
    clients = [api(email=f"manager{number}@shop.example") for number in range(CROWD)]

    answers = at_once(*(lambda one=one: one.patch(f"/api/v1/experiments/{experiment.pk}/approve", {}) for one in clients))

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (CROWD - 1)
    winner = next(answer.json() for answer in answers if answer.status_code == 200)
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"illegal_transition"}
    with reading():
        assert Experiment.objects.get().approved_by == winner["approved_by"]
    assert moves_to(experiment, "approved") == 1
    assert verify().intact


def test_approving_racing_an_edit_never_approves_what_nobody_read(api: Api, committed: Callable[[str], Experiment]) -> None:
    experiment = committed("proposed")
    where = f"/api/v1/experiments/{experiment.pk}"
    writer, manager = api("data_scientist"), api(email="lee@shop.example")
    seen = manager.get(where)["ETag"]

    edited, approved = at_once(
        lambda: writer.patch(where, {"hypothesis": "Another one."}),
        lambda: manager.patch(f"{where}/approve", {}, headers={"If-Match": seen}),
    )

    assert edited.status_code == 200
    assert approved.status_code in (200, 412)
    with reading():
        found = Experiment.objects.get()
    assert (found.status, found.approved_by) == ("proposed", "")
    assert verify().intact


def test_completions_at_once_decide_and_promote_once(api: Api, committed: Callable[[str], Experiment]) -> None:
    with transaction.atomic():
        make_arena()
    experiment = committed("approved")
    clients = [api() for _ in range(4)]

    answers = at_once(*(lambda one=one: one.post(f"/api/v1/experiments/{experiment.pk}/complete", ADOPTION) for one in clients))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert moves_to(experiment, "completed") == 1
    with reading():
        assert Message.objects.filter(topic="experiments.experiment_completed").count() == 1
        assert list(ModelVersion.objects.filter(status="champion").values_list("version", flat=True)) == ["v3"]
    assert verify().intact


def test_a_completion_racing_moves_of_its_version_ends_whole(api: Api, committed: Callable[[str], Experiment]) -> None:
    with transaction.atomic():
        make_arena()
    experiment = committed("approved")
    first, second = api(), api()

    completed, archived = at_once(
        lambda: first.post(f"/api/v1/experiments/{experiment.pk}/complete", ADOPTION),
        lambda: second.post("/api/v1/models/demand_forecast/versions/v3/archive", {"reason": "Worse."}),
    )

    assert sorted([completed.status_code, archived.status_code]) == [200, 409]
    assert moves_to(experiment, "completed") == (completed.status_code == 200)
    assert verify().intact
