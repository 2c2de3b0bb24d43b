"""News is told at least once, handled once, and never lost with a process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerError

from mlops.audit.models import AuditEvent
from mlops.audit.services import record
from mlops.outbox import events, relay, services
from mlops.outbox.events import Event
from mlops.outbox.models import Handled, Message
from mlops.telemetry.context import ambient_request, request_id
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.context import required
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import system
from tests.conftest import NOON
from tests.mlops.helpers import in_threads

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Sold(Event):
    """Something was sold."""

    TOPIC: ClassVar[str] = "test.sold"

    item: str
    on: date = date(2026, 3, 1)
    parts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LetterDue(Event):
    """Something takes its time."""

    TOPIC: ClassVar[str] = "test.letter_due"
    QUEUE: ClassVar[str] = "letters"

    to: str


@pytest.fixture(autouse=True)
def _own_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_event_types", {Sold.TOPIC: Sold, LetterDue.TOPIC: LetterDue})
    monkeypatch.setattr(events, "_subscribers", {})


@pytest.fixture
def heard() -> Iterator[list[tuple[UUID, str]]]:
    calls: list[tuple[UUID, str]] = []
    events.subscribe(Sold, "listener")(lambda news: calls.append((required(), news.item)))
    return calls


def tell(customer: Customer, item: str = "tea", at: datetime = NOON) -> Message:
    with scoped(customer.pk), transaction.atomic():
        return services.publish(Sold(item, parts={"id": UUID(int=1), "days": [date(2026, 3, 2)]}), at=at)


def deliver(at: datetime = NOON) -> int:
    claimed = services.claim(at=at)
    for message_id, attempts, _ in claimed:
        services.handle(message_id=message_id, attempts=attempts, at=at)
    return len(claimed)


def failing(_: Event) -> None:
    raise RuntimeError("no luck")


def test_every_subscriber_hears_it_for_the_right_customer(customer: Customer, other_customer: Customer, heard: list[Any]) -> None:
    tell(customer, "tea"), tell(other_customer, "jam")

    deliver()

    assert sorted(heard, key=str) == sorted([(customer.pk, "tea"), (other_customer.pk, "jam")], key=str)
    assert not Message.objects.filter(handled_at=None).exists()


def test_a_payload_survives_as_plain_json(customer: Customer) -> None:
    message = tell(customer)

    message.refresh_from_db()
    assert message.payload == {"item": "tea", "on": "2026-03-01", "parts": {"id": str(UUID(int=1)), "days": ["2026-03-02"]}}


def test_news_of_an_act_that_was_rolled_back_is_never_told(customer: Customer) -> None:
    def act() -> None:
        with transaction.atomic():
            tell(customer)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        act()

    assert not Message.objects.exists()


def test_news_without_a_subscriber_is_kept(customer: Customer) -> None:
    message = tell(customer)

    deliver()

    message.refresh_from_db()
    assert message.handled_at == NOON


def test_a_message_told_twice_is_handled_once(customer: Customer, heard: list[Any]) -> None:
    message = tell(customer)
    ((message_id, attempts, _),) = services.claim(at=NOON)

    for _ in range(3):
        services.handle(message_id=message_id, attempts=attempts, at=NOON)

    assert len(heard) == 1
    assert Handled.objects.filter(message=message).count() == 1


def test_a_claimed_message_is_left_alone_until_its_lease_runs_out(customer: Customer) -> None:
    tell(customer)

    claims = [len(services.claim(at=NOON + after)) for after in (timedelta(0), timedelta(0), services.LEASE - SECOND, services.LEASE)]

    assert claims == [1, 0, 0, 1]


def test_a_relay_that_dies_between_claim_and_sending_loses_nothing(customer: Customer, heard: list[Any]) -> None:
    tell(customer)
    services.claim(at=NOON)  # and then the process is gone

    deliver(at=NOON + services.LEASE)

    assert len(heard) == 1


def test_waiting_for_a_worker_spends_no_attempt(customer: Customer, heard: list[Any]) -> None:
    message = tell(customer)
    copies = [services.claim(at=NOON + services.LEASE * day)[0] for day in range(100)]

    for message_id, attempts, _ in copies:
        services.handle(message_id=message_id, attempts=attempts, at=NOON + services.LEASE * 100)

    message.refresh_from_db()
    assert (len(heard), message.attempts, message.dead_at) == (1, 1, None)


def test_one_failing_subscriber_keeps_no_other_from_hearing(customer: Customer, heard: list[Any]) -> None:
    events.subscribe(Sold, "a failing one")(failing)
    message = tell(customer)

    deliver()
    deliver(at=NOON + SECOND * 2)

    message.refresh_from_db()
    assert (len(heard), message.attempts, message.handled_at) == (1, 2, None)
    assert "a failing one: RuntimeError('no luck')" in message.last_error


def test_a_failing_subscriber_leaves_nothing_half_written(customer: Customer) -> None:
    def half(news: Sold) -> None:
        record(action="half", target=customer, label=news.item, at=NOON)
        raise RuntimeError

    events.subscribe(Sold, "half")(half)
    tell(customer)

    deliver()

    with scoped(customer.pk):
        assert not AuditEvent.objects.filter(action="half").exists()
    assert not Handled.objects.exists()


def test_late_copies_do_not_defeat_the_back_off(customer: Customer) -> None:
    events.subscribe(Sold, "failing")(failing)
    message = tell(customer)
    copies = [services.claim(at=NOON + services.LEASE * day)[0] for day in range(5)]

    for message_id, attempts, _ in copies:
        services.handle(message_id=message_id, attempts=attempts, at=NOON)

    message.refresh_from_db()
    assert (message.attempts, message.due_at) == (1, NOON + SECOND * 2)


def test_a_message_that_never_succeeds_dies_and_can_be_resent(customer: Customer) -> None:
    events.subscribe(Sold, "failing")(failing)
    message = tell(customer)
    at = NOON
    for _ in range(services.MAX_ATTEMPTS + 1):
        deliver(at=at)
        at += timedelta(hours=2)

    message.refresh_from_db()
    dead, silent = message.dead_at, deliver(at=at)
    resent = services.resend(message_id=message.pk, at=at, by=system(customer.pk))

    assert dead is not None
    assert (silent, resent, deliver(at=at)) == (0, True, 1)


def test_resending_is_only_for_ones_own_dead_messages(customer: Customer, other_customer: Customer) -> None:
    alive, foreign = tell(customer), tell(other_customer)
    Message.objects.filter(pk=foreign.pk).update(dead_at=NOON)

    answers = [services.resend(message_id=one.pk, at=NOON, by=system(customer.pk)) for one in (alive, foreign)]

    assert answers == [False, False]


def test_a_message_of_a_newer_release_waits(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    message = tell(customer)
    monkeypatch.setattr(events, "_event_types", {})

    deliver()

    message.refresh_from_db()
    assert (message.handled_at, message.dead_at, "test.sold" in message.last_error) == (None, None, True)


def test_fields_of_a_newer_sender_are_ignored(customer: Customer, heard: list[Any]) -> None:
    message = tell(customer)
    Message.objects.filter(pk=message.pk).update(payload={"item": "tea", "new_field": 1})

    deliver()

    assert heard == [(customer.pk, "tea")]


def test_handlers_run_under_the_request_that_caused_the_news(customer: Customer) -> None:
    seen: list[str] = []
    events.subscribe(Sold, "id")(lambda news: seen.append(request_id()))
    with ambient_request("order-66"):
        tell(customer)

    deliver()

    assert (seen, request_id()) == (["order-66"], "")


@pytest.mark.django_db(transaction=True)
def test_two_relays_never_hold_one_message(customer: Customer) -> None:
    for number in range(60):
        tell(customer, str(number))
    claimed: list[list[services.Claimed]] = []

    def relay_messages(_: int) -> None:
        while batch := services.claim(at=NOON, limit=7):
            claimed.append(batch)

    raised = in_threads(4, relay_messages)

    ids = [message_id for batch in claimed for message_id, *_ in batch]
    assert (raised, len(ids), len(set(ids))) == ([], 60, 60)


@pytest.mark.django_db(transaction=True)
def test_copies_handled_at_the_same_time_act_once(customer: Customer) -> None:
    events.subscribe(Sold, "writer")(lambda news: record(action="heard", target=customer, label=news.item, at=NOON))
    message = tell(customer)

    raised = in_threads(4, lambda number: services.handle(message_id=message.pk, attempts=0, at=NOON))

    assert raised == []
    with scoped(customer.pk), transaction.atomic():
        assert AuditEvent.objects.filter(action="heard").count() == 1


def test_what_the_broker_does_not_take_is_due_again_at_once(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        tell(customer, str(number))
    sent: list[Any] = []

    def apply_async(*, args: list[Any], retry: bool, queue: str) -> None:
        if len(sent) == 1:
            raise BrokerError("connection refused")
        sent.append(args)

    monkeypatch.setattr(relay.handle_message, "apply_async", apply_async)

    with pytest.raises(BrokerError):
        relay.relay_once(at=NOON)

    assert Message.objects.filter(due_at=NOON).count() == 2


def test_the_relay_waits_out_a_broker_and_goes_on(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Callable[[], int]] = [lambda: _raise(BrokerError("down")), lambda: _raise(ConnectionResetError()), lambda: 3, lambda: 0]
    pauses: list[float] = []
    monkeypatch.setattr(relay, "relay_once", lambda at: outcomes.pop(0)())
    monkeypatch.setattr(relay.time, "sleep", pauses.append)

    relay.run(until=lambda: not outcomes)

    assert pauses == [relay.PAUSE * 2, relay.PAUSE * 4, 0.0, relay.PAUSE]


def _raise(failure: Exception) -> int:
    raise failure


def test_two_events_cannot_share_a_topic() -> None:
    with pytest.raises(ValueError, match=r"test\.sold"):
        events.event(Sold)


def test_news_goes_through_the_queue_it_names_and_what_is_unknown_through_the_common_one(customer: Customer) -> None:
    with scoped(customer.pk), transaction.atomic():
        services.publish(LetterDue("kim"), at=NOON)
        services.publish(Sold("tea", parts={}), at=NOON)
        Message.objects.filter(topic=Sold.TOPIC).update(topic="written.by_a_newer_release")

    assert {one.queue for one in services.claim(at=NOON)} == {"letters", "events"}


def test_the_relay_publishes_each_message_to_its_queue(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(relay.handle_message, "apply_async", lambda **options: sent.append(options))
    with scoped(customer.pk), transaction.atomic():
        message = services.publish(LetterDue("kim"), at=NOON)

    relay.relay_once(at=NOON)

    assert sent == [{"args": [str(message.pk), 0], "retry": False, "queue": "letters"}]
