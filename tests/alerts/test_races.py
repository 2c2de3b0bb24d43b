"""Several people and several workers at once."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from alerts.models import Channel, Delivery, MLAlert, Occurrence
from alerts.services import delivering, inbox, settling
from alerts.services.notifying import notify_test
from alerts.states import AlertType
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.jobs.models import Job
from mlops.lifecycle.models import Move
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import RegisteredModel, RetrainingRun
from tests.alerts.factories import NOON, Clock, finding, make_alert, make_webhook, receiving
from tests.mlops.helpers import in_threads
from tests.registry.factories import make_champion, make_dataset, make_model

pytestmark = pytest.mark.django_db(transaction=True)
CROWD = 8


@pytest.fixture
def model(manager: Principal) -> Iterator[RegisteredModel]:
    """A model with data, committed; the test goes on in its scope."""
    with acting(manager):
        with transaction.atomic():
            found = make_model()
            make_dataset(models=[found])
        yield found


def test_eight_approve_at_once_and_it_is_done_once(model: RegisteredModel, manager: Principal) -> None:
    with transaction.atomic():
        alert = make_alert()

    def approve(number: int) -> None:
        with acting(manager):
            inbox.approve(alert_id=alert.pk, by=manager, at=NOON, notes=f"Number {number}.")

    raised = in_threads(CROWD, approve)

    assert [type(failure) for failure in raised] == [inbox.AlreadyDecided] * (CROWD - 1)
    with reading():
        assert (RetrainingRun.objects.count(), Job.objects.filter(kind="retrain").count()) == (1, 1)
        assert Move.objects.filter(object_id=alert.pk).count() == 1
        assert verify().intact


def test_approving_and_dismissing_at_once_has_one_winner(model: RegisteredModel, manager: Principal) -> None:
    with transaction.atomic():
        alert = make_alert()

    def decide(number: int) -> None:
        with acting(manager):
            act = inbox.approve if number % 2 else inbox.dismiss
            act(alert_id=alert.pk, by=manager, at=NOON, notes="So be it.")

    raised = in_threads(CROWD, decide)

    assert [type(failure) for failure in raised] == [inbox.AlreadyDecided] * (CROWD - 1)
    with reading():
        alert.refresh_from_db()
        assert RetrainingRun.objects.count() == (1 if alert.status == "actioned" else 0)


def test_eight_occurrences_at_once_open_one_alert(model: RegisteredModel, manager: Principal) -> None:
    def see(number: int) -> None:
        with acting(system(manager.customer_id)):
            inbox.raise_alert(finding=finding(occurrence=str(number % 4)), at=NOON)

    raised = in_threads(CROWD, see)

    assert raised == []
    with reading():
        alert = MLAlert.objects.get()
        assert (alert.repeat_count, Occurrence.objects.count()) == (3, 4)


def test_eight_senders_of_one_channel_send_each_message_once(model: RegisteredModel, manager: Principal) -> None:
    with receiving() as receiver, pytest.MonkeyPatch.context() as patched:
        patched.setattr("django.conf.settings.WEBHOOK_ALLOWED_HOSTS", ["127.0.0.1"])
        with transaction.atomic():
            channel, _ = make_webhook(receiver.url)
            for _ in range(5):
                notify_test(channel, by="x", at=NOON)

        def send(_: int) -> None:
            with acting(system(manager.customer_id)):
                delivering.deliver_due(channel_id=channel.pk, clock=Clock())

        assert in_threads(CROWD, send) == []

    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    with reading():
        assert set(Delivery.objects.values_list("status", "attempts")) == {("delivered", 1)}
        assert Channel.objects.get().leased_until is None
    assert len(ids) == len(set(ids)) == 5


def test_closing_what_was_answered_elsewhere_locks_as_those_do_who_answer_by_hand(
    model: RegisteredModel, manager: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction.atomic():
        former = make_champion(model)
        make_champion(model)
        about = {"version": former.version, "details": {"version_id": str(former.pk)}}
        kinds = (AlertType.DRIFT_DETECTED, AlertType.BACKTEST_DEGRADATION)
        _, last = sorted((make_alert(alert_type=kind, cause=kind, **about) for kind in kinds), key=lambda one: one.pk)
    closed, close = threading.Event(), settling.close_alert

    def close_slowly(*args: Any, **values: Any) -> None:
        close(*args, **values)
        closed.set()
        time.sleep(0.5)

    def act(number: int) -> None:
        with acting(manager):
            if number:
                assert closed.wait(10)
                inbox.dismiss(alert_id=last.pk, by=manager, at=NOON, notes="It is over.")
            else:
                with transaction.atomic():  # a subscriber's
                    settling.settle_complaints(version_id=former.pk, at=NOON)

    monkeypatch.setattr(settling, "close_alert", close_slowly)
    raised = in_threads(2, act)

    assert [type(failure) for failure in raised] == [inbox.AlreadyDecided]
