"""The job that fetches a split's source, cuts it and keeps the parts. A repeated attempt finds what was done and says it again."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from experiments.models import Split
from experiments.services import split_files as files
from experiments.services import splitting
from experiments.states import SplitStatus
from mlops.artifacts.storage import DigestMismatch, ObjectMissing, TooLarge, storage
from mlops.database.reading import reading
from mlops.errors import InvalidField
from mlops.jobs.models import Job
from mlops.jobs.runner import Attempt
from mlops.jobs.services import Cancelled, JobRefused
from mlops.storable import clean
from mlops.tenancy.roles import Principal, system
from registry.services.dataset_files import Source, shown_name, working_folder
from registry.services.reading import UnreadableFile


def prepare(attempt: Attempt) -> dict[str, Any]:
    """Make the parts. Raises JobRefused where the source cannot be split as asked; the split says why, and nothing of it is kept."""
    split_id = UUID(attempt.payload["split_id"])
    split = _read(split_id)
    if split.status == SplitStatus.PENDING:
        try:
            _prepare(split, attempt)
        except (UnreadableFile, InvalidField, TooLarge, files.SourceUnavailable, DigestMismatch, ObjectMissing) as refusal:
            with attempt.fenced():
                _fail(split_id, _problems_of(refusal), _by(attempt))
            files.discard(split_id)
            raise JobRefused(clean(str(refusal))) from refusal
        except Cancelled:
            give_up(split_id, code="cancelled", message="Preparing the split was cancelled.", by=_by(attempt))
            raise
        split = _read(split_id)
    if split.status == SplitStatus.FAILED:
        files.discard(split_id)
        raise JobRefused(clean("; ".join(str(problem["message"]) for problem in split.problems)) or "The split failed.")
    # The source was kept only to be read; an attempt that dies here leaves this to the next one.
    files.discard(split_id, but={part["path"] for part in split.parts.values()})
    return {"split_id": str(split_id), "rows": split.rows, "parts": {name: part["rows"] for name, part in split.parts.items()}}


def give_up(split_id: UUID, *, code: str, message: str, by: Principal) -> None:
    """The split will never be ready; a split that is not pending is left as it is."""
    with transaction.atomic():
        failed = _fail(split_id, [_problem(code, message)], by)
    if failed:
        files.discard(split_id)


def give_up_after_job(job: Job, *, code: str, message: str) -> None:
    """As `give_up`, for a job that ended without a word about its split."""
    give_up(UUID(job.payload["split_id"]), code=code, message=message, by=system(job.customer_id))


def _prepare(split: Split, attempt: Attempt) -> None:
    with working_folder() as folder:
        attempt.progress(0.05, "Fetching the file")
        source = _source(split, folder)
        attempt.progress(0.2, "Reading, judging and cutting it")
        cut = splitting.cut_table(source, folder, splitting.asked_of(split), quick=False)
        attempt.progress(0.9, "Keeping the parts")
        parts = files.store_parts(cut.files, cut.prepared.parts, split_id=split.pk)
    with attempt.fenced():
        current = Split.objects.select_for_update(no_key=True).get(pk=split.pk)
        if split.source == Split.Source.URI:
            Split.objects.filter(pk=split.pk).update(source_sha256=source.sha256, source_size=source.size)
        splitting.mark_ready(split=current, cut=cut, parts=parts, by=_by(attempt), at=timezone.now())


def _source(split: Split, folder: Path) -> Source:
    if split.source == Split.Source.URI:
        return files.fetched(split.source_name, folder)
    path = storage().fetch(split.source_path, folder / "source", sha256=split.source_sha256)
    return Source(path, shown_name(split.source_name), split.source_sha256, split.source_size or 0)


def _read(split_id: UUID) -> Split:
    with reading():
        return Split.objects.get(pk=split_id)


def _fail(split_id: UUID, problems: list[dict[str, Any]], by: Principal) -> bool:
    split = Split.objects.select_for_update(no_key=True).get(pk=split_id)
    if split.status != SplitStatus.PENDING:
        return False
    splitting.mark_failed(split=split, problems=problems, by=by, at=timezone.now())
    return True


def _problems_of(refusal: Exception) -> list[dict[str, Any]]:
    if isinstance(refusal, UnreadableFile):
        return [problem.to_json() for problem in refusal.problems]
    code = "artifact_missing" if isinstance(refusal, ObjectMissing) else getattr(refusal, "code", "artifact_digest_mismatch")
    return [_problem(code, str(refusal))]


def _problem(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "severity": "error", "column": None, "rows": 0, "examples": []}


def _by(attempt: Attempt) -> Principal:
    return replace(system(attempt.customer_id), on_behalf_of=attempt.requested_by)
