"""Counters that are the same from every process: workers count, the web is scraped, and they may be on different machines.

What is counted inside a transaction is added to the database after it, however it ends: at the end of the task, request or relay's round.
What a transaction writes is counted with `inc_on_commit`, which it takes back with itself.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import structlog
from celery.signals import task_postrun
from django.db import DatabaseError, IntegrityError, InterfaceError, connection, transaction
from django.db.models import F
from prometheus_client.core import CounterMetricFamily

log = structlog.get_logger(__name__)

_declared: list["SharedCounter"] = []
_waiting: Counter[tuple[str, str]] = Counter()
_lock = Lock()


@dataclass(frozen=True)
class SharedCounter:
    """A counter as Prometheus knows it; `name` is without `_total`. Each is made once, when its module is imported."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _declared.append(self)

    def inc(self, amount: int = 1, **labels: str) -> None:
        """Count. A database that does not answer loses nothing: the number waits in this process."""
        if amount:
            with _lock:
                _waiting[self.name, json.dumps([labels[name] for name in self.labels])] += amount
            if not connection.in_atomic_block:
                write_counts()

    def inc_on_commit(self, amount: int = 1, **labels: str) -> None:
        """Count what the open transaction writes once it is committed, and not at all if it, or the savepoint around this, is undone.

        A process that dies right after the commit leaves it uncounted.
        """
        if amount:
            transaction.on_commit(partial(self.inc, amount, **labels))


def write_counts() -> None:
    """Add to the database what this process has counted since it last did."""
    if not _waiting:
        return
    with _lock:
        counted = list(_waiting.items())
        _waiting.clear()
    while counted:
        (name, labels), amount = counted[-1]
        try:
            _add(name, labels, amount)
        except (DatabaseError, InterfaceError) as failure:
            log.warning("counters.not_written", error=str(failure))
            with _lock:
                _waiting.update(dict(counted))
            return
        counted.pop()


def shared_counters() -> Iterator[CounterMetricFamily]:
    """Every counter with what all processes have counted."""
    from mlops.telemetry.models import CounterValue

    values: dict[str, list[tuple[list[str], int]]] = {}
    for name, labels, value in CounterValue.objects.values_list("name", "labels", "value"):
        values.setdefault(name, []).append((json.loads(labels), value))
    for counter in _declared:
        family = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
        for given, value in values.get(counter.name, [] if counter.labels else [([], 0)]):
            family.add_metric(given, value)
        yield family


@task_postrun.connect
def _after_a_task(**_: Any) -> None:
    write_counts()


def _add(name: str, labels: str, amount: int) -> None:
    from mlops.telemetry.models import CounterValue

    rows = CounterValue.objects.filter(name=name, labels=labels)
    if rows.update(value=F("value") + amount):
        return
    try:
        with transaction.atomic():
            CounterValue.objects.create(name=name, labels=labels, value=amount)
    except IntegrityError:  # another process has just counted the first
        rows.update(value=F("value") + amount)
