"""Removing a data set that nothing refers to. Its rows go in one transaction; its files after the commit, told by an event."""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.apps import apps
from django.db import transaction
from django.db.models import PROTECT, ForeignKey, Model, ProtectedError

from mlops.artifacts.storage import storage
from mlops.audit.services import record
from mlops.errors import DomainError, NotFound
from mlops.jobs.queries import open_jobs
from mlops.outbox.events import subscribe
from mlops.outbox.services import publish
from mlops.tenancy.context import required
from mlops.tenancy.roles import Principal
from registry.events import DatasetDeleted
from registry.models import Dataset, DatasetVersion

NAMED = 10


class DatasetInUse(DomainError):
    """Something refers to the data set; `referred_by` names up to ten of them."""

    code = "dataset_in_use"

    def __init__(self, name: str, referred_by: list[str]) -> None:
        super().__init__(f"The data set {name} is in use and stays: {'; '.join(referred_by)}.")
        self.referred_by = referred_by

    def extra(self) -> dict[str, Any]:
        """What refers to it."""
        return {"referred_by": self.referred_by}


def delete_dataset(*, dataset_id: UUID, by: Principal, at: datetime) -> None:
    """Delete the data set with its versions. Raises Forbidden, NotFound, or DatasetInUse naming what refers to it."""
    by.authorize("dataset.delete")
    with transaction.atomic():
        dataset = Dataset.objects.select_for_update().filter(pk=dataset_id).first()
        if dataset is None:
            raise NotFound("There is no such data set.")
        versions = list(
            DatasetVersion.objects.filter(dataset=dataset).order_by("number").only("id", "number", "source_sha256", "dataset_id")
        )
        users = _users(dataset, versions)
        if users:
            raise DatasetInUse(dataset.name, users)
        try:
            DatasetVersion.objects.filter(dataset=dataset).delete()
            Dataset.objects.filter(pk=dataset.pk).delete()
        except ProtectedError as held:  # referred to since we looked
            raise DatasetInUse(dataset.name, [_named(one) for one in list(held.protected_objects)[:NAMED]]) from held
        before = {"name": dataset.name, "versions": {str(one.number): one.source_sha256 for one in versions}}
        record(action="dataset.deleted", target=dataset, label=dataset.name, at=at, before=before, actor=by)
        publish(DatasetDeleted(str(dataset.pk), dataset.name), at=at)


@subscribe(DatasetDeleted, "registry.dataset_files")
def remove_files(event: DatasetDeleted) -> None:
    """Remove what was stored for the data set. Done again after a crash, it goes on where it stopped."""
    for path in storage().list(f"datasets/{required()}/{UUID(event.dataset_id)}"):
        storage().delete(path)


def _users(dataset: Dataset, versions: list[DatasetVersion]) -> list[str]:
    """What refers to the data set or a version of it, whichever app it belongs to, and the open jobs that were given one of them."""
    found: list[str] = []
    ids = {Dataset: [dataset.pk], DatasetVersion: [version.pk for version in versions]}
    for model, field in _references():
        manager = model._default_manager  # noqa: SLF001 - Django's documented name of it
        rows = manager.filter(**{f"{field.name}__in": ids[field.related_model]}).order_by("pk")  # type: ignore[index] # one of the two
        found += [_named(row) for row in rows[: NAMED - len(found)]]
    meant = [str(pk).encode() for pks in ids.values() for pk in pks]
    for job in open_jobs().order_by("created_at")[:1000]:
        payload = orjson.dumps(job.payload)
        if len(found) < NAMED and any(identifier in payload for identifier in meant):
            found.append(f"job {job.pk} ({job.kind.replace('_', ' ')}, {job.state})")
    return found


def _references() -> list[tuple[type[Model], "ForeignKey[Any, Any]"]]:
    """Every protecting reference to data sets and their versions but the versions' own, also in the apps above, which are not imported."""
    return [
        (model, field)
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, ForeignKey)
        and field.related_model in (Dataset, DatasetVersion)
        and field.remote_field.on_delete is PROTECT
        and model is not DatasetVersion
    ]


def _named(row: Model) -> str:
    return f"{row._meta.verbose_name} {row}"
