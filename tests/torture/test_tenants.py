"""Promise 12: every operation with every identifier of a rival in every slot. The walk is that of `tests.test_promises`, here with all."""

from collections.abc import Callable

import pytest
from django.db import connection

from tests.test_promises import Shops, faults, operations, send, shops
from tests.torture.storms import SCALE, Storm

pytestmark = [pytest.mark.torture, pytest.mark.django_db]
NewStorm = Callable[..., Storm]
__all__ = ["shops"]


def test_no_identifier_of_a_rival_opens_anything_anywhere(shops: Shops, storm: NewStorm) -> None:
    raging = storm("12 · every operation × every id slot", on=connection.vendor)
    every = max(1, round(1 / SCALE)) if SCALE < 1 else 1
    for operation in operations():
        for slot in operation.path_parameters:
            for number, foreign in enumerate(shops.theirs):
                if number % every:
                    continue
                answer = send(shops, operation, values={slot: foreign})
                raging.count("path slots")
                _judge(raging, answer, f"{operation.method} {operation.path} {slot}={foreign}", refused=True)
        for slot in operation.fields:
            for foreign in shops.theirs[::every]:
                answer = send(shops, operation, body=_body(slot, foreign))
                raging.count("body slots")
                _judge(raging, answer, f"{operation.method} {operation.path} {{{slot}: {foreign}}}", refused=False)
        for slot in operation.query:
            for foreign in shops.theirs[::every]:
                answer = send(shops, operation, query=f"?{slot}={foreign}")
                raging.count("query slots")
                _judge(raging, answer, f"{operation.method} {operation.path}?{slot}={foreign}", refused=False)
    raging.assert_kept(**{"path slots": 50, "body slots": 50, "query slots": 50})


def _body(slot: str, foreign: str) -> bytes:
    return b'{"%s": "%s"}' % (slot.encode(), foreign.encode())


def _judge(raging: Storm, answer: object, what: str, *, refused: bool) -> None:
    raging.faults.extend(faults(answer, what))
    status = getattr(answer, "status_code", 0)
    raging.expect(not refused or status >= 400, f"{status} for a rival's: {what}")
