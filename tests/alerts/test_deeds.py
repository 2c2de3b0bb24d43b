"""What approving does, on real models."""

from collections.abc import Callable
from uuid import UUID

import pytest

from alerts.models import MLAlert
from alerts.services import deeds, inbox
from alerts.states import AlertType
from experiments.services.retraining import end_without_version
from mlops.jobs.models import Job
from mlops.jobs.services import AlreadyRunning
from mlops.outbox.models import Message
from mlops.outbox.services import handle
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal, Role
from mlops.tenancy.services import create_api_key
from mlops.waiting import everything
from registry.events import EmergencyRollback
from registry.models import ModelVersion, PromotionRequest, RegisteredModel, RetrainingRun
from registry.services import promotion
from registry.services.four_eyes import AlreadyDecided, OwnProposal
from registry.states import RetrainingStatus, Trigger
from tests.alerts.factories import NOON, make_alert
from tests.registry.factories import make_champion, make_dataset, make_model, make_request, make_version


def somebody(name: str, scope: Principal) -> Principal:
    return Principal(kind="user", name=name, role=Role.ML_MANAGER, customer_id=scope.customer_id)


def about(version: ModelVersion, alert_type: AlertType, **details: str) -> MLAlert:
    values = {"version_id": str(version.pk), **details}
    return make_alert(alert_type=alert_type, cause=f"{alert_type}:{version.pk}", version=version.version, details=values)


@pytest.fixture
def model(scope: Principal) -> RegisteredModel:
    """A forecast model with data, a former champion and a champion."""
    found = make_model()
    make_dataset(models=[found])
    make_champion(found)
    make_champion(found)
    return found


def four_eyes(model: RegisteredModel) -> None:
    RegisteredModel.objects.filter(pk=model.pk).update(policy={"four_eyes": True})


def champion(model: RegisteredModel) -> str:
    return ModelVersion.objects.get(model=model, status="champion").version


def test_every_type_has_a_deed() -> None:
    assert set(deeds.DEEDS) == set(AlertType)


@pytest.mark.parametrize(
    ("alert_type", "trigger"), [(AlertType.DRIFT_DETECTED, Trigger.DRIFT_DETECTED), (AlertType.FEEDBACK_DRIFT, Trigger.FEEDBACK)]
)
def test_drift_retrains_with_its_own_trigger(alert_type: AlertType, trigger: Trigger, model: RegisteredModel, scope: Principal) -> None:
    alert = inbox.approve(alert_id=make_alert(alert_type=alert_type).pk, by=scope, at=NOON, notes="Go.")

    run = RetrainingRun.objects.get()
    assert (run.trigger_type, run.requested_by, run.status) == (trigger, scope.name, "queued")
    assert "Go." in run.reason
    assert alert.outcome == {"deed": "retrain", "retraining_id": str(run.pk), "job_id": str(run.job_id)}


def test_a_retraining_that_runs_already_leaves_the_alert_open(model: RegisteredModel, scope: Principal) -> None:
    inbox.approve(alert_id=make_alert(cause="a").pk, by=scope, at=NOON)
    second = make_alert(cause="b")

    with pytest.raises(AlreadyRunning):
        inbox.approve(alert_id=second.pk, by=scope, at=NOON)

    second.refresh_from_db()
    assert (second.status, Job.objects.filter(kind="retrain").count()) == ("unread", 1)


def test_a_failed_retraining_is_tried_again_for_the_same_reason(model: RegisteredModel, scope: Principal) -> None:
    inbox.approve(alert_id=make_alert().pk, by=scope, at=NOON)
    failed = RetrainingRun.objects.get()
    Job.objects.filter(pk=failed.job_id).update(state="failed")
    assert failed.job_id is not None
    end_without_version(job_id=failed.job_id, status=RetrainingStatus.FAILED, error="No data.", at=NOON)
    alert = make_alert(alert_type=AlertType.RETRAIN_FAILED, cause="r", details={"retraining_id": str(failed.pk)})

    inbox.approve(alert_id=alert.pk, by=scope, at=NOON)

    assert RetrainingRun.objects.get(status="queued").trigger_type == Trigger.DRIFT_DETECTED


def test_a_winner_is_promoted(model: RegisteredModel, scope: Principal) -> None:
    winner = make_version(model)

    alert = inbox.approve(alert_id=about(winner, AlertType.PROMOTION_PENDING).pk, by=scope, at=NOON, notes="Convincing.")

    assert champion(model) == winner.version
    assert alert.outcome["outcome"] == "promoted"


def test_a_pending_request_is_granted_by_somebody_else(model: RegisteredModel, scope: Principal) -> None:
    four_eyes(model)
    request = make_request(make_version(model), by=somebody("asking@example.com", scope))

    inbox.approve(alert_id=about(request.version, AlertType.PROMOTION_PENDING, request_id=str(request.pk)).pk, by=scope, at=NOON)

    request.refresh_from_db()
    assert (request.status, request.decided_by, champion(model)) == ("approved", scope.name, request.version.version)


def test_whoever_asked_cannot_approve_through_the_alert(model: RegisteredModel, scope: Principal) -> None:
    four_eyes(model)
    request = make_request(make_version(model), by=scope)
    alert = about(request.version, AlertType.PROMOTION_PENDING, request_id=str(request.pk))

    with pytest.raises(OwnProposal):
        inbox.approve(alert_id=alert.pk, by=scope, at=NOON)

    alert.refresh_from_db()
    assert (alert.status, champion(model)) == ("unread", "v2")


def test_a_request_decided_elsewhere_names_who_was_first(model: RegisteredModel, scope: Principal) -> None:
    four_eyes(model)
    request = make_request(make_version(model), by=somebody("asking@example.com", scope))
    alert = about(request.version, AlertType.PROMOTION_PENDING, request_id=str(request.pk))
    promotion.reject(request_id=request.pk, by=somebody("first@example.com", scope), at=NOON, reason="Not yet.")

    with pytest.raises(AlreadyDecided, match=r"first@example\.com"):
        inbox.approve(alert_id=alert.pk, by=scope, at=NOON)


def test_with_four_eyes_a_winners_alert_asks_a_second_manager(model: RegisteredModel, scope: Principal) -> None:
    four_eyes(model)
    winner = make_version(model)

    alert = inbox.approve(alert_id=about(winner, AlertType.PROMOTION_PENDING).pk, by=scope, at=NOON)

    assert (alert.outcome["outcome"], champion(model)) == ("pending", "v2")
    assert PromotionRequest.objects.get().requested_by == scope.name


@pytest.mark.parametrize("alert_type", [AlertType.BACKTEST_DEGRADATION, AlertType.VALIDATION_REGRESSION, AlertType.ENDPOINT_UNHEALTHY])
def test_degradation_rolls_back_to_the_last_former_champion(alert_type: AlertType, model: RegisteredModel, scope: Principal) -> None:
    degraded = model.versions.get(version="v2")
    alert = about(degraded, alert_type)
    assert "v1" in deeds.preview(alert)

    inbox.approve(alert_id=alert.pk, by=scope, at=NOON, notes="Back.")

    assert champion(model) == "v1"


def test_rolling_back_what_is_champion_no_more_is_refused(model: RegisteredModel, scope: Principal) -> None:
    alert = about(model.versions.get(version="v1"), AlertType.BACKTEST_DEGRADATION)

    with pytest.raises(deeds.Overtaken, match="v2 is"):
        inbox.approve(alert_id=alert.pk, by=scope, at=NOON)

    assert (champion(model), deeds.preview(alert)[:12]) == ("v2", "Not possible")


def test_a_first_champion_has_nothing_to_roll_back_to(scope: Principal) -> None:
    version = make_champion(make_model())

    with pytest.raises(deeds.NothingToRollBackTo):
        inbox.approve(alert_id=about(version, AlertType.BACKTEST_DEGRADATION).pk, by=scope, at=NOON)


def test_an_emergency_is_reviewed_by_somebody_else_who_says_what_was_found(model: RegisteredModel, scope: Principal) -> None:
    alert = about(model.versions.get(version="v2"), AlertType.EMERGENCY_ROLLBACK, actor=scope.name)

    with pytest.raises(OwnProposal):
        inbox.approve(alert_id=alert.pk, by=scope, at=NOON, notes="All well.")
    reviewed = inbox.approve(alert_id=alert.pk, by=somebody("second@example.com", scope), at=NOON, notes="All well.")

    assert (reviewed.status, reviewed.notes) == ("actioned", "All well.")


@pytest.mark.parametrize("alert_type", [AlertType.PROMOTION_PENDING, AlertType.BACKTEST_DEGRADATION])
def test_what_enforced_gates_bar_is_said_beforehand(model: RegisteredModel, scope: Principal, alert_type: AlertType) -> None:
    version = make_version(model) if alert_type == AlertType.PROMOTION_PENDING else model.versions.get(status="champion")
    alert = about(version, alert_type)
    RegisteredModel.objects.filter(pk=model.pk).update(policy={"enforce_gates": True})

    seen = deeds.prospect(alert, by=scope)

    assert "has not been judged" in seen.refusal
    with pytest.raises(promotion.GatesFailed, match="has not been judged"):
        inbox.approve(alert_id=alert.pk, by=scope, at=NOON, notes="Do it.")
    assert MLAlert.objects.get(pk=alert.pk).status == "unread"


def test_what_is_known_of_a_version_is_said_before_it_is_crowned(model: RegisteredModel, scope: Principal) -> None:
    said = deeds.prospect(about(make_version(model), AlertType.PROMOTION_PENDING), by=scope).says

    assert "It was not judged against the present champion. It was registered by its metadata alone" in said


@pytest.mark.parametrize("answer", ["approve", "dismiss"])
def test_nobody_closes_the_review_of_their_own_emergency_through_a_key_of_their_making(
    model: RegisteredModel, scope: Principal, customer: Customer, principal: Callable[..., Principal], answer: str
) -> None:
    admin = principal("admin", "ada@shop.example")
    key, _ = create_api_key(customer=customer, role=Role.ML_MANAGER, name="robot", user=None, at=NOON, by=admin)
    robot = Principal("key", "key:robot", Role.ML_MANAGER, customer.pk, key_id=key.pk)
    promotion.rollback(version_id=model.versions.get(version="v1").pk, by=robot, at=NOON, reason="It burns.", emergency=True)
    message = Message.objects.get(topic=EmergencyRollback.TOPIC)
    handle(message_id=message.pk, attempts=message.attempts, at=NOON)
    alert = MLAlert.objects.get(alert_type=AlertType.EMERGENCY_ROLLBACK)

    rows = {by.name: row for by in (admin, scope) for row in everything(by) if row.kind == "Alert"}
    assert (rows[admin.name].own, rows[admin.name].choices) == (deeds.OWN_REVIEW, ())
    assert (rows[scope.name].own, len(rows[scope.name].choices)) == ("", 2)
    for own in (robot, admin):
        with pytest.raises(OwnProposal):
            getattr(inbox, answer)(alert_id=alert.pk, by=own, at=NOON, notes="All well.")

    assert getattr(inbox, answer)(alert_id=alert.pk, by=scope, at=NOON, notes="All well.").decided_by == scope.name


def test_each_emergency_opens_a_review_of_its_own(model: RegisteredModel, scope: Principal) -> None:
    first, second = (model.versions.get(version=label) for label in ("v1", "v2"))
    for version, by in ((first, "kim@example.com"), (second, "kim@example.com"), (first, "lee@example.com")):
        promotion.rollback(version_id=version.pk, by=somebody(by, scope), at=NOON, reason="It burns.", emergency=True)

    for message in Message.objects.filter(topic=EmergencyRollback.TOPIC):
        handle(message_id=message.pk, attempts=message.attempts, at=NOON)

    alerts = MLAlert.objects.filter(alert_type=AlertType.EMERGENCY_ROLLBACK, status="unread")
    assert sorted(alert.details["actor"] for alert in alerts) == ["kim@example.com", "kim@example.com", "lee@example.com"]


def test_results_are_opened_where_they_are(scope: Principal) -> None:
    alert = make_alert(alert_type=AlertType.EXPERIMENT_COMPLETE, action_url="/api/v1/experiments/1/results")

    assert inbox.approve(alert_id=alert.pk, by=scope, at=NOON).outcome == {"deed": "open_results", "open": "/api/v1/experiments/1/results"}


def test_a_rollback_looks_again_once_it_has_the_model_to_itself(
    model: RegisteredModel, scope: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    complained = ModelVersion.objects.get(model=model, status="champion")
    alert = about(complained, AlertType.BACKTEST_DEGRADATION)
    lock = deeds.lock_model

    def lock_after_another(model_id: UUID) -> RegisteredModel:
        make_champion(model)  # who had the lock before us
        return lock(model_id)

    monkeypatch.setattr(deeds, "lock_model", lock_after_another)

    with pytest.raises(deeds.Overtaken, match="v3 is"):
        inbox.approve(alert_id=alert.pk, by=scope, at=NOON)
