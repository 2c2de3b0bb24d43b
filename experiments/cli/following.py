"""Long work in a terminal: followed while a worker does it, or done in this process as a worker would do it."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from uuid import UUID

from django.core.management.base import CommandParser
from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.cli.output import inert
from mlops.jobs import runner
from mlops.jobs.models import OPEN, Job, JobState

PAUSE = 0.5
LONELY = 20.0
"""Seconds in the queue after which it is time to say that perhaps no worker runs."""


def working_arguments(parser: CommandParser) -> None:
    """`--wait`, `--here`."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--wait", action="store_true", help="Wait until a worker has done it; exit code 1 where it failed.")
    how.add_argument("--here", action="store_true", help="Do it in this process instead of in a worker.")


def do_here(jobs: Sequence[Job]) -> None:
    """Do the next attempt of each job that waits; one that a worker has meanwhile is followed instead."""
    for job in jobs:
        with _bar([job.pk]):
            runner.run(job_id=job.pk, attempts=job.attempt)
    follow([job.pk for job in jobs])


def follow(job_ids: Sequence[UUID]) -> list[Job]:
    """Wait until all have ended. Interrupted, the work goes on without us."""
    if not Job.objects.filter(pk__in=job_ids, state__in=OPEN).exists():
        return _ended(job_ids)
    began, said = time.monotonic(), False
    with _bar(job_ids) as console:
        while True:
            open_jobs = list(Job.objects.filter(pk__in=job_ids, state__in=OPEN))
            if not open_jobs:
                return _ended(job_ids)
            waits = all(job.state == JobState.QUEUED for job in open_jobs)
            if waits and not said and time.monotonic() - began > LONELY:
                console.print("Still waiting for a worker: `make up` starts one; --here does the work in this process.")
                said = True
            time.sleep(PAUSE)


def _ended(job_ids: Sequence[UUID]) -> list[Job]:
    return list(Job.objects.filter(pk__in=job_ids).order_by("created_at", "pk"))


@contextmanager
def _bar(job_ids: Sequence[UUID]) -> Iterator[Console]:
    """A progress bar on standard error, drawn from the jobs' rows by a thread; none where nobody looks."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield console
        return
    columns = BarColumn(bar_width=30), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    done = Event()
    with Progress(*columns, console=console, transient=True) as progress:
        thread = Thread(target=_draw, args=(progress, job_ids, done), daemon=True)
        thread.start()
        try:
            yield progress.console
        finally:
            done.set()
            thread.join()


def _draw(progress: Progress, job_ids: Sequence[UUID], done: Event) -> None:
    task = progress.add_task("waiting for a worker", total=1.0)
    try:
        while not done.wait(PAUSE):
            rows = list(Job.objects.filter(pk__in=job_ids).values_list("progress", "progress_text", "state"))
            texts = [text or state for _, text, state in rows]
            progress.update(task, completed=sum(row[0] for row in rows) / max(len(rows), 1), description=inert(texts[0] if texts else ""))
    finally:
        connection.close()
