"""Several people at once: labels without gaps, one champion, one decision, an unbroken trail."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from rest_framework.test import APIClient

from mlops.audit.services import record, verify
from mlops.database.reading import reading
from mlops.errors import DomainError
from mlops.lifecycle.models import Move
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import DecisionRecord, ModelVersion, PromotionRequest, RegisteredModel, RetrainingRun
from registry.services import policy_changes
from registry.services.lookups import lock_model
from registry.services.model_settings import configure_model
from tests.conftest import NOON
from tests.registry.factories import make_champion, make_model, make_version

pytestmark = pytest.mark.django_db(transaction=True)
Api = Callable[..., APIClient]
BASE = "/api/v1/models/demand_forecast"
CROWD = 8


@pytest.fixture
def model(manager: Principal) -> Iterator[RegisteredModel]:
    """A model with a champion, committed; the test goes on in its scope."""
    with acting(manager):
        with transaction.atomic():
            found = make_model()
            make_champion(found)
        yield found


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make all calls at the same moment, each in a thread with a connection of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait(20)
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(60) for future in [pool.submit(run, call) for call in calls]]


def make_versions(model: RegisteredModel, count: int) -> list[ModelVersion]:
    with transaction.atomic():
        return [make_version(model) for _ in range(count)]


def assert_whole(model: RegisteredModel) -> None:
    """One champion, moves without gaps, each continuing where its version stood, and an unbroken audit chain."""
    with reading():
        champions = ModelVersion.objects.filter(model=model, status="champion").count()
        made = list(Move.objects.filter(stream_id=model.pk).order_by("sequence"))
        final = dict(ModelVersion.objects.filter(model=model).values_list("pk", "status"))
    standing: dict[Any, str] = dict.fromkeys(final, "candidate")
    for move in made:
        assert standing[move.object_id] == move.source
        standing[move.object_id] = move.target
    assert champions == 1
    assert standing == final
    assert [move.sequence for move in made] == list(range(1, len(made) + 1))
    assert verify().intact


def test_registrations_at_once_get_labels_without_gaps(api: Api, model: RegisteredModel) -> None:
    clients = [api() for _ in range(CROWD)]

    answers = at_once(*(lambda client=client: client.post(f"{BASE}/versions", {}) for client in clients))

    assert {answer.status_code for answer in answers} == {201}
    assert sorted(answer.json()["version"] for answer in answers) == [f"v{number}" for number in range(2, CROWD + 2)]


def test_one_label_wanted_by_all_is_given_once(api: Api, model: RegisteredModel) -> None:
    clients = [api() for _ in range(CROWD)]

    answers = at_once(*(lambda client=client: client.post(f"{BASE}/versions", {"version": "blue"}) for client in clients))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (CROWD - 1)


def test_promotions_at_once_leave_exactly_one_champion(api: Api, model: RegisteredModel) -> None:
    versions = make_versions(model, CROWD)
    client = api()
    token = {"HTTP_AUTHORIZATION": client._credentials["HTTP_AUTHORIZATION"]}

    answers = at_once(*(lambda one=one: APIClient().post(f"{BASE}/promote/{one.version}", {}, **token) for one in versions))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert_whole(model)
    with reading():
        assert DecisionRecord.objects.filter(kind="promotion").count() == 1 + sum(answer.status_code == 200 for answer in answers)


def test_one_version_promoted_by_all_is_promoted_once(api: Api, model: RegisteredModel) -> None:
    make_versions(model, 1)
    clients = [api() for _ in range(CROWD)]

    answers = at_once(*(lambda client=client: client.post(f"{BASE}/promote/v2", {}) for client in clients))

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (CROWD - 1)
    assert_whole(model)


def test_of_all_who_read_one_revision_only_one_decides(api: Api, model: RegisteredModel) -> None:
    versions = make_versions(model, 4)
    clients = [api() for _ in versions]
    seen = {"If-Match": clients[0].get(BASE)["ETag"]}
    pairs = zip(clients, versions, strict=True)

    answers = at_once(*(lambda c=client, v=one: c.post(f"{BASE}/promote/{v.version}", {}, headers=seen) for client, one in pairs))

    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    assert_whole(model)


def test_a_promotion_racing_an_archive_ends_in_one_of_both(api: Api, model: RegisteredModel) -> None:
    make_versions(model, 1)
    first, second = api(), api()

    promoted, archived = at_once(
        lambda: first.post(f"{BASE}/promote/v2", {}), lambda: second.post(f"{BASE}/versions/v2/archive", {"reason": "Worse."})
    )

    assert sorted([promoted.status_code, archived.status_code]) == [200, 409]
    assert_whole(model)


def test_approving_and_rejecting_at_once_decides_once(api: Api, model: RegisteredModel) -> None:
    with transaction.atomic():
        RegisteredModel.objects.update(policy={"four_eyes": True})
    make_versions(model, 1)
    where = api(email="kim@shop.example").post(f"{BASE}/promote/v2")["Location"]
    yes, no = api(email="lee@shop.example"), api(email="max@shop.example")

    approved, rejected = at_once(lambda: yes.post(f"{where}/approve", {}), lambda: no.post(f"{where}/reject", {"reason": "Too early."}))

    assert sorted([approved.status_code, rejected.status_code]) == [200, 409]
    with reading():
        request = PromotionRequest.objects.get()
        status = ModelVersion.objects.get(version="v2").status
    assert (request.status, status) == (("approved", "champion") if approved.status_code == 200 else ("rejected", "candidate"))
    assert_whole(model)


def decide_policy(request_id: UUID, by: Principal, *, approves: bool) -> str:
    """What came of the decision: the request's status, or the code of the refusal."""
    with acting(by):
        try:
            if approves:
                return policy_changes.approve(request_id=request_id, by=by, at=NOON)[0].status
            return policy_changes.reject(request_id=request_id, by=by, at=NOON, reason="No.").status
        except DomainError as refusal:
            return refusal.code


@pytest.mark.parametrize("one_approval_in", [1, 2])
def test_a_looser_policy_is_decided_once_by_all_who_decide_at_once(
    model: RegisteredModel, principal: Callable[..., Principal], one_approval_in: int
) -> None:
    kim = principal("ml_manager", "kim@shop.example")
    managers = [principal("ml_manager", f"m{number}@shop.example") for number in range(4)]
    with transaction.atomic():
        RegisteredModel.objects.update(policy={"four_eyes": True, "min_improvement_pct": 6.0})
        changes = {"policy": {"min_improvement_pct": 3.0}}
        asked = configure_model(model=model, changes=changes, by=kim, at=NOON).request
    assert asked is not None

    said = at_once(
        *(lambda by=by, n=n: decide_policy(asked.pk, by, approves=n % one_approval_in == 0) for n, by in enumerate(managers)),
    )

    assert sorted(said)[:3] == ["already_decided"] * 3
    with reading():
        asked.refresh_from_db()
        found = RegisteredModel.objects.get()
    granted = asked.status == "approved"
    assert asked.status in said
    assert (found.policy["min_improvement_pct"], found.policy_revision) == ((3.0, 2) if granted else (6.0, 1))
    assert_whole(model)


def test_wishing_at_once_makes_one_request(api: Api, model: RegisteredModel) -> None:
    with transaction.atomic():
        RegisteredModel.objects.update(policy={"four_eyes": True})
    clients = [api() for _ in range(4)]

    answers = at_once(*(lambda client=client: client.patch(BASE, {"policy": {"four_eyes": False}}) for client in clients))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["policy_request"]["id"] for answer in answers}) == 1


def test_approvals_at_once_promote_once(api: Api, model: RegisteredModel) -> None:
    with transaction.atomic():
        RegisteredModel.objects.update(policy={"four_eyes": True})
    make_versions(model, 1)
    where = api(email="kim@shop.example").post(f"{BASE}/promote/v2")["Location"]
    clients = [api(email=f"m{number}@shop.example") for number in range(4)]

    answers = at_once(*(lambda client=client: client.post(f"{where}/approve", {}) for client in clients))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    with reading():
        assert DecisionRecord.objects.filter(version__version="v2").count() == 1
    assert_whole(model)


def test_asking_at_once_makes_one_request(api: Api, model: RegisteredModel) -> None:
    with transaction.atomic():
        RegisteredModel.objects.update(policy={"four_eyes": True})
    make_versions(model, 1)
    clients = [api() for _ in range(4)]

    answers = at_once(*(lambda client=client: client.post(f"{BASE}/promote/v2", {}) for client in clients))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["promotion_request"]["id"] for answer in answers}) == 1


def test_registering_one_name_at_once_makes_one_model(api: Api, model: RegisteredModel) -> None:
    clients = [api() for _ in range(4)]

    answers = at_once(*(lambda client=client: client.post("/api/v1/models", {"name": "price"}) for client in clients))

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


@pytest.mark.postgres_only
def test_what_comes_to_refer_to_a_model_waits_for_nobody_who_holds_it(model: RegisteredModel) -> None:
    """Its reference is checked when it commits, and it may hold the head of the audit trail by then, for which the other waits."""
    held, referred = Event(), Event()

    def decide() -> None:
        with transaction.atomic(), acting(system(model.customer_id)):
            lock_model(model.pk)
            held.set()
            assert referred.wait(20)
            record(action="decided", target=model, label="x", at=NOON)

    def refer() -> None:
        assert held.wait(20)
        with transaction.atomic(), acting(system(model.customer_id)):
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '5s'")
            RetrainingRun.objects.create(model=model, model_name=model.name, trigger_type="manual", requested_by="x", started_at=NOON)
            record(action="referred", target=model, label="x", at=NOON)
            referred.set()

    at_once(decide, refer)

    with transaction.atomic():
        assert verify().intact
