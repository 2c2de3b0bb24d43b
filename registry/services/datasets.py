"""Data sets: received, read whole in a child process, kept as canonical panels.

Files are stored first and rows committed after, so a crash in between leaves files nobody refers to, never a row without its file.
No transaction is open while a file is read, unless the caller opened one.
"""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Prefetch, QuerySet

from engine.frames.mapping import Mapping
from engine.frames.problems import Report
from engine.frames.proposing import Proposal
from mlops.artifacts.storage import Stored
from mlops.audit.services import record
from mlops.database.locking import lock_row
from mlops.database.reading import reading
from mlops.errors import Duplicate, InvalidField, NotFound
from mlops.jobs.models import Job
from mlops.jobs.queries import open_jobs
from mlops.jobs.services import AlreadyRunning, request
from mlops.lifecycle.mechanism import move
from mlops.storable import clean, storable
from mlops.tenancy.roles import Principal
from registry.models import Dataset, DatasetVersion, RegisteredModel
from registry.services import dataset_files as files
from registry.services.dataset_files import Source
from registry.services.lookups import as_uuid, shown
from registry.services.model_settings import configure_model
from registry.services.reading import SMALL_FILE, UnreadableFile, parse_mapping, propose, read
from registry.states import DATASET_VERSION_LIFECYCLE, DatasetVersionStatus

IMPORT_JOB = "import_dataset"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}\Z")
GivenMapping = Mapping | dict[str, Any] | None


@dataclass(frozen=True)
class Received:
    """What became of a file. `job` reads it where it is large; `repeated`: the newest version already was this file under this mapping."""

    version: DatasetVersion
    job: Job | None = None
    repeated: bool = False


@dataclass(frozen=True)
class Panelled:
    """A panel that was made and stored, before its row says so."""

    stored: Stored
    report: Report


def receive_dataset(
    *,
    name: str,
    source: Path,
    source_name: str,
    by: Principal,
    at: datetime,
    mapping: GivenMapping = None,
    model: RegisteredModel | None = None,
    in_job: bool | None = None,
) -> Received:
    """Make a data set from an uploaded file; with `model`, its source of data from now on.

    `in_job` None reads small files at once and leaves large ones to a job. Raises InvalidField, Duplicate, UnreadableFile (nothing is kept
    then), Busy or TooLarge.
    """
    by.authorize("dataset.write")
    given = parse_mapping(mapping)
    dataset = _new_dataset(name, by, at)
    return _take(dataset, files.uploaded(source, source_name), given, by=by, at=at, model=model, in_job=in_job)


def new_version(
    *,
    dataset: Dataset,
    source: Path,
    source_name: str,
    by: Principal,
    at: datetime,
    mapping: GivenMapping = None,
    in_job: bool | None = None,
) -> Received:
    """Add a newer file, read under the data set's mapping unless another is given. See `receive_dataset`."""
    by.authorize("dataset.write")
    given = parse_mapping(mapping) or parse_mapping(dataset.mapping)
    return _take(dataset, files.uploaded(source, source_name), given, by=by, at=at, in_job=in_job)


def remap(*, dataset: Dataset, mapping: Mapping | dict[str, Any], by: Principal, at: datetime, in_job: bool | None = None) -> Received:
    """Read the newest version's source again under another mapping, as a new version. See `receive_dataset`."""
    by.authorize("dataset.write")
    given = parse_mapping(mapping)
    with reading():
        newest = newest_version(dataset)
    with files.working_folder() as folder:
        return _take(dataset, files.fetch_source(newest, folder), given, by=by, at=at, in_job=in_job, of=newest)


def import_path(
    *,
    name: str,
    path: Path | str,
    by: Principal,
    at: datetime,
    mapping: GivenMapping = None,
    model: RegisteredModel | None = None,
    in_job: bool | None = False,
    new_only: bool = False,
    trusted: bool = False,
) -> Received:
    """Take in a local file or folder: a new data set, or a newer version where the name exists (`new_only` refuses that with Duplicate).

    The path must lie below an allowed root unless it is `trusted`, as what an operator gives to a command is. Read at once by default,
    for callers that are jobs themselves. See `receive_dataset`.
    """
    by.authorize("dataset.write")
    found = Path(path) if trusted else files.data_path(str(path))
    given = parse_mapping(mapping)
    with reading():
        existing = Dataset.objects.filter(name=name).first() if storable(name) else None
    if existing is None or new_only:
        dataset = _new_dataset(name, by, at)
    else:
        dataset, given = existing, given or parse_mapping(existing.mapping)
    with files.working_folder() as folder:
        return _take(dataset, files.copied(found, folder), given, by=by, at=at, model=model, in_job=in_job)


def dataset_named(name: str) -> Dataset:
    """The customer's data set by its name or id, with `newest_versions`. Raises NotFound."""
    identifier = as_uuid(name)
    wanted = {"pk": identifier} if identifier else {"name": name}
    dataset = datasets().filter(**wanted).first() if storable(name) else None
    if dataset is None:
        raise NotFound(f"There is no data set named {shown(name)}.")
    return dataset


def datasets() -> QuerySet[Dataset]:
    """The customer's data sets, each with its newest version in the list `newest_versions`: one more query, whatever their number."""
    newest = DatasetVersion.objects.filter(number=F("dataset__last_version_number")).select_related("dataset")
    return Dataset.objects.prefetch_related(Prefetch("versions", queryset=newest, to_attr="newest_versions"))


def version_numbered(dataset: Dataset, number: int) -> DatasetVersion:
    """One version. Raises NotFound."""
    version = DatasetVersion.objects.select_related("dataset").filter(dataset=dataset, number=number).first()
    if version is None:
        raise NotFound(f"The data set {dataset.name} has no version {number}.")
    return version


def newest_version(dataset: Dataset) -> DatasetVersion:
    """The last version received, whatever became of it. Raises NotFound."""
    return version_numbered(dataset, dataset.last_version_number)


def open_import(version: DatasetVersion) -> Job | None:
    """The job that is to read the version, if it is still to."""
    return open_jobs().filter(exclusive_key=_key(version)).first()


def make_panel(
    source: Source, version: DatasetVersion, folder: Path, *, at: datetime, quick: bool, proposal: Proposal | None = None
) -> Panelled:
    """Read the source whole and store its panel; the row is the caller's to write. Raises UnreadableFile or Busy."""
    mapping = Mapping.from_json(version.mapping)
    report = read(source, folder / "panel.parquet", mapping, at=at, quick=quick, proposal=proposal)
    return Panelled(files.store_panel(folder / "panel.parquet", dataset_id=version.dataset_id, version_id=version.pk), report)


def mark_ready(*, version: DatasetVersion, made: Panelled, by: Principal, at: datetime) -> DatasetVersion:
    """The panel is there. Call inside a transaction; the data set's mapping becomes the one that worked."""
    dataset = Dataset.objects.select_for_update(no_key=True).get(pk=version.dataset_id)
    report = made.report
    move(
        DATASET_VERSION_LIFECYCLE,
        version,
        DatasetVersionStatus.READY,
        label=str(version),
        actor=by,
        at=at,
        details={"rows": report.panel_rows, "series": report.series, "panel_sha256": made.stored.sha256},
        panel_path=made.stored.path,
        panel_sha256=made.stored.sha256,
        rows=report.panel_rows,
        series=report.series,
        first_day=report.first_day,
        last_day=report.last_day,
        report=clean(report.to_json()),
    )
    if dataset.last_version_number == version.number:
        Dataset.objects.filter(pk=dataset.pk).update(mapping=version.mapping)
    return version


def mark_failed(*, version: DatasetVersion, problems: list[dict[str, Any]], by: Principal, at: datetime) -> DatasetVersion:
    """The source could not be read. Call inside a transaction."""
    Dataset.objects.select_for_update(no_key=True).get(pk=version.dataset_id)
    told = " ".join(str(problem["message"]) for problem in problems)
    report = {"problems": clean(problems)}
    move(
        DATASET_VERSION_LIFECYCLE,
        version,
        DatasetVersionStatus.FAILED,
        label=str(version),
        actor=by,
        at=at,
        reason=clean(told)[:2000],
        report=report,
    )
    return version


def _take(
    dataset: Dataset,
    source: Source,
    mapping: Mapping | None,
    *,
    by: Principal,
    at: datetime,
    model: RegisteredModel | None = None,
    in_job: bool | None = None,
    of: DatasetVersion | None = None,
) -> Received:
    """Read, store, then commit. `of`: the version whose stored source this is."""
    if model is not None:
        by.authorize("model.configure")
    if mapping is not None and (repeated := _repeat(dataset, source, mapping, by=by, at=at)):
        with transaction.atomic():
            _use_for(model, dataset, by=by, at=at)
        return repeated
    proposal = None if of else propose(source, at=at, needed=mapping is None, quick=in_job is not False)
    version = _version_of(dataset, source, mapping, proposal, by=by, at=at)
    version.profile = of.profile if of else version.profile
    version.source_path = of.source_path if of else ""
    made = _read_now(source, version, proposal, at=at, in_job=in_job)
    version.source_path = version.source_path or files.store_source(source, dataset_id=dataset.pk, version_id=version.pk)
    try:
        received = _commit(dataset, version, source, made, by=by, at=at, model=model)
    except (Duplicate, NotFound):
        files.discard(dataset_id=dataset.pk, version_id=version.pk)
        raise
    if received.version.pk != version.pk:
        files.discard(dataset_id=dataset.pk, version_id=version.pk)
    return received


def _read_now(source: Source, version: DatasetVersion, proposal: Proposal | None, *, at: datetime, in_job: bool | None) -> Panelled | None:
    """The panel, or None where a job is to make it: the caller wants one, the file is large, or reading it takes too long to wait for."""
    if in_job or (in_job is None and source.size > SMALL_FILE):
        return None
    try:
        with files.working_folder() as folder:
            return make_panel(source, version, folder, at=at, quick=in_job is None, proposal=proposal)
    except UnreadableFile as refusal:
        if in_job is None and refusal.took_too_long:
            return None
        raise


def _version_of(
    dataset: Dataset, source: Source, mapping: Mapping | None, proposal: Proposal | None, *, by: Principal, at: datetime
) -> DatasetVersion:
    profile = proposal.to_json() if proposal else {}
    proposed = profile.pop("mapping", None)
    return DatasetVersion(
        dataset=dataset,
        source_name=source.name,
        source_sha256=source.sha256,
        source_size=source.size,
        mapping=mapping.to_json() if mapping else proposed,
        profile=clean(profile),
        created_by=by.on_behalf_of or by.name,
        created_at=at,
    )


def _commit(
    dataset: Dataset,
    version: DatasetVersion,
    source: Source,
    made: Panelled | None,
    *,
    by: Principal,
    at: datetime,
    model: RegisteredModel | None,
) -> Received:
    """All rows in one transaction. Raises Duplicate or NotFound where the name was taken, or the data set deleted, meanwhile."""
    with transaction.atomic():
        if dataset._state.adding:  # noqa: SLF001 - Django's documented way to tell a row that was never saved
            dataset.mapping = version.mapping
            _insert(dataset, by, at)
        dataset = lock_row(Dataset.objects.filter(pk=dataset.pk), missing=f"The data set {dataset.name} was deleted meanwhile.")
        repeated = _repeat(dataset, source, Mapping.from_json(version.mapping), by=by, at=at)
        if repeated:  # somebody sent the same at the same time
            return repeated
        version.dataset, version.number = dataset, dataset.last_version_number + 1
        version.save(force_insert=True)
        dataset.last_version_number = version.number
        dataset.save(update_fields=["last_version_number"])
        after = {"source_name": version.source_name, "source_sha256": version.source_sha256, "source_size": version.source_size}
        record(action="dataset_version.received", target=version, label=str(version), at=at, after=after, actor=by)
        job = None
        if made is None:
            job = _request_import(version, by=by, at=at)
        else:
            mark_ready(version=version, made=made, by=by, at=at)
        _use_for(model, dataset, by=by, at=at)
    return Received(version, job)


def _use_for(model: RegisteredModel | None, dataset: Dataset, *, by: Principal, at: datetime) -> None:
    if model is not None and model.dataset_id != dataset.pk:
        configure_model(model=model, changes={"dataset": dataset}, by=by, at=at)


def _insert(dataset: Dataset, by: Principal, at: datetime) -> None:
    try:
        with transaction.atomic():
            dataset.save(force_insert=True)
    except IntegrityError:
        raise Duplicate(f"A data set named {dataset.name} exists already.") from None
    record(action="dataset.created", target=dataset, label=dataset.name, at=at, after={"name": dataset.name}, actor=by)


def _repeat(dataset: Dataset, source: Source, mapping: Mapping, *, by: Principal, at: datetime) -> Received | None:
    """The newest version, where it is these bytes under this mapping and did not fail; one whose job was cancelled is read after all."""
    if dataset._state.adding:  # noqa: SLF001 - as above
        return None
    with reading():
        newest = DatasetVersion.objects.select_related("dataset").filter(dataset=dataset).order_by("-number").first()
    if newest is None or newest.status == DatasetVersionStatus.FAILED or newest.source_sha256 != source.sha256:
        return None
    if Mapping.from_json(newest.mapping) != mapping:
        return None
    job = None
    if newest.status == DatasetVersionStatus.RECEIVED:
        with transaction.atomic():
            job = _request_import(newest, by=by, at=at)
    return Received(newest, job, repeated=True)


def _request_import(version: DatasetVersion, *, by: Principal, at: datetime) -> Job:
    payload = {"dataset_version_id": str(version.pk)}
    try:
        return request(kind=IMPORT_JOB, payload=payload, label=str(version), by=by, at=at, exclusive_key=_key(version))
    except AlreadyRunning as running:
        return running.job


def _new_dataset(name: str, by: Principal, at: datetime) -> Dataset:
    if not NAME.match(name) or as_uuid(name):
        raise InvalidField("name", "Must be 1 to 128 of a–z 0–9 _ . - beginning with a letter or digit, and no UUID.")
    with reading():
        taken = Dataset.objects.filter(name=name).exists()
    if taken:
        raise Duplicate(f"A data set named {name} exists already.")
    return Dataset(id=uuid.uuid4(), name=name, created_by=by.on_behalf_of or by.name, created_at=at)


def _key(version: DatasetVersion) -> str:
    return f"{IMPORT_JOB}:{version.pk}"
