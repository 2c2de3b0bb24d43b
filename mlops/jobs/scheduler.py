"""Celery beat's scheduler, writing the jobs of due slots straight into the database.

The stock scheduler publishes to the broker and forgets: a broker that is down loses the firing, and two beats fire twice. Here a firing is
a job row under a unique (schedule, slot), so it is durable, happens once whatever number of beats run, and a missed slot is caught up once.
"""

import time
from collections.abc import Callable
from typing import Any

import structlog
from celery.beat import ScheduleEntry
from django.db import close_old_connections
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler

from mlops.jobs import schedules

log = structlog.get_logger(__name__)

CATCH_UP_EVERY = 60.0


class Scheduler(DatabaseScheduler):
    """DatabaseScheduler whose firings of our scheduled jobs are rows."""

    _caught_up = float("-inf")

    def install_default_entries(self, data: Any) -> None:
        """None: Celery's own entry cleans a result store, which this product does not have."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round of beat, and every minute a look for slots that nobody claimed."""
        if time.monotonic() - self._caught_up > CATCH_UP_EVERY:
            self._caught_up = time.monotonic()
            self._attempt(lambda: schedules.catch_up(at=timezone.now()))
        return float(super().tick(*args, **kwargs))

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Fire one entry: a job row for ours, a message for anything else."""
        if entry.task not in {job.task.name for job in schedules.scheduled_jobs()}:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        if advance:
            self.reserve(entry)
        if not self._attempt(lambda: self._fire(entry)):
            self._dirty.discard(entry.name)  # what is not saved as run stays a missed slot, for this beat or another one
        return None

    def _fire(self, entry: Any) -> None:
        slot = schedules.latest_slot(entry.schedule, at=timezone.now())
        if slot is not None and not schedules.was_claimed(name=entry.name, slot=slot):
            schedules.fire(name=entry.name, task_name=entry.task, args=list(entry.args or []), kwargs=dict(entry.kwargs or {}), slot=slot)

    def _attempt(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except schedules.OUTAGES as failure:
            log.warning("schedule.database_unreachable", error=str(failure))
            close_old_connections()
            return False
        return True
