"""From news to alerts, through the outbox, at least once."""

from typing import Any

import pytest
from django.urls import resolve

from alerts.models import MLAlert
from alerts.states import AlertType
from experiments.events import ExperimentCompleted
from experiments.services import concluding
from mlops.jobs.events import JobFailed
from mlops.outbox import services as outbox
from mlops.outbox.events import Event
from mlops.outbox.models import Message
from mlops.tenancy.roles import Principal, Role
from registry.events import BacktestDegraded, EmergencyRollback, ModelDrifted, PromotionPending, RetrainFailed
from registry.models import RegisteredModel
from registry.services import moves, promotion
from tests.alerts.factories import NOON, make_alert
from tests.experiments.proposals import make_days, make_experiment
from tests.registry.factories import make_arena, make_champion, make_model, make_request, make_version

VERSION, OTHER = "0" * 8 + "-0000-4000-8000-" + "0" * 12, "1" * 8 + "-0000-4000-8000-" + "0" * 12
DRIFT = ModelDrifted("demand_forecast", VERSION, "v2", "2026-03-01", "high", 0.8, "Worse.", [{"column": "dept_id", "value": "FOODS_3"}])
NEWS: list[tuple[Event, str, str]] = [
    (DRIFT, "drift_detected", "critical"),
    (PromotionPending("demand_forecast", VERSION, "v3", "It won."), "promotion_pending", "warning"),
    (BacktestDegraded("demand_forecast", VERSION, "v2", "9 % worse."), "backtest_degradation", "warning"),
    (RetrainFailed("demand_forecast", VERSION, "No data."), "retrain_failed", "warning"),
    (EmergencyRollback("demand_forecast", VERSION, "v1", "kim@example.com", "It burns."), "emergency_rollback", "critical"),
    (
        ExperimentCompleted(VERSION, "Tiers", "adopt", "Better.", "demand_forecast", VERSION, "v3", 12.5, "kim@example.com"),
        "experiment_complete",
        "info",
    ),
    (JobFailed(VERSION, "run_weekly_backtest", "run weekly backtest", "MemoryError", 3), "job_failed", "warning"),
]


def tell(event: Event) -> None:
    """Publish the event and handle it as a worker does."""
    message = outbox.publish(event, at=NOON)
    outbox.handle(message_id=message.pk, attempts=0, at=NOON)
    message.refresh_from_db()
    assert message.last_error == ""


@pytest.mark.parametrize(("event", "alert_type", "severity"), NEWS, ids=[name for _, name, _ in NEWS])
def test_news_that_needs_a_person_becomes_one_alert(event: Event, alert_type: str, severity: str, scope: Principal) -> None:
    make_model()

    tell(event)

    alert = MLAlert.objects.get()
    assert (alert.alert_type, alert.severity, alert.status) == (alert_type, severity, "unread")
    assert alert.title
    assert alert.message
    assert resolve(alert.action_url)


@pytest.mark.parametrize(("event", "alert_type", "severity"), NEWS, ids=[name for _, name, _ in NEWS])
def test_a_message_that_is_handled_twice_counts_once(event: Event, alert_type: str, severity: str, scope: Principal) -> None:
    message = outbox.publish(event, at=NOON)
    outbox.handle(message_id=message.pk, attempts=0, at=NOON)
    Message.objects.filter(pk=message.pk).update(handled_at=None, attempts=0)  # as if the worker had died before saying so

    outbox.handle(message_id=message.pk, attempts=0, at=NOON)

    assert [alert.repeat_count for alert in MLAlert.objects.all()] == [0]


def test_an_experiment_whose_report_our_backtest_does_not_bear_out_is_a_warning(scope: Principal) -> None:
    champion, challenger = make_arena()
    assert challenger.dataset_version is not None
    for version, step in ((champion, 3), (challenger, 5)):
        make_days(version, challenger.dataset_version, [2.0 + 0.1 * ((day * step) % 4) for day in range(28)], options={"truth": "y"})
    experiment = make_experiment(scope, "shadow_testing", model=champion.model)
    results = {"baseline_mae": 12.8, "experimental_mae": 10.0}
    reported: dict[str, Any] = {"decision_rationale": "Exceeded target", "results": results, "version": challenger}
    concluding.complete(experiment_id=experiment.pk, decision="adopt", by=scope, at=NOON, **reported)

    for message in Message.objects.filter(topic=ExperimentCompleted.TOPIC):
        outbox.handle(message_id=message.pk, attempts=0, at=NOON)

    alert = MLAlert.objects.get()
    assert alert.severity == "warning"
    assert alert.message.startswith("Exceeded target — reported 21.9 % better; our backtest: ")
    assert alert.message.endswith("within chance.")
    assert abs(alert.details["backtest_improvement_pct"]) < 1


def test_drift_names_its_segments_and_a_new_day_is_a_repeat(scope: Principal) -> None:
    tell(DRIFT)
    tell(DRIFT)
    tell(ModelDrifted("demand_forecast", VERSION, "v2", "2026-03-02", "high", 0.9, "Worse still."))

    alert = MLAlert.objects.get()
    assert "FOODS_3" in alert.title
    assert (alert.repeat_count, alert.details["score"], alert.message) == (1, 0.9, "Worse still.")


def test_different_models_are_different_causes(scope: Principal) -> None:
    tell(DRIFT)
    tell(ModelDrifted("returns", OTHER, "v1", "2026-03-01", "low", 0.3, "A little."))

    assert MLAlert.objects.count() == 2


def test_a_retraining_that_fails_is_told_once_not_also_as_a_job(scope: Principal) -> None:
    tell(JobFailed(VERSION, "retrain", "Retrain demand_forecast", "No data.", 1))

    assert MLAlert.objects.count() == 0


@pytest.fixture
def asked(scope: Principal) -> Any:
    """A promotion under four eyes, asked for by somebody else, with its alert."""
    model = make_model(policy={"four_eyes": True})
    make_champion(model)
    asking = Principal(kind="user", name="asking@example.com", role=Role.ML_MANAGER, customer_id=scope.customer_id)
    request = make_request(make_version(model), by=asking)
    handle_all()
    return request


def handle_all() -> None:
    for message in Message.objects.filter(handled_at=None).order_by("created_at", "pk"):
        outbox.handle(message_id=message.pk, attempts=message.attempts, at=NOON)


def test_a_request_granted_elsewhere_closes_its_alert(asked: Any, scope: Principal) -> None:
    assert MLAlert.objects.get().status == "unread"

    promotion.approve(request_id=asked.pk, by=scope, at=NOON, reason="Fine.")
    handle_all()

    alert = MLAlert.objects.get()
    assert (alert.status, alert.decided_by) == ("actioned", scope.name)
    assert "elsewhere" in alert.notes


def test_a_request_rejected_elsewhere_closes_its_alert_at_once(asked: Any, scope: Principal) -> None:
    promotion.reject(request_id=asked.pk, by=scope, at=NOON, reason="Not on a Friday.")
    handle_all()

    alert = MLAlert.objects.get()
    assert (alert.status, alert.decided_by) == ("dismissed", scope.name)
    assert alert.notes == "The request was rejected elsewhere. Not on a Friday."


def test_a_request_that_was_overtaken_closes_its_alert_at_once(asked: Any, scope: Principal) -> None:
    moves.archive(version_id=asked.version_id, by=scope, at=NOON, reason="Too old.")
    handle_all()

    alert = MLAlert.objects.get()
    assert (alert.status, "overtaken" in alert.notes) == ("dismissed", True)


@pytest.mark.parametrize("alert_type", [AlertType.DRIFT_DETECTED, AlertType.BACKTEST_DEGRADATION])
def test_complaints_about_a_champion_end_with_its_reign(alert_type: AlertType, scope: Principal) -> None:
    model = make_model()
    champion, next_one = make_champion(model), make_version(model)
    handle_all()
    about = make_alert(cause="a", alert_type=alert_type, version="v1", details={"version_id": str(champion.pk)})
    other = make_alert(cause="b", alert_type=alert_type, version="v2", details={"version_id": str(next_one.pk)})

    promotion.promote(version_id=next_one.pk, by=scope, at=NOON, reason="Better.")
    handle_all()

    about.refresh_from_db(), other.refresh_from_db()
    assert (about.status, about.decided_by, other.status) == ("dismissed", scope.name, "unread")
    assert "is not the champion any more" in about.notes


def test_a_retraining_that_came_to_something_answers_the_failed_one(scope: Principal) -> None:
    model = make_model()
    failed = make_alert(cause="a", alert_type=AlertType.RETRAIN_FAILED, details={"retraining_id": "x"})
    elsewhere = make_alert(cause="b", alert_type=AlertType.RETRAIN_FAILED, model_name="another")
    make_version(model, lineage={})
    handle_all()
    failed.refresh_from_db()
    assert failed.status == "unread"

    make_version(model, lineage={"retraining": "5ad8e2a2-0a3c-4d3b-8d7e-0d2b7e0b8f10"})
    handle_all()

    failed.refresh_from_db(), elsewhere.refresh_from_db()
    assert (failed.status, elsewhere.status) == ("actioned", "unread")
    assert "later retraining" in failed.notes


def test_a_winners_request_joins_the_winners_alert(scope: Principal) -> None:
    model = make_model(policy={"four_eyes": True})
    make_champion(model)
    winner = make_version(model)
    tell(PromotionPending(model.name, str(winner.pk), winner.version, "It won."))

    request = make_request(winner, by=Principal("user", "asking@example.com", Role.ML_MANAGER, scope.customer_id))
    handle_all()

    alert = MLAlert.objects.get()
    assert (alert.repeat_count, alert.details["request_id"]) == (1, str(request.pk))
    assert RegisteredModel.objects.count() == 1


def test_a_poison_job_leaves_an_alert_after_its_last_attempt(scope: Principal) -> None:
    from mlops.jobs import services as jobs

    job = jobs.request(kind="nothing", payload={}, label="poison", by=scope, at=NOON)
    for attempt in range(3):
        running = jobs.start(job_id=job.pk, attempts=attempt)
        assert running is not None
        jobs.fail(job=running, error="It does not work.", final=False)
    handle_all()

    assert MLAlert.objects.get().title == "Job failed: poison"


def test_subscribers_keep_their_names() -> None:
    # The names remember what was handled: renaming one would tell old news again.
    from mlops.outbox.events import subscribers_of

    ours = {name for topic in ("registry.model_drifted", "registry.version_moved", "jobs.failed") for name in subscribers_of(topic)}

    assert {"alerts.model_drifted", "alerts.promotion_settled", "alerts.job_failed"} <= ours
