"""Nobody edits, reorders, cuts or extends the audit trail unnoticed."""

import io
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from structlog.testing import capture_logs

from mlops.audit.models import AuditEvent, AuditHead
from mlops.audit.services import link, record, verify
from mlops.database.reading import reading
from mlops.jobs import runner
from mlops.jobs.models import Job
from mlops.tenancy.context import NoCustomer
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.tasks import publish_audit_head
from tests.conftest import NOON
from tests.mlops.helpers import as_intruder, in_threads

pytestmark = pytest.mark.django_db


def write(customer: Customer, text: str = "x", **values: Any) -> AuditEvent:
    return record(action="note", target=customer, label=text, at=values.pop("at", NOON), **values)


@pytest.fixture
def trail(scope: Principal, customer: Customer) -> list[AuditEvent]:
    """A chain of events 1 to 7, the first two from making customer and manager; the test acts for the customer."""
    for number in range(5):
        write(customer, f"note {number}", after={"share": 0.1 + number, "big": 1e300, "tiny": -0.0, "long": 2**60, "text": "ü – 模"})
    return list(AuditEvent.objects.order_by("number"))


def test_an_untouched_trail_is_intact(trail: list[AuditEvent]) -> None:
    result = verify()

    assert (result.intact, result.events, result.head_digest, result.problem) == (True, 7, trail[-1].digest, "")


def test_an_empty_trail_is_intact() -> None:
    empty = Customer.objects.create(name="Nothing happened")

    with scoped(empty.pk):
        assert (verify().intact, verify().events) == (True, 0)


def test_an_event_carries_who_when_why_and_what_changed(scope: Principal, customer: Customer) -> None:
    event = write(customer, "Demand v3", before={"status": "shadow"}, after={"status": "champion"}, reason="wins by 6 %")

    assert (event.actor, event.actor_kind, event.number) == (scope.name, "user", 3)
    assert (event.before, event.after, event.reason) == ({"status": "shadow"}, {"status": "champion"}, "wins by 6 %")


def test_a_moment_in_another_zone_verifies(scope: Principal, customer: Customer) -> None:
    write(customer, at=datetime(2026, 3, 2, 14, 30, tzinfo=timezone(timedelta(hours=2, minutes=30))))

    assert verify().intact


def test_an_event_needs_a_customer(customer: Customer) -> None:
    with pytest.raises(NoCustomer):
        write(customer)


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_the_transaction_of_its_act_is_refused(customer: Customer) -> None:
    with acting(system(customer.pk)), pytest.raises(TransactionManagementError):
        write(customer)


@pytest.mark.django_db(transaction=True)
def test_an_event_of_an_act_that_was_rolled_back_never_happened(customer: Customer) -> None:
    def act() -> None:
        with acting(system(customer.pk)), transaction.atomic():
            write(customer)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        act()

    with scoped(customer.pk), reading():
        assert AuditEvent.objects.count() == 1
        assert verify().intact


Tampering = Callable[[Any, list[AuditEvent]], None]


def _edit(column: str, value: str) -> Tampering:
    return lambda cursor, trail: cursor.execute(f"UPDATE audit_events SET {column} = %s WHERE number = 4", [value])


def _edit_with_new_digest(cursor: Any, trail: list[AuditEvent]) -> None:
    text = trail[3].canonical.replace("note 1", "note 9")
    values = ["note 9", text, link(trail[2].digest, text)]
    cursor.execute("UPDATE audit_events SET object_label = %s, canonical = %s, digest = %s WHERE number = 4", values)


def _last_edited_to_nonsense(cursor: Any, trail: list[AuditEvent]) -> None:
    digest = link(trail[5].digest, "not json")
    cursor.execute("UPDATE audit_events SET canonical = 'not json', digest = %s WHERE number = 7", [digest])
    cursor.execute("UPDATE audit_heads SET digest = %s", [digest])


def _swap(cursor: Any, trail: list[AuditEvent]) -> None:
    for number, to in ((4, 99), (5, 4), (99, 5)):
        cursor.execute("UPDATE audit_events SET number = %s WHERE number = %s", [to, number])


def _cut_out(cursor: Any, trail: list[AuditEvent]) -> None:
    cursor.execute("DELETE FROM audit_events WHERE number = 4")


def _cut_out_and_close_the_gap(cursor: Any, trail: list[AuditEvent]) -> None:
    cursor.execute("DELETE FROM audit_events WHERE number = 4")
    for number in (5, 6, 7):
        cursor.execute("UPDATE audit_events SET number = %s WHERE number = %s", [number - 1, number])
    cursor.execute("UPDATE audit_heads SET number = 6")


def _cut_the_tail(cursor: Any, trail: list[AuditEvent]) -> None:
    cursor.execute("DELETE FROM audit_events WHERE number > 5")


def _cut_everything(cursor: Any, trail: list[AuditEvent]) -> None:
    cursor.execute("DELETE FROM audit_events")


def _insert(cursor: Any, trail: list[AuditEvent]) -> None:
    cursor.execute("UPDATE audit_events SET number = number + 100 WHERE number > 4")
    cursor.execute("UPDATE audit_events SET number = number - 99 WHERE number > 100")
    _copy(cursor, 4, to=5)
    cursor.execute("UPDATE audit_heads SET number = 8")


def _append_past_the_head(cursor: Any, trail: list[AuditEvent]) -> None:
    _copy(cursor, 7, to=8)


def _copy(cursor: Any, number: int, *, to: int) -> None:
    columns = ", ".join(field.column for field in AuditEvent._meta.concrete_fields if field.column not in ("id", "number"))
    new = "gen_random_uuid()" if connection.vendor == "postgresql" else "'00000000000000000000000000000001'"
    source = f"SELECT {new}, {to}, {columns} FROM audit_events WHERE number = {number}"
    cursor.execute(f"INSERT INTO audit_events (id, number, {columns}) {source}")


@pytest.mark.parametrize(
    ("tamper", "found_at"),
    [
        (_edit("actor", "somebody else"), 4),
        (_edit("reason", "another reason"), 4),
        (_edit("after", '{"share": 1.2}'), 4),
        (_edit("occurred_at", "2026-03-01 12:00:00+00:00"), 4),
        (_edit("request_id", "other"), 4),
        (_edit("object_id", "other"), 4),
        (_edit("canonical", "{}"), 4),
        (_edit("digest", "0" * 64), 4),
        (_edit_with_new_digest, 5),
        (_last_edited_to_nonsense, 7),
        (_swap, 4),
        (_cut_out, 4),
        (_cut_out_and_close_the_gap, 4),
        (_cut_the_tail, 6),
        (_cut_everything, 1),
        (_insert, 5),
        (_append_past_the_head, 8),
    ],
)
def test_every_tampering_is_found(trail: list[AuditEvent], tamper: Tampering, found_at: int) -> None:
    with as_intruder() as cursor:
        tamper(cursor, trail)

    result = verify()

    assert (result.intact, result.first_bad_number, bool(result.problem)) == (False, found_at, True)


def test_the_guards_refuse_a_replacing_insert(trail: list[AuditEvent]) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has INSERT OR REPLACE")
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events WHERE number = 4")


@pytest.mark.django_db(transaction=True)
def test_simultaneous_appends_make_one_chain_without_gaps(customer: Customer, other_customer: Customer) -> None:
    def append(number: int) -> None:
        mine = (customer, other_customer)[number % 2]
        for _ in range(10):
            with acting(system(mine.pk)), transaction.atomic():
                write(mine)

    raised = in_threads(8, append)

    assert raised == []
    for one in (customer, other_customer):
        with scoped(one.pk), reading():
            assert list(AuditEvent.objects.order_by("number").values_list("number", flat=True)) == list(range(1, 42))
            assert verify().intact


@pytest.mark.django_db(transaction=True)
def test_verification_is_not_fooled_by_appends_that_come_meanwhile(customer: Customer) -> None:
    results = []

    def act(number: int) -> None:
        for _ in range(12):
            if number:
                with acting(system(customer.pk)), transaction.atomic():
                    write(customer)
            else:
                with scoped(customer.pk):
                    results.append(verify())

    raised = in_threads(3, act)

    assert raised == []
    assert all(result.intact for result in results), [result.problem for result in results]


def test_the_command_names_the_broken_chain(trail: list[AuditEvent], customer: Customer) -> None:
    output = io.StringIO()
    call_command("verify_audit", stdout=output)
    with as_intruder() as cursor:
        _cut_out(cursor, trail)

    with pytest.raises(CommandError, match="1 chain"):
        call_command("verify_audit", stdout=output)

    good, bad = output.getvalue().splitlines()
    assert f"{customer.pk} 7 events, head {trail[-1].digest}: intact" == good
    assert "BROKEN: event 4 is missing" in bad


def test_each_customer_has_a_chain_of_its_own(scope: Principal, other_customer: Customer) -> None:
    with scoped(other_customer.pk):
        heads = AuditHead.objects.count()
        event = write(other_customer)

    assert (heads, event.number) == (1, 2)


def test_the_head_is_published_daily_and_a_broken_chain_fails_the_job(customer: Customer, scope: Principal) -> None:
    with capture_logs() as lines:
        runner.run(job_id=UUID(publish_audit_head(str(customer.pk))), attempts=0)
    head = AuditHead.objects.get()
    published = Job.objects.get()
    AuditHead.objects.update(number=head.number + 1)

    runner.run(job_id=UUID(publish_audit_head(str(customer.pk))), attempts=0)

    broken = Job.objects.exclude(pk=published.pk).get()
    (said,) = [line for line in lines if line["event"] == "audit.head"]
    assert (said["number"], said["digest"], said["intact"]) == (head.number, head.digest, True)
    assert published.result == {"number": head.number, "digest": head.digest}
    assert broken.state == "failed"
    assert f"not intact at event {head.number + 1}: the head says {head.number + 1} events" in broken.last_error
