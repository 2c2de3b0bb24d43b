"""Promise 12: every operation with every identifier of a rival in every slot. The walk is that of `tests.test_promises`, here with all."""

import json
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from tests.test_promises import Operation, Shops, faults, operations, send, shops
from tests.torture.storms import SCALE, Storm

pytestmark = [pytest.mark.torture, pytest.mark.django_db]
NewStorm = Callable[..., Storm]
__all__ = ["shops"]


def test_no_identifier_of_a_rival_opens_anything_anywhere(shops: Shops, storm: NewStorm) -> None:
    raging = storm("12 · every operation × every id slot", on=connection.vendor)
    for operation, slot, foreign in _every(lambda one: one.path_parameters, shops):
        answer = send(shops, operation, values={slot: foreign})
        raging.count("path slots")
        _judge(raging, answer, f"{operation.method} {operation.path} {slot}={foreign}", refused=True)
    for operation, slot, foreign in _every(lambda one: one.query, shops):
        answer = send(shops, operation, query=f"?{slot}={foreign}")
        raging.count("query slots")
        _judge(raging, answer, f"{operation.method} {operation.path}?{slot}={foreign}", refused=False)
    # Last, since they may make things of ours by a rival's name.
    for operation, slot, foreign in _every(lambda one: one.fields, shops):
        answer = send(shops, operation, body=json.dumps({slot: foreign}).encode())
        raging.count("body slots")
        _judge(raging, answer, f"{operation.method} {operation.path} {{{slot}: {foreign}}}", refused=False)
    raging.assert_kept(**{"path slots": 50, "body slots": 50, "query slots": 50})


def _every(slots: Callable[[Operation], tuple[str, ...]], shops: Shops) -> Iterator[tuple[Operation, str, str]]:
    step = max(1, round(1 / SCALE)) if SCALE < 1 else 1
    for operation in operations():
        for slot in slots(operation):
            for foreign in shops.theirs[::step]:
                yield operation, slot, foreign


def _judge(raging: Storm, answer: object, what: str, *, refused: bool) -> None:
    raging.faults.extend(faults(answer, what))
    status = getattr(answer, "status_code", 0)
    raging.expect(not refused or status >= 400, f"{status} for a rival's: {what}")
