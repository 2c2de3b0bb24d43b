"""Splits: received, prepared once, renamed, taken away.

Files are stored first and rows committed after, so a crash in between leaves files nobody refers to, never a row without its files. No
transaction is open while a file is read, unless the caller opened one.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from engine.formats.tables import ChildLimits, Cut, cut_safely
from engine.formats.trial import UnsafeFile
from engine.frames.problems import FrameError, FrameProblem
from engine.tabular.columns import PARTS
from engine.tabular.limits import MAX_NAME
from engine.tabular.sources import TableLimits
from engine.tabular.splitting import PlanError, SplitPlan
from experiments.models import Split, Study
from experiments.services import split_files as files
from experiments.states import SPLIT_LIFECYCLE, SplitStatus
from mlops.audit.services import record
from mlops.database.locking import lock_row
from mlops.errors import DomainError, InvalidField, NotFound
from mlops.jobs import services as jobs
from mlops.jobs.models import OPEN, Job
from mlops.jobs.services import AlreadyRunning
from mlops.lifecycle.mechanism import move
from mlops.moments import iso
from mlops.storable import clean
from mlops.tenancy.roles import Principal
from registry.services.dataset_files import Source, uploaded, working_folder
from registry.services.lookups import IfMatch
from registry.services.reading import PATIENCE, UnreadableFile, turn

PREPARE_JOB = "split.prepare"
MAX_NAME_LENGTH = 200
WAITING_SECONDS = 25
"""What the sender of records waits for."""
LONG_SECONDS = 1_800
MEMORY_BYTES = 4 * 1024**3
EDITABLE = frozenset({"name", "description"})


class SplitNotReady(DomainError):
    """The split has no parts yet, or never will."""

    code = "split_not_ready"


class SplitInUse(DomainError):
    """Studies rest on the split."""

    code = "split_in_use"


class UnusableTable(UnreadableFile):
    """The rows cannot be split as asked. Errors name the field of the request that speaks of the column at fault."""

    def __init__(self, problems: tuple[FrameProblem, ...], *, plan: SplitPlan, field: str) -> None:
        super().__init__(problems, field=field)
        self.plan = plan

    def extra(self) -> dict[str, Any]:
        """As for any unreadable file, with fields of this request."""
        extra = super().extra()
        for error in extra["errors"]:
            error["field"] = self._field_of(error["field"])
        return extra

    def _field_of(self, column: str) -> str:
        named = {self.plan.target: "target", self.plan.entity_column: "entity_column", self.plan.time_column: "time_column"}
        if column in named:
            return named[column]
        return "features" if column in self.plan.features else column if column == self.field else f"{self.field}.{column}"


def plan_of(values: Mapping[str, Any]) -> SplitPlan:
    """The plan somebody asked for. Raises InvalidField naming the field at fault."""
    try:
        plan = SplitPlan.from_json(values)
    except PlanError as error:
        raise InvalidField(error.field, str(error)) from None
    for field, name in (("target", plan.target), ("entity_column", plan.entity_column), ("time_column", plan.time_column)):
        if name is not None and not 0 < len(name) <= MAX_NAME:
            raise InvalidField(field, f"Must be the name of a column, of up to {MAX_NAME} characters.")
    return plan


def split_records(
    *, name: str, plan: SplitPlan, records: list[dict[str, Any]], by: Principal, at: datetime, description: str = ""
) -> Split:
    """Split the records of a request while its sender waits. Raises InvalidField, UnusableTable (nothing is kept then) or Busy."""
    by.authorize("split.write")
    split = _new(name, description, plan, Split.Source.RECORDS, by=by, at=at)
    with working_folder() as folder:
        source = files.written_records(records, folder)
        split.source_name, split.source_size = source.name, source.size
        cut = cut_table(source, folder, plan, quick=True)
        with _kept_only_if_written(split.pk):
            parts = files.store_parts(cut.files, cut.prepared.parts, split_id=split.pk)
            with transaction.atomic():
                _insert(split, by=by, at=at)
                mark_ready(split=split, cut=cut, parts=parts, by=by, at=at)
    return split


def split_file(*, name: str, plan: SplitPlan, path: Path, file_name: str, by: Principal, at: datetime, description: str = "") -> Split:
    """Keep an uploaded file and have a job split it. Raises InvalidField or TooLarge; nothing is kept then."""
    by.authorize("split.write")
    split = _new(name, description, plan, Split.Source.FILE, by=by, at=at)
    source = uploaded(path, file_name)
    split.source_name, split.source_sha256, split.source_size = source.name, source.sha256, source.size
    with _kept_only_if_written(split.pk):
        split.source_path = files.store_source(source, split_id=split.pk)
        with transaction.atomic():
            _insert(split, by=by, at=at)
            _request(split, by=by, at=at)
    return split


def split_uri(*, name: str, plan: SplitPlan, uri: str, by: Principal, at: datetime, description: str = "") -> Split:
    """Have a job fetch and split the file that a URI names. Raises InvalidField where that may not be read."""
    by.authorize("split.write")
    split = _new(name, description, plan, Split.Source.URI, by=by, at=at)
    split.source_name = files.checked_uri(uri)
    with transaction.atomic():
        _insert(split, by=by, at=at)
        _request(split, by=by, at=at)
    return split


def change_split(*, split_id: UUID, changes: Mapping[str, Any], by: Principal, at: datetime, if_match: IfMatch | None = None) -> Split:
    """Rename or describe. Values that stay as they are change nothing. Raises NotFound, InvalidField, Stale."""
    by.authorize("split.write")
    unknown = set(changes) - EDITABLE
    if unknown:
        raise InvalidField(min(unknown), f"Cannot be changed. Changeable: {', '.join(sorted(EDITABLE))}.")
    with transaction.atomic():
        split = lock_split(split_id, if_match)
        new = {name: value for name, value in changes.items() if getattr(split, name) != value}
        if "name" in new:
            _check_name(new["name"])
        if new:
            before = {name: getattr(split, name) for name in new}
            _write(split, **new, revision=split.revision + 1, updated_at=at)
            record(action="split.changed", target=split, label=str(split), at=at, before=before, after=new, actor=by)
    return split


def delete_split(*, split_id: UUID, by: Principal, at: datetime, delete_artifacts: bool = False, if_match: IfMatch | None = None) -> None:
    """Hide the split; with `delete_artifacts` its files go too. One that is being prepared is stopped.

    Raises SplitInUse while a study rests on it, and for its files also where a version was ever trained on them; NotFound, Stale.
    """
    by.authorize("split.delete")
    with transaction.atomic():
        job = _lock_job(split_id)
        split = lock_split(split_id, if_match)
        studies = Study.objects.filter(split=split)
        living = studies.filter(deleted_at=None).count()
        if living:
            raise SplitInUse(f"{living} studies use {split}. Delete them first.")
        if delete_artifacts and (studies.exclude(version=None).exists() or studies.filter(trials__version__isnull=False).exists()):
            raise SplitInUse(f"A version was trained on {split}: its data are evidence and stay. Delete without delete_artifacts.")
        if job is not None and split.status == SplitStatus.PENDING:
            jobs.cancel(job=job, at=at, by=by)
        _write(split, deleted_at=at, updated_at=at, revision=split.revision + 1)
        after = {"deleted_at": iso(at), "artifacts": "deleted" if delete_artifacts else "kept"}
        record(action="split.deleted", target=split, label=str(split), at=at, after=after, actor=by)
        if delete_artifacts:
            # Robust: the split is gone by then, whatever the storage says; what stays there belongs to nobody.
            folder = files.folder_of(split_id)  # named now: after the commit nobody acts for the customer
            transaction.on_commit(lambda: files.empty(folder), robust=True)


def _lock_job(split_id: UUID) -> Job | None:
    """The open job that prepares a pending split: an attempt locks its job first and the split after, and so does whoever locks both."""
    job_id = Split.objects.filter(pk=split_id, status=SplitStatus.PENDING).values_list("job_id", flat=True).first()
    return Job.objects.select_for_update(no_key=True).filter(pk=job_id, state__in=OPEN).first() if job_id else None


def find_split(split_id: UUID) -> Split:
    """The split. Raises NotFound, for a deleted one too."""
    found = Split.objects.filter(pk=split_id, deleted_at=None).first()
    if found is None:
        raise NotFound("There is no such split.")
    return found


def lock_split(split_id: UUID, if_match: IfMatch | None = None) -> Split:
    """Lock the split's row; see `lock_row`. Raises NotFound, for a deleted one too."""
    return lock_row(Split.objects.filter(pk=split_id, deleted_at=None), missing="There is no such split.", if_match=if_match)


def lock_ready_split(split_id: UUID) -> Split:
    """The split locked against deletion while something is made to rest on it. Raises NotFound or SplitNotReady."""
    split = lock_split(split_id)
    if split.status != SplitStatus.READY:
        raise SplitNotReady(f"{split} is {split.status}; only a ready split can be used.")
    return split


def cut_table(source: Source, folder: Path, plan: SplitPlan, *, quick: bool) -> Cut:
    """Have the source cut into parts by a child, in turn with other readers. Raises UnusableTable, or Busy where `quick` found no place."""
    seconds, patience = (WAITING_SECONDS, PATIENCE) if quick else (LONG_SECONDS, float(LONG_SECONDS))
    read = TableLimits(max_file_bytes=max(settings.MAX_DATASET_BYTES, settings.MAX_BODY_BYTES))
    limits = ChildLimits(memory_bytes=MEMORY_BYTES, cpu_seconds=2 * seconds, wall_seconds=float(seconds), read=read)
    kind = "records" if source.field == "records" else "auto"
    try:
        with turn(patience=patience):
            return cut_safely(source.path, folder, plan, kind=kind, limits=limits)  # type: ignore[arg-type]  # one of the two words
    except FrameError as error:
        raise UnusableTable(error.problems, plan=plan, field=source.field) from error
    except UnsafeFile as error:
        raise UnusableTable((FrameProblem(error.reason, str(error)),), plan=plan, field=source.field) from error


def mark_ready(*, split: Split, cut: Cut, parts: dict[str, dict[str, Any]], by: Principal, at: datetime) -> None:
    """The parts are made and stored. Call inside a transaction, with the split locked or new."""
    made = cut.prepared
    values: dict[str, Any] = {
        "rows": made.rows,
        "parts": parts,
        "features": list(made.features),
        "boundaries": clean(made.boundaries),
        "profile": clean(made.profile),
        "reading": clean(made.reading | {"left_out": made.left_out}),
        "warnings": clean([warning.to_json() for warning in made.warnings]),
        "source_path": "",
    }
    details = {"rows": made.rows, "parts": {part: parts[part]["sha256"] for part in PARTS}}
    _move(split, SplitStatus.READY, by=by, at=at, details=details, **values)


def mark_failed(*, split: Split, problems: list[dict[str, Any]], by: Principal, at: datetime) -> None:
    """The source cannot be split as asked. Call inside a transaction, with the split locked."""
    told = clean("; ".join(str(problem["message"]) for problem in problems if problem["severity"] == "error"))
    _move(split, SplitStatus.FAILED, by=by, at=at, reason=told[:2000], problems=clean(problems), source_path="")


def _move(split: Split, to: SplitStatus, *, by: Principal, at: datetime, **values: Any) -> None:
    move(SPLIT_LIFECYCLE, split, to, label=str(split), actor=by, at=at, revision=split.revision + 1, updated_at=at, **values)


def _new(name: str, description: str, plan: SplitPlan, source: str, *, by: Principal, at: datetime) -> Split:
    _check_name(name)
    if plan.task not in ("regression", "classification"):
        raise InvalidField("task", "Must be regression or classification; a forecast learns from a data set, not from a split.")
    asked = plan.to_json()
    return Split(
        id=uuid.uuid4(),
        name=name,
        description=description,
        task=plan.task,
        target=plan.target,
        strategy=plan.strategy,
        fractions=asked["fractions"],
        seed=plan.seed,
        entity_column=plan.entity_column or "",
        time_column=plan.time_column or "",
        requested_features=list(plan.features),
        source=source,
        created_by=by.on_behalf_of or by.name,
        created_by_id=by.user_id,
        created_at=at,
        updated_at=at,
    )


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_LENGTH:
        raise InvalidField("name", f"Must be 1 to {MAX_NAME_LENGTH} characters.")


def _insert(split: Split, *, by: Principal, at: datetime) -> None:
    split.save(force_insert=True)
    after = {"name": split.name, "source": split.source, "source_name": split.source_name, "source_sha256": split.source_sha256}
    record(action="split.created", target=split, label=str(split), at=at, after=after | {"plan": asked_of(split).to_json()}, actor=by)


def asked_of(split: Split) -> SplitPlan:
    """The plan a split was asked for."""
    return SplitPlan.from_json(
        {
            "target": split.target,
            "task": split.task,
            "strategy": split.strategy,
            "fractions": split.fractions,
            "seed": split.seed,
            "entity_column": split.entity_column,
            "time_column": split.time_column,
            "features": split.requested_features,
        }
    )


def _request(split: Split, *, by: Principal, at: datetime) -> None:
    key = f"{PREPARE_JOB}:{split.pk}"
    try:
        job = jobs.request(kind=PREPARE_JOB, payload={"split_id": str(split.pk)}, label=str(split), by=by, at=at, exclusive_key=key)
    except AlreadyRunning as running:
        job = running.job
    _write(split, job_id=job.pk)


def _write(split: Split, **values: Any) -> None:
    Split.objects.filter(pk=split.pk).update(**values)
    for name, value in values.items():
        setattr(split, name, value)


@contextmanager
def _kept_only_if_written(split_id: UUID) -> Iterator[None]:
    """Files of a split whose row could not be written are removed."""
    try:
        yield
    except BaseException:
        files.discard(split_id)
        raise
