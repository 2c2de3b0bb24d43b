"""The job that reads a large data file whole."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from mlops.database.reading import reading
from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.models import Job
from mlops.jobs.runner import Attempt, job
from mlops.jobs.services import Cancelled, JobRefused
from mlops.outbox.events import subscribe
from mlops.storable import clean
from mlops.tenancy.roles import Principal, system
from registry.models import DatasetVersion
from registry.services import dataset_files as files
from registry.services import datasets
from registry.services.reading import UnreadableFile
from registry.states import DatasetVersionStatus


@job(datasets.IMPORT_JOB)
def import_dataset(attempt: Attempt) -> dict[str, Any]:
    """Make the version's panel. A repeated attempt finds what was done and says it again."""
    with reading():
        version = DatasetVersion.objects.select_related("dataset").get(pk=UUID(attempt.payload["dataset_version_id"]))
    if version.status == DatasetVersionStatus.FAILED:
        raise JobRefused(_told(version.report.get("problems", [])))
    if version.status == DatasetVersionStatus.RECEIVED:
        try:
            _read(version, attempt)
        except UnreadableFile as refusal:
            problems = [problem.to_json() for problem in refusal.problems]
            with attempt.fenced():
                datasets.mark_failed(version=version, problems=problems, by=_by(attempt), at=timezone.now())
            raise JobRefused(str(refusal)) from refusal
        except Cancelled:
            _fail(version, "cancelled", "Reading the file was cancelled.", _by(attempt))
            raise
    return {"dataset": version.dataset.name, "dataset_version": version.number, "rows": version.rows, "series": version.series}


@subscribe(JobFailed, "registry.dataset_import")
def give_up_reading(event: JobFailed) -> None:
    """The job failed for good without an answer about the file: the version says so too."""
    if event.kind != datasets.IMPORT_JOB:
        return
    row = Job.objects.get(pk=event.job_id)
    version = DatasetVersion.objects.select_related("dataset").filter(pk=UUID(row.payload["dataset_version_id"])).first()
    if version is not None and version.status == DatasetVersionStatus.RECEIVED and datasets.open_import(version) is None:
        _fail(version, "job_failed", f"The file could not be read: {event.error}", system(row.customer_id))


@subscribe(JobCancelled, "registry.dataset_import_cancelled")
def give_up_cancelled(event: JobCancelled) -> None:
    """The job was cancelled before a worker took it: nobody else tells the version. One that was asked for again meanwhile goes on."""
    if event.kind != datasets.IMPORT_JOB:
        return
    row = Job.objects.get(pk=event.job_id)
    version = DatasetVersion.objects.select_related("dataset").filter(pk=UUID(row.payload["dataset_version_id"])).first()
    if version is not None and version.status == DatasetVersionStatus.RECEIVED and datasets.open_import(version) is None:
        _fail(version, "cancelled", "Reading the file was cancelled.", system(row.customer_id))


def _read(version: DatasetVersion, attempt: Attempt) -> None:
    with files.working_folder() as folder:
        attempt.progress(0.05, "Fetching the file")
        source = files.fetch_source(version, folder, field="file")
        attempt.progress(0.2, "Reading it whole")
        made = datasets.make_panel(source, version, folder, at=version.created_at, quick=False)
    attempt.progress(0.95, "Writing the result")
    with attempt.fenced():
        datasets.mark_ready(version=version, made=made, by=_by(attempt), at=timezone.now())


def _fail(version: DatasetVersion, code: str, message: str, by: Principal) -> None:
    problem: dict[str, Any] = {"code": code, "message": message, "severity": "error", "column": None, "rows": 0, "examples": []}
    with transaction.atomic():
        datasets.mark_failed(version=version, problems=[problem], by=by, at=timezone.now())


def _by(attempt: Attempt) -> Principal:
    return replace(system(attempt.customer_id), on_behalf_of=attempt.requested_by)


def _told(problems: list[dict[str, Any]]) -> str:
    told: str = clean(" ".join(str(problem.get("message", "")) for problem in problems if problem.get("severity") == "error"))
    return told or "The file could not be read."
