"""Celery beat's scheduler, writing the jobs of due slots straight into the database.

The stock scheduler publishes to the broker and forgets: a broker that is down loses the firing, and two beats fire twice. Here a firing is
a job row under a unique (schedule, slot), so it is durable, happens once whatever number of beats run, and a missed slot is caught up once.
"""

import time
from datetime import timedelta
from typing import Any

import structlog
from celery.beat import ScheduleEntry
from django.db import close_old_connections
from django.db.utils import InterfaceError, OperationalError
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler

from mlops.jobs import schedules

log = structlog.get_logger(__name__)

CATCH_UP_EVERY = 60.0
GRACE = timedelta(seconds=30)


class Scheduler(DatabaseScheduler):
    """DatabaseScheduler whose firings of our scheduled jobs are rows."""

    _caught_up = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round of beat, and every minute a look for slots that nobody claimed."""
        if time.monotonic() - self._caught_up > CATCH_UP_EVERY:
            self._caught_up = time.monotonic()
            self._attempt(self.catch_up)
        return float(super().tick(*args, **kwargs))

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Fire one entry: a job row for ours, a message for anything else."""
        if entry.task not in {job.task.name for job in schedules.scheduled_jobs()}:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        if advance:
            self.reserve(entry)
        self._attempt(lambda: self._fire(entry))
        return None

    def catch_up(self) -> None:
        """Fire each schedule's latest slot if nobody has, unless it is older than the schedule."""
        for entry in list(self.schedule.values()):
            if entry.task in {job.task.name for job in schedules.scheduled_jobs()} and entry.model.enabled:
                self._fire(entry, not_before=entry.model.date_changed)

    def _fire(self, entry: Any, not_before: Any = None) -> None:
        now = timezone.now()
        slot = schedules.latest_slot(entry.schedule, at=now)
        too_early = not_before is not None and slot is not None and (slot < not_before or now - slot < GRACE)
        if slot is None or too_early or schedules.was_claimed(name=entry.name, slot=slot):
            return
        schedules.fire(name=entry.name, task_name=entry.task, args=list(entry.args or []), kwargs=dict(entry.kwargs or {}), slot=slot)

    def _attempt(self, act: Any) -> None:
        try:
            act()
        except (OperationalError, InterfaceError) as failure:
            log.warning("schedule.database_unreachable", error=str(failure))
            close_old_connections()
