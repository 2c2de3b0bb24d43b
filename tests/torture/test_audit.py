"""Promise 15: whoever has the database, all triggers dropped, can edit, remove, reorder, forge or cut nothing that `verify` misses.

A tail that is cut together with its head is left out: that only an anchor outside the database shows.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from mlops.audit.models import AuditEvent, AuditHead
from mlops.audit.services import record, verify
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from tests.conftest import NOON
from tests.mlops.helpers import as_intruder
from tests.torture.storms import Storm, times

pytestmark = [pytest.mark.torture, pytest.mark.django_db]
NewStorm = Callable[..., Storm]
EVENTS = 60
TEXTS = ("actor", "actor_kind", "on_behalf_of", "action", "object_type", "object_id", "object_label", "reason", "request_id")
Tampering = Callable[[Any, random.Random, int], str]


def _edit_text(cursor: Any, chance: random.Random, number: int) -> str:
    column, new = chance.choice(TEXTS), chance.choice(("x", "", "système", "nobody", "é" * 9, "approved"))
    cursor.execute(f"SELECT {column} FROM audit_events WHERE number = %s", [number])
    if cursor.fetchone()[0] == new:
        new += "!"
    cursor.execute(f"UPDATE audit_events SET {column} = %s WHERE number = %s", [new, number])
    return f"{column} of {number}"


def _edit_json(cursor: Any, chance: random.Random, number: int) -> str:
    column = chance.choice(("before", "after"))
    cursor.execute(f'UPDATE audit_events SET "{column}" = %s WHERE number = %s', ['{"forged": [1, 2.5]}', number])
    return f"{column} of {number}"


def _edit_moment(cursor: Any, chance: random.Random, number: int) -> str:
    moment = f"2026-03-02 12:00:00.{chance.randint(1, 999_999):06d}" + ("+00" if connection.vendor == "postgresql" else "")
    cursor.execute("UPDATE audit_events SET occurred_at = %s WHERE number = %s", [moment, number])
    return f"the moment of {number}"


def _edit_canonical(cursor: Any, chance: random.Random, number: int) -> str:
    cursor.execute("SELECT canonical FROM audit_events WHERE number = %s", [number])
    text = cursor.fetchone()[0]
    spot = chance.randrange(len(text))
    new = text[:spot] + chance.choice('abc0 }{"') + text[spot + 1 :] if chance.random() < 0.8 else text + " "
    cursor.execute("UPDATE audit_events SET canonical = %s WHERE number = %s", [new if new != text else text + " ", number])
    return f"the canonical text of {number}"


def _edit_digest(cursor: Any, chance: random.Random, number: int) -> str:
    cursor.execute("UPDATE audit_events SET digest = %s WHERE number = %s", [f"{chance.getrandbits(256):064x}", number])
    return f"the digest of {number}"


def _edit_whole(cursor: Any, chance: random.Random, number: int) -> str:
    """Row, text and digest agree; only the next link, or the head, can tell."""
    event = AuditEvent.objects.get(number=number)
    previous = AuditEvent.objects.filter(number=number - 1).first()
    event.reason = f"forged {chance.random()}"
    from mlops.audit.services import canonical_text, link

    canonical = canonical_text(event)
    digest = link(previous.digest if previous else "", canonical)
    cursor.execute(
        "UPDATE audit_events SET reason = %s, canonical = %s, digest = %s WHERE number = %s", [event.reason, canonical, digest, number]
    )
    return f"the whole of {number}, recomputed"


def _remove(cursor: Any, chance: random.Random, number: int) -> str:
    last = min(number + chance.choice((0, 0, 3)), EVENTS)
    cursor.execute("DELETE FROM audit_events WHERE number BETWEEN %s AND %s", [number, last])
    return f"{number} to {last} removed"


def _cut(cursor: Any, chance: random.Random, number: int) -> str:
    cursor.execute("DELETE FROM audit_events WHERE number >= %s", [number])
    return f"the tail cut from {number}"


def _swap(cursor: Any, chance: random.Random, number: int) -> str:
    other = chance.choice([one for one in range(1, EVENTS + 1) if one != number])
    for source, target in ((number, 99_999), (other, number), (99_999, other)):
        cursor.execute("UPDATE audit_events SET number = %s WHERE number = %s", [target, source])
    return f"{number} and {other} swapped"


def _append(cursor: Any, chance: random.Random, number: int) -> str:
    AuditEvent.objects.bulk_create(
        [AuditEvent(number=EVENTS + chance.randint(1, 5), action="forged", canonical="{}", digest="0" * 64, occurred_at=NOON)]
    )
    return "an event beyond the head"


def _move_head(cursor: Any, chance: random.Random, number: int) -> str:
    cursor.execute("UPDATE audit_heads SET number = number + %s", [chance.choice((-1, 1, 7))])
    return "the head's number"


def _forge_head(cursor: Any, chance: random.Random, number: int) -> str:
    cursor.execute("UPDATE audit_heads SET digest = %s", [f"{chance.getrandbits(256):064x}"])
    return "the head's digest"


def _remove_head(cursor: Any, chance: random.Random, number: int) -> str:
    cursor.execute("DELETE FROM audit_heads")
    return "the head removed"


TAMPERINGS: tuple[Tampering, ...] = (
    _edit_text, _edit_json, _edit_moment, _edit_canonical, _edit_digest, _edit_whole, _remove, _cut, _swap, _append, _move_head,
    _forge_head, _remove_head,
)  # fmt: skip


@pytest.mark.parametrize("on", ["as set by TEST_DATABASE"])
def test_no_tampering_is_missed(scope: Principal, customer: Customer, storm: NewStorm, on: str) -> None:
    raging = storm("15 · tamperings of the audit chain", on=connection.vendor)
    for number in range(EVENTS - AuditEvent.objects.count()):
        record(
            action="test.act",
            target=customer,
            label=f"act {number}",
            at=NOON,
            before={"a": number},
            after={"b": [number, 1.5]},
            reason="Why",
        )
    assert AuditHead.objects.get().number == EVENTS
    assert verify().intact
    for seed in range(times(1_000, least=3 * len(TAMPERINGS))):
        chance = random.Random(seed)
        mark = transaction.savepoint()
        with as_intruder() as cursor:
            what = TAMPERINGS[seed % len(TAMPERINGS)](cursor, chance, chance.randint(1, EVENTS))
        raging.expect(not verify().intact, f"missed: {what} (seed {seed})")
        raging.count("tamperings")
        transaction.savepoint_rollback(mark)
    raging.expect(verify().intact, "the chain is broken: after all was undone")
    raging.assert_kept(tamperings=times(1_000, least=3 * len(TAMPERINGS)))
