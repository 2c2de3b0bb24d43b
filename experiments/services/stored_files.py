"""The files in the storage and the rows that name them: is each there and unchanged, and which belong to nobody."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from uuid import uuid4

from django.db import transaction

from experiments.models import Split, Study
from experiments.services.retraining import KEPT_ARTIFACTS
from experiments.services.study_rows import KEPT
from experiments.states import OPEN_STUDIES
from mlops.artifacts.storage import DigestMismatch, Entry, ObjectMissing, storage
from mlops.audit.services import record
from mlops.database.reading import reading
from mlops.errors import InvalidField
from mlops.tenancy.context import required
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from registry.models import DatasetVersion, ModelVersion, RetrainingRun
from registry.services.dataset_files import MANIFEST
from registry.states import OPEN_RETRAININGS, DatasetVersionStatus

ROOMS = ("models", "splits", "datasets")
"""First parts of the paths of everything that belongs to a customer; the second is the customer's id."""
YOUNGEST = timedelta(hours=1)
"""Files are stored before their rows are committed: a younger one may be about to be named."""


@dataclass(frozen=True)
class Kept:
    """A file that a row names. `sha256` is empty where the row does not know it; `needed` is false where it may be gone rightly."""

    path: str
    sha256: str
    what: str
    needed: bool = True


@dataclass(frozen=True)
class Finding:
    """A file that is not as its row says."""

    path: str
    what: str
    problem: str


def probe() -> None:
    """Write, read, list and remove one small object. Raises what the storage raises, or DigestMismatch."""
    path, content = f"probe/{uuid4()}", b"Does this storage keep what it is given?"
    stored = storage().put_bytes(path, content)
    try:
        storage().read(path, sha256=stored.sha256)
        if path not in storage().list("probe"):
            raise FileNotFoundError(f"{path} was written, but is not listed.")
    finally:
        storage().delete(path)


def verify(*, digests: bool) -> tuple[int, list[Finding]]:
    """Look whether every file that a row of the ambient customer names is there, with `digests` also whether it is unchanged.

    Returns how many were looked at, and what is wrong.
    """
    with reading():
        named = list(kept_files())
    there = {entry.path for room in ROOMS for entry in storage().entries(f"{room}/{required()}")}
    findings = []
    for one in named:
        if one.path not in there:
            findings += [Finding(one.path, one.what, "missing")] if one.needed else []
        elif digests and one.sha256:
            try:
                storage().verify(one.path, sha256=one.sha256)
            except DigestMismatch as changed:
                findings.append(Finding(one.path, one.what, str(changed)))
            except ObjectMissing:  # gone since it was listed
                findings.append(Finding(one.path, one.what, "missing"))
    return len(named), findings


def orphans(*, at: datetime, age: timedelta) -> list[Entry]:
    """Files of the ambient customer that no row names, at least `age` old. Raises InvalidField for an age below YOUNGEST."""
    if age < YOUNGEST:
        raise InvalidField(
            "older_than_hours", f"Must be at least {YOUNGEST / timedelta(hours=1):g}: younger files may be about to be named."
        )
    # Listed before the rows are read: whatever is named in between is found among the rows.
    old = [entry for room in ROOMS for entry in storage().entries(f"{room}/{required()}") if entry.modified_at <= at - age]
    with reading():
        named = {one.path for one in kept_files()}
        folders = {str(PurePosixPath(path).parent) for path in named if path.endswith(f"/{MANIFEST}")}
    return [entry for entry in old if entry.path not in named and not any(entry.path.startswith(f"{folder}/") for folder in folders)]


def remove_orphans(*, by: Principal, at: datetime, age: timedelta) -> list[Entry]:
    """Remove the `orphans`; what was removed is told in the audit trail. Raises Forbidden, InvalidField."""
    by.authorize("storage.clean")
    found = orphans(at=at, age=age)
    if found:
        customer = Customer.objects.get(pk=by.customer_id)
        told = {"files": len(found), "bytes": sum(entry.size for entry in found)}
        with transaction.atomic():
            record(action="storage.cleaned", target=customer, label=customer.name, at=at, after=told, actor=by)
        for entry in found:
            storage().delete(entry.path)
    return found


def kept_files() -> Iterator[Kept]:
    """Every file that a row of the ambient customer names."""
    living = ModelVersion.objects.exclude(artifact_path="").filter(artifact_deleted_at=None)
    for path, sha256, name, label in living.values_list("artifact_path", "artifact_sha256", "model_name", "version").order_by("pk"):
        yield Kept(path, sha256, f"version {name} {label}")
    for data in DatasetVersion.objects.select_related("dataset").defer("report", "profile", "mapping").order_by("pk"):
        yield Kept(data.source_path, data.source_sha256, f"source of {data}", data.status != DatasetVersionStatus.FAILED)
        if data.panel_path:
            yield Kept(data.panel_path, data.panel_sha256, f"panel of {data}")
    yield from _of_splits()
    yield from _of_open_work()


def _of_splits() -> Iterator[Kept]:
    """A deleted split's files were removed or kept, as somebody wished; those that are there still belong to it."""
    for split in Split.objects.only("name", "parts", "source_path", "source_sha256", "deleted_at", "customer").order_by("pk"):
        needed = split.deleted_at is None
        for name, part in split.parts.items():
            yield Kept(part["path"], part["sha256"], f"{name} of split {split}", needed)
        if split.source_path:
            yield Kept(split.source_path, split.source_sha256, f"source of split {split}", needed)


def _of_open_work() -> Iterator[Kept]:
    studies = Study.objects.filter(status__in=OPEN_STUDIES).only("name", "system_attrs", "customer")
    for study in studies.order_by("pk"):
        yield from (Kept(str(path), "", f"study {study}", needed=False) for path in study.system_attrs.get(KEPT, []))
    runs = RetrainingRun.objects.filter(status__in=OPEN_RETRAININGS).order_by("pk")
    for run in runs:
        yield from (Kept(str(path), "", f"retraining {run}", needed=False) for path in run.metadata.get(KEPT_ARTIFACTS, []))
