"""What waits for a manager and is no alert reaches those who want to hear of it."""

import json
from datetime import timedelta

from alerts.models import Delivery, MLAlert
from alerts.services import channels
from alerts.services.asking import Question, notify_approval
from experiments.services.proposing import edit, propose
from mlops.outbox import services as outbox
from mlops.outbox.models import Message
from mlops.tenancy.roles import Principal, Role
from registry.events import PolicyChangePending
from tests.alerts.factories import NOON, make_webhook
from tests.registry.factories import make_person

REQUEST = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def handle_all() -> None:
    """Everything but sending."""
    for message in Message.objects.filter(handled_at=None).exclude(topic="alerts.channel_due").order_by("created_at", "pk"):
        outbox.handle(message_id=message.pk, attempts=message.attempts, at=NOON)


def question(**values: str) -> Question:
    given = {"kind": "experiment", "id": "1", "title": "Waits", "message": "Why", "asked_by": "ann@example.com", "action_url": "/admin/"}
    return Question(**(given | values))


def proposer(scope: Principal) -> Principal:
    return Principal("user", "ann@example.com", Role.DATA_SCIENTIST, scope.customer_id)


def test_a_proposal_is_told_to_those_who_want_approvals_and_raises_no_alert(scope: Principal) -> None:
    channels.subscribe(channel_id=None, by=scope, at=NOON, approvals=True, min_severity="critical", immediate=False)
    make_webhook("https://93.184.215.14/hook")  # hears of alerts, not of approvals

    made = propose(experiment_name="Tiers", hypothesis="Finer tiers win.", experiment_type="segmentation", by=proposer(scope), at=NOON)
    handle_all()

    told = Delivery.objects.get()
    assert (told.kind, told.subject) == ("approval", "[approval] Experiment “Tiers” waits for approval")
    assert "Finer tiers win." in told.body
    assert f"/admin/experiments/experiment/{made.pk}/" in told.body
    assert not MLAlert.objects.exists()


def test_a_proposal_that_is_edited_all_day_is_told_once_a_day(scope: Principal) -> None:
    channels.subscribe(channel_id=None, by=scope, at=NOON, approvals=True)
    made = propose(experiment_name="Tiers", hypothesis="One.", experiment_type="other", by=proposer(scope), at=NOON)
    for text in ("Two.", "Three."):
        edit(experiment_id=made.pk, changes={"hypothesis": text}, by=proposer(scope), at=NOON)
    handle_all()

    days = [notify_approval(question(id=str(made.pk)), at=NOON + timedelta(days=day)) for day in (0, 0, 1)]

    assert days == [1, 0, 1]  # the handlers go by the real clock, which is another day than noon of the tests
    assert Delivery.objects.count() == 3


def test_a_looser_policy_reaches_a_webhook_with_what_it_changes(scope: Principal) -> None:
    make_webhook("https://93.184.215.14/hook", approvals=True)
    before, after = {"min_improvement_pct": 5.0, "four_eyes": True}, {"min_improvement_pct": 1.0, "four_eyes": True}
    outbox.publish(PolicyChangePending("demand_forecast", REQUEST, "ann@example.com", "Too strict.", before, after), at=NOON)

    handle_all()

    body = json.loads(Delivery.objects.get().body)
    assert (body["type"], body["data"]["kind"], body["data"]["asked_by"]) == ("approval.pending", "policy_change", "ann@example.com")
    assert body["data"]["message"] == "min_improvement_pct: 5.0 → 1.0\nReason given: Too strict."
    assert body["data"]["action_url"].endswith(f"/admin/registry/policychangerequest/{REQUEST}/")


def test_whoever_asked_is_not_told_by_their_own_e_mail(scope: Principal) -> None:
    ann = make_person("ann@example.com", "ml_manager", "correct horse battery staple")
    channels.subscribe(channel_id=None, by=ann, at=NOON, approvals=True)
    channels.subscribe(channel_id=None, by=scope, at=NOON, approvals=True)

    assert notify_approval(question(), at=NOON) == 1
    assert Delivery.objects.get().channel.owner_id == scope.user_id


def test_who_switched_it_off_hears_nothing(scope: Principal) -> None:
    made = channels.subscribe(channel_id=None, by=scope, at=NOON, approvals=True)
    channels.configure_subscription(subscription_id=made.pk, changes={"enabled": False}, by=scope, at=NOON)

    assert notify_approval(question(), at=NOON) == 0
