"""What grows without end is cut back here: in batches, each a transaction, bounded per run, and safe to repeat at any moment.

Apps above add steps of their own with `@upkeep`. Nothing that an audit event points at is ever removed.
"""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from mlops.api.models import IdempotencyRecord
from mlops.audit.models import AuditEvent
from mlops.jobs.models import OPEN, Job
from mlops.outbox.models import Message
from mlops.tenancy import logins
from mlops.tenancy.context import required

log = structlog.get_logger(__name__)

BATCH = 500
MOST = 50_000
"""Rows that one step removes in one run; the next run goes on."""

Step = Callable[[datetime, int, bool], int]
"""Takes the moment, the most rows to remove, and whether only to count them; returns how many it removed or would."""
_steps: dict[str, Step] = {}


def upkeep(name: str) -> Callable[[Step], Step]:
    """Decorator: the function is one step of upkeep, for the ambient customer."""

    def register(step: Step) -> Step:
        _steps[name] = step
        return step

    return register


def apply_retention(*, at: datetime, dry_run: bool = False, between: Callable[[], None] = lambda: None) -> dict[str, int]:
    """Run every step for the ambient customer; how many rows or files each removed, or with `dry_run` would.

    `between` is called before each batch, and may raise to stop.
    """
    removed = {name: _run(step, at, dry_run, between) for name, step in sorted(_steps.items())}
    if not dry_run:
        _refresh_statistics()
    log.info("retention.applied", dry_run=dry_run, **{name.replace(" ", "_"): count for name, count in removed.items()})
    return removed


def _refresh_statistics() -> None:
    """SQLite chooses indexes by statistics that somebody has to gather, of a sample of each table that changed much; PostgreSQL does so
    by itself. The flags ask for all tables, not only those that this connection has queried."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA analysis_limit = 1000")
            cursor.execute("PRAGMA optimize = 0x10002")


def _run(step: Step, at: datetime, dry_run: bool, between: Callable[[], None]) -> int:
    if dry_run:
        between()
        return step(at, MOST, True)
    total = 0
    while total < MOST:
        between()
        count = step(at, BATCH, False)
        total += count
        if count < BATCH:
            break
    return total


def delete_batch(rows: "QuerySet[Any]", limit: int, dry_run: bool) -> int:
    """Delete the first rows of the query in a transaction of their own, or count them."""
    with transaction.atomic():
        keys = list(rows.values_list("pk", flat=True)[:limit])
        if keys and not dry_run:
            rows.model.objects.filter(pk__in=keys).delete()
    return len(keys)


def told_of(model: type[Model]) -> set[UUID]:
    """Ids of the rows that an audit event of the ambient customer points at. Few: what upkeep removes is rarely acted upon by hand."""
    events = AuditEvent.objects.filter(object_type=model._meta.label_lower)
    return {UUID(text) for text in events.values_list("object_id", flat=True).distinct()}


def _named_by_rows() -> list[Q]:
    """Conditions under which some row names the job as the one that made it: such a row may be evidence, and its job explains it."""
    makers = [model for model in apps.get_models() if any(field.name == "job_id" for field in model._meta.get_fields())]
    return [Q(Exists(model._default_manager.filter(job_id=OuterRef("pk")))) for model in makers]  # noqa: SLF001 - Django's documented name


@upkeep("idempotency records")
def _idempotency_records(at: datetime, limit: int, dry_run: bool) -> int:
    old = Q(created_at__lt=at - timedelta(days=settings.IDEMPOTENCY_KEPT_DAYS), expires_at__lt=at)
    return delete_batch(IdempotencyRecord.objects.filter(old).order_by("created_at"), limit, dry_run)


@upkeep("outbox messages")
def _outbox_messages(at: datetime, limit: int, dry_run: bool) -> int:
    handled = Message.objects.filter(customer_id=required(), handled_at__lt=at - timedelta(days=settings.OUTBOX_KEPT_DAYS))
    with transaction.atomic():
        return delete_batch(handled.exclude(pk__in=told_of(Message)).order_by("created_at"), limit, dry_run)


@upkeep("jobs")
def _jobs(at: datetime, limit: int, dry_run: bool) -> int:
    """Ended jobs that no row names, but each schedule's newest: its row is what keeps the slot from firing again."""
    ours = Job.objects.filter(customer_id=required())
    ended = ours.exclude(state__in=OPEN).filter(finished_at__lt=at - timedelta(days=settings.JOBS_KEPT_DAYS))
    later = ours.filter(schedule=OuterRef("schedule"), slot__gt=OuterRef("slot"))
    with transaction.atomic():
        free = ended.filter(Q(slot=None) | Exists(later)).exclude(pk__in=told_of(Job))
        for named in _named_by_rows():
            free = free.exclude(named)
        return delete_batch(free.order_by("finished_at"), limit, dry_run)


@upkeep("sessions")
def _sessions(at: datetime, limit: int, dry_run: bool) -> int:
    return delete_batch(Session.objects.filter(expire_date__lt=at).order_by("expire_date"), limit, dry_run)


@upkeep("login records")
def _login_records(at: datetime, limit: int, dry_run: bool) -> int:
    return delete_batch(logins.forgotten(at=at), limit, dry_run)


@upkeep("temporary files")
def _temporary_files(at: datetime, limit: int, dry_run: bool) -> int:
    """What a killed process left of uploads and working folders, on this machine."""
    old = at - timedelta(hours=settings.TEMPORARY_FILES_KEPT_HOURS)
    found = [entry for entry in sorted(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir()) if _changed_at(entry) < old][:limit]
    if not dry_run:
        for entry in found:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    return len(found)


def _changed_at(entry: Path) -> datetime:
    try:
        return datetime.fromtimestamp(entry.lstat().st_mtime, UTC)
    except FileNotFoundError:  # gone since it was listed
        return datetime.max.replace(tzinfo=UTC)
