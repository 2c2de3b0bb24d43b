"""Whose jobs the broker gets next. What it has is done in the order in which it came, so it is given little of each customer at a time.

Customers with the fewest jobs running or with the broker come first. Kinds that may take hours never have the last process.
"""

from collections import Counter
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import BooleanField, ExpressionWrapper, F, Q, Window
from django.db.models.functions import RowNumber

from mlops.jobs.models import Job, JobState


def next_in_turn(*, at: datetime, limit: int) -> list[UUID]:
    """Queued jobs to publish now, the fairest first. Two statements, each by a partial index of open jobs."""
    most = 2 * settings.JOB_PROCESSES  # of a customer, besides its long ones: enough that no process waits for the next round
    out = _under_way(at)
    room = max(settings.JOB_PROCESSES - 1, 1) - sum(count for (_, is_long), count in out.items() if is_long)
    waiting = sorted(_first_of_each(at, most), key=lambda one: out[one[1], False] + out[one[1], True] + one[3])
    chosen: list[UUID] = []
    for job_id, customer_id, is_long, place in waiting:
        if (room <= 0) if is_long else (out[customer_id, False] + place > most):
            continue
        room -= is_long
        chosen.append(job_id)
    return chosen[:limit]


def _under_way(at: datetime) -> Counter[tuple[UUID, bool]]:
    """How many jobs of each customer, long or not, run or are with the broker. What waits for another attempt holds nobody up."""
    with_broker = Q(state=JobState.QUEUED, due_at__gt=at, last_error="")
    rows = Job.objects.filter(Q(state=JobState.RUNNING) | with_broker).order_by().values_list("customer_id", "kind")
    return Counter((customer_id, kind in settings.LONG_JOBS) for customer_id, kind in rows)


def _first_of_each(at: datetime, most: int) -> list[tuple[UUID, UUID, bool, int]]:
    """The first due jobs of each customer, the oldest first: id, customer, whether long, and place among the customer's of that sort."""
    due = Job.objects.filter(state=JobState.QUEUED, due_at__lte=at)
    is_long = ExpressionWrapper(Q(kind__in=settings.LONG_JOBS), output_field=BooleanField())
    placed = due.annotate(is_long=is_long).annotate(
        place=Window(RowNumber(), partition_by=[F("customer_id"), F("is_long")], order_by=["due_at", "id"])
    )
    return list(placed.filter(place__lte=most).order_by("due_at", "id").values_list("pk", "customer_id", "is_long", "place"))
