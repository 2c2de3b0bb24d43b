"""What several tests of the platform need."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

from django.db import connection, connections

from mlops.database import guards
from mlops.outbox.models import Message
from mlops.tenancy.models import Customer

Result = TypeVar("Result")


def on_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """What the coroutine returns, run on an event loop in a thread of its own: browser tests leave one running in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def in_threads(count: int, act: Callable[[int], object], *, seconds: float = 60) -> list[BaseException]:
    """Run `act(number)` in that many threads at once; returns what they raised."""
    raised: list[BaseException] = []

    def run(number: int) -> None:
        try:
            act(number)
        except BaseException as failure:  # noqa: BLE001 - handed to the test, which judges it
            raised.append(failure)
        finally:
            connections.close_all()

    threads = [Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    return raised


@contextmanager
def as_intruder() -> Iterator[Any]:
    """A cursor of the tables' owner with all guards dropped, in the test's own transaction: what somebody with the database can do."""
    postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if postgresql:
            cursor.execute("SET LOCAL ROLE NONE")
        guards.allow_deletion(connection)
        yield cursor
        if postgresql:
            cursor.execute("SET LOCAL ROLE tiltyard_app")


def topics(customer: Customer) -> list[str]:
    """What news the customer's outbox holds, oldest first."""
    return list(Message.objects.filter(customer=customer).order_by("created_at").values_list("topic", flat=True))
