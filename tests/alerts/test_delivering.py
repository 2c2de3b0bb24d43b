"""Webhooks to a real receiver, e-mails to the test's outbox: retries, dead letters, signatures, crashes."""

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core import mail
from django.db import transaction
from django.test import override_settings

from alerts.events import ChannelDue
from alerts.models import Channel, Delivery, MLAlert
from alerts.services import channels, couriers, delivering, inbox
from alerts.services.notifying import notify_test
from mlops.audit.models import AuditEvent
from mlops.outbound import backoff, signing
from mlops.outbox import services as outbox
from mlops.outbox.events import queue_of
from mlops.outbox.models import Message
from mlops.telemetry import counting
from mlops.telemetry.models import CounterValue
from mlops.tenancy.models import Membership, User
from mlops.tenancy.roles import Forbidden, Principal
from tests.alerts.factories import NOON, Clock, finding, make_alert, make_webhook, receiving, system_admin


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the test, and dice that never surprise."""
    monkeypatch.setattr("alerts.services.delivering.random.random", lambda: 0.5)
    return Clock()


def due(clock: Clock) -> list[UUID]:
    """Channels that somebody has promised to look at by now; handling their messages is the outbox's work, tested apart."""
    found = Message.objects.filter(topic="alerts.channel_due", handled_at=None, due_at__lte=clock())
    ids = [UUID(message.payload["channel_id"]) for message in found.order_by("due_at")]
    found.update(handled_at=clock())
    return list(dict.fromkeys(ids))


def work(clock: Clock) -> int:
    """What a worker does now. Returns the attempts made."""
    return sum(delivering.deliver_due(channel_id=channel_id, clock=clock) for channel_id in due(clock))


def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """The specification's verification, written anew: https://github.com/standard-webhooks/standard-webhooks, "Signature scheme"."""
    key = base64.b64decode(secret[len("whsec_") :])
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(
        version == "v1" and hmac.compare_digest(signature, expected)
        for version, _, signature in (part.partition(",") for part in headers["webhook-signature"].split(" "))
    )


def only() -> Delivery:
    return Delivery.objects.get()


def test_an_alert_reaches_a_webhook_signed(scope: Principal, clock: Clock) -> None:
    with receiving() as receiver:
        _, secret = make_webhook(receiver.url)
        alert = make_alert(action_url="/admin/")
        assert work(clock) == 1

    headers, body = receiver.got[0]
    told = json.loads(body)
    assert verify(secret, headers, body)
    assert not verify(secret, headers, body.replace(b"drift", b"drown"))
    assert (told["type"], told["data"]["id"], told["data"]["severity"]) == ("ml_alert.raised", str(alert.pk), "warning")
    assert told["data"]["action_url"].startswith("http")
    assert headers["webhook-timestamp"] == str(int(NOON.timestamp()))
    assert headers["content-type"] == "application/json"
    assert (only().status, only().attempts, only().last_status) == ("delivered", 1, 204)


def test_failures_are_tried_again_with_growing_pauses_and_the_same_id(scope: Principal, clock: Clock) -> None:
    with receiving(500, 503) as receiver:
        make_webhook(receiver.url)
        make_alert()
        assert work(clock) == 1
        assert (only().due_at, only().last_status) == (NOON + timedelta(seconds=5), 500)
        assert work(clock) == 0
        clock.forward(seconds=5)
        assert work(clock) == 1
        assert only().due_at == clock() + timedelta(seconds=20)
        clock.forward(seconds=20)
        assert work(clock) == 1

    assert (only().status, only().attempts) == ("delivered", 3)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1
    assert len({headers["webhook-timestamp"] for headers, _ in receiver.got}) == 3
    assert Channel.objects.get().failures == 0


def test_after_three_days_a_message_is_dead_and_can_be_sent_again(scope: Principal, clock: Clock) -> None:
    with receiving(*[500] * 40) as receiver:
        make_webhook(receiver.url)
        make_alert()
        while only().status == "pending" and clock() < NOON + timedelta(days=6):
            work(clock)
            clock.forward(minutes=30)
        assert (only().status, only().last_status) == ("dead", 500)
        assert only().ended_at is not None
        assert NOON + timedelta(days=2) < only().ended_at <= NOON + timedelta(days=3, hours=1)
        assert 8 <= len(receiver.got) <= 20

        receiver.answers.clear()
        delivering.resend(delivery_id=only().pk, by=system_admin(), at=clock())
        clock.forward(minutes=30)
        assert work(clock) == 1

    assert only().status == "delivered"
    assert AuditEvent.objects.filter(action="delivery.resent").count() == 1


def given_up_on() -> int:
    """What operators read of webhooks."""
    counting.write_counts()
    return sum(CounterValue.objects.filter(name="webhook_dead", labels='["webhook"]').values_list("value", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_message_given_up_on_is_counted_when_that_is_committed(scope: Principal, clock: Clock) -> None:
    with transaction.atomic():
        channel, _ = make_webhook("http://127.0.0.1:9/hook")
        notify_test(channel, by="kim", at=NOON)
    before = given_up_on()

    with suppress(ZeroDivisionError), transaction.atomic():
        channels.delete_channel(channel_id=channel.pk, by=system_admin(), at=NOON)
        raise ZeroDivisionError
    undone = given_up_on()
    channels.delete_channel(channel_id=channel.pk, by=system_admin(), at=NOON)

    assert (undone - before, given_up_on() - before) == (0, 1)


def test_only_the_dead_are_sent_again_and_by_administrators(scope: Principal, clock: Clock) -> None:
    with receiving() as receiver:
        make_webhook(receiver.url)
        make_alert()
        work(clock)

    with pytest.raises(delivering.NotDead):
        delivering.resend(delivery_id=only().pk, by=system_admin(), at=NOON)
    with pytest.raises(Forbidden):
        delivering.resend(delivery_id=only().pk, by=scope, at=NOON)


def test_410_disables_the_channel_and_ends_what_waits(scope: Principal, clock: Clock) -> None:
    with receiving(410) as receiver:
        channel, _ = make_webhook(receiver.url)
        make_alert(cause="a")
        make_alert(cause="b")
        work(clock)
        make_alert(cause="c")
        work(clock)

    channel.refresh_from_db()
    assert (channel.enabled, len(receiver.got)) == (False, 1)
    assert "410" in channel.disabled_reason
    assert list(Delivery.objects.values_list("status", flat=True)) == ["dead", "dead"]


def test_a_poisonous_message_does_not_hold_up_the_others(scope: Principal, clock: Clock) -> None:
    with receiving(400) as receiver:
        make_webhook(receiver.url)
        poison, fine = make_alert(cause="a"), make_alert(cause="b", at=NOON + timedelta(milliseconds=1))
        work(clock)
        clock.forward(seconds=3)
        work(clock)

    assert len(receiver.got) == 2
    assert Delivery.objects.get(alert=fine).status == "delivered"
    assert Delivery.objects.get(alert=poison).status == "pending"


def test_a_dead_receiver_costs_one_attempt_per_pause_however_much_waits(scope: Principal, clock: Clock) -> None:
    with receiving(*[500] * 100) as receiver:
        make_webhook(receiver.url)
        for number in range(20):
            make_alert(cause=str(number))
        for _ in range(60):
            work(clock)
            clock.forward(seconds=1)

    assert 4 <= len(receiver.got) <= 6


def test_one_receivers_failure_does_not_delay_another(scope: Principal, clock: Clock) -> None:
    with receiving(*[500] * 10) as broken, receiving() as fine:
        make_webhook(broken.url, name="broken")
        make_webhook(fine.url, name="fine")
        make_alert()
        work(clock)

    assert (len(broken.got), len(fine.got)) == (1, 1)


def test_a_redirect_is_a_failure_and_is_not_followed(scope: Principal, clock: Clock) -> None:
    with receiving(302) as receiver:
        make_webhook(receiver.url)
        make_alert()
        work(clock)

    assert (only().status, only().last_status, len(receiver.got)) == ("pending", 302, 1)
    assert "not followed" in only().last_error


def test_a_private_address_is_refused_at_sending_too(scope: Principal, clock: Clock, settings: Any) -> None:
    with receiving() as receiver:
        make_webhook(receiver.url)
        settings.WEBHOOK_ALLOWED_HOSTS = []
        make_alert()
        work(clock)

    assert (receiver.got, only().status) == ([], "pending")
    assert "https" in only().last_error


def test_a_sender_killed_after_its_lease_is_followed_by_another(scope: Principal, clock: Clock) -> None:
    with receiving() as receiver:
        channel, _ = make_webhook(receiver.url)
        make_alert()
        due(clock)
        assert delivering.lease(channel_id=channel.pk, at=clock()) is not None  # and here the process ends
        assert delivering.lease(channel_id=channel.pk, at=clock()) is None

        clock.now = NOON + delivering.LEASE
        assert work(clock) == 1

    assert (only().status, only().attempts, len(receiver.got)) == ("delivered", 2, 1)


def test_a_sender_that_comes_back_too_late_writes_nothing(scope: Principal, clock: Clock) -> None:
    with receiving() as receiver:
        channel, _ = make_webhook(receiver.url)
        make_alert()
        late = delivering.lease(channel_id=channel.pk, at=clock())
        assert late is not None
        clock.now = NOON + delivering.LEASE
        delivering.deliver_due(channel_id=channel.pk, clock=clock)

        delivering._note(late, couriers.Result(error="much too late"), at=clock())

    assert (only().status, only().last_error) == ("delivered", "")


def test_a_message_whose_sender_dies_of_it_each_time_is_dead_after_three_days(scope: Principal, clock: Clock) -> None:
    channel, _ = make_webhook("http://127.0.0.1:9/hook")
    make_alert()
    tried = 0
    while clock() < NOON + timedelta(days=4):
        tried += delivering.lease(channel_id=channel.pk, at=clock()) is not None  # and here the process ends
        clock.forward(hours=3)

    assert (only().status, only().attempts) == ("dead", tried)
    assert NOON + timedelta(days=3) < only().ended_at < NOON + timedelta(days=3, hours=4)
    assert "broke off" in only().last_error


def test_a_message_that_nobody_could_try_for_three_days_has_its_attempt(scope: Principal, clock: Clock) -> None:
    with receiving() as receiver:
        make_webhook(receiver.url)
        make_alert()
        clock.forward(hours=100)
        work(clock)

    assert (only().status, len(receiver.got)) == ("delivered", 1)


@pytest.mark.parametrize("domain", ["ä" * 60 + ".example", "\u00ad.example"])
def test_a_letter_that_cannot_be_addressed_is_dead_at_once_and_says_why(scope: Principal, clock: Clock, domain: str) -> None:
    channels.subscribe(channel_id=None, by=scope, at=NOON)
    User.objects.filter(pk=scope.user_id).update(email=f"a@{domain}")
    make_alert()

    assert work(clock) == 1

    assert only().status == "dead"
    assert only().last_error.startswith("This cannot be sent as it is: ")


def test_a_changed_secret_key_is_said_instead_of_signing_with_another(scope: Principal, clock: Clock) -> None:
    with receiving() as receiver:
        make_webhook(receiver.url)
        make_alert()
        with override_settings(SECRET_KEY="another key, of some length, for this test alone"):
            work(clock)

    assert (receiver.got, only().status) == ([], "pending")
    assert "SECRET_KEY" in only().last_error


def test_a_renewed_secret_signs_and_the_former_does_not(scope: Principal, clock: Clock) -> None:
    with receiving() as receiver:
        channel, former = make_webhook(receiver.url)
        renewed = channels.renew_secret(channel_id=channel.pk, by=system_admin(), at=NOON).secret
        make_alert()
        work(clock)

    headers, body = receiver.got[0]
    assert verify(renewed, headers, body)
    assert not verify(former, headers, body)
    stored = Channel.objects.get()
    assert renewed not in (stored.secret_salt, stored.secret_fingerprint)
    assert stored.secret_fingerprint == signing.fingerprint(renewed)


def test_a_person_hears_by_e_mail_what_they_subscribed_to(scope: Principal, clock: Clock) -> None:
    channels.subscribe(channel_id=None, by=scope, at=NOON, min_severity="critical", alert_types=["drift_detected"])
    make_alert(cause="a", severity="warning")
    make_alert(cause="b", alert_type="job_failed", severity="critical")
    make_alert(cause="c", severity="critical", title="Line\nbreak", action_url="/admin/x")
    work(clock)

    letter = mail.outbox[0]
    assert (len(mail.outbox), letter.to, letter.subject) == (1, [scope.name], "[critical] Line break")
    assert "/admin/x" in letter.body


def test_who_has_left_hears_nothing_more(scope: Principal, clock: Clock) -> None:
    channels.subscribe(channel_id=None, by=scope, at=NOON)
    make_alert()
    Membership.objects.filter(user_id=scope.user_id).delete()
    work(clock)

    assert mail.outbox == []
    assert (only().status, Channel.objects.get().enabled) == ("dead", False)


def test_without_a_mail_server_the_delivery_says_so(scope: Principal, clock: Clock, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    channels.subscribe(channel_id=None, by=scope, at=NOON)
    make_alert()
    work(clock)

    assert only().status == "dead"
    assert "EMAIL_URL" in only().last_error


def test_repeats_within_the_cool_down_are_not_told_again(scope: Principal, clock: Clock) -> None:
    channels.subscribe(channel_id=None, by=scope, at=NOON)
    make_alert()
    for hours in (24, 48, 72):
        inbox.raise_alert(finding=finding(), at=NOON + timedelta(hours=hours))

    assert Delivery.objects.count() == 2
    assert MLAlert.objects.get().repeat_count == 3


def test_several_subscriptions_of_a_channel_tell_once(scope: Principal) -> None:
    for severity in ("info", "warning"):
        channels.subscribe(channel_id=None, by=scope, at=NOON, min_severity=severity)

    make_alert()

    assert Delivery.objects.count() == 1


def test_what_is_rolled_back_was_never_told(scope: Principal) -> None:
    channels.subscribe(channel_id=None, by=scope, at=NOON)
    with transaction.atomic():
        make_alert()
        transaction.set_rollback(True)

    assert (Delivery.objects.count(), Message.objects.filter(topic="alerts.channel_due").count()) == (0, 0)


def test_the_outbox_leases_inside_and_sends_after_its_transaction(
    scope: Principal, clock: Clock, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        channel, _ = make_webhook(receiver.url)
        notify_test(channel, by="kim", at=NOON)
        message = Message.objects.filter(topic="alerts.channel_due").order_by("-created_at").first()
        assert message is not None
        with django_capture_on_commit_callbacks() as callbacks:
            outbox.handle(message_id=message.pk, attempts=0, at=NOON)
        assert (len(callbacks), receiver.got, only().attempts) == (1, [], 1)
        callbacks[0]()

    assert only().status == "delivered"
    assert json.loads(receiver.got[0][1])["type"] == "ml_alert.test"


def test_a_message_gives_up_no_earlier_than_the_standard_asks() -> None:
    assert timedelta(days=3) <= backoff.GIVE_UP_AFTER


def test_what_leads_to_a_receiver_has_a_queue_of_its_own() -> None:
    assert queue_of(ChannelDue.TOPIC) == "deliveries"
