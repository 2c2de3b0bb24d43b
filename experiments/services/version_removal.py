"""Taking a version away: archived, hidden, and its file removed where that is wanted. The row stays: it is evidence."""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.db import transaction
from django.db.models import Q

from experiments.models import Experiment
from mlops.artifacts.storage import storage
from mlops.audit.services import record
from mlops.errors import DomainError, NotFound
from mlops.jobs.queries import open_jobs
from mlops.moments import iso
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion, PromotionRequest
from registry.services.lookups import IfMatch, lock_version
from registry.services.moves import archive
from registry.states import RequestStatus, VersionStatus

log = structlog.get_logger(__name__)

NAMED = 10
SERVES = {
    VersionStatus.CHAMPION: "it serves",
    VersionStatus.DEPRECATED: "it is kept for a rollback",
    VersionStatus.CHALLENGER: "it competes; archive it first",
    VersionStatus.SHADOW: "it competes in shadow; archive it first",
}


class VersionInUse(DomainError):
    """The version serves, has served, competes, or something refers to it; `referred_by` names up to ten of these."""

    code = "version_in_use"

    def __init__(self, version: ModelVersion, why: str, referred_by: list[str]) -> None:
        super().__init__(f"{version} stays: {why}.")
        self.referred_by = referred_by

    def extra(self) -> dict[str, Any]:
        """What refers to it."""
        return {"referred_by": self.referred_by}


def delete_version(
    *, version_id: UUID, by: Principal, at: datetime, reason: str = "", delete_artifacts: bool = False, if_match: IfMatch | None = None
) -> ModelVersion:
    """Archive and hide a version that never served; with `delete_artifacts` its file goes too, its digest stays.

    Label and number are never given again. Raises Forbidden, NotFound (also for one that was deleted before), VersionInUse, Stale.
    """
    by.authorize("version.delete")
    with transaction.atomic():
        _, version = lock_version(version_id, if_match)
        if version.deleted_at is not None:
            raise NotFound("There is no such version.")
        _check_free(version)
        if version.status != VersionStatus.ARCHIVED:
            version = archive(version_id=version_id, by=by, at=at, reason=reason.strip() or "The version was deleted.")
        removes = delete_artifacts and version.has_artifact
        version.deleted_at, version.artifact_deleted_at = at, at if removes else version.artifact_deleted_at
        version.save(update_fields=["deleted_at", "artifact_deleted_at"])
        after = {"deleted_at": iso(at), "artifact": "deleted" if removes else "kept", "artifact_sha256": version.artifact_sha256}
        record(action="version.deleted", target=version, label=str(version), at=at, after=after, reason=reason, actor=by)
        if removes:
            # Robust: the version is gone by then, whatever the storage says; a file that stays is one that nothing refers to.
            transaction.on_commit(lambda: _discard(version.artifact_path), robust=True)
    return version


def _check_free(version: ModelVersion) -> None:
    why = SERVES.get(VersionStatus(version.status), "it has served, and its file is evidence" if version.promoted_at else "")
    users = _users(version)
    if why or users:
        raise VersionInUse(version, why or f"it is in use by {'; '.join(users)}", users)


def _users(version: ModelVersion) -> list[str]:
    """What goes on resting on the version, for people."""
    children = version.children.filter(deleted_at=None).order_by("number")[:NAMED]
    pending = PromotionRequest.objects.filter(version=version, status=RequestStatus.PENDING)
    naming = Q(baseline_version=version) | Q(experimental_version=version) | Q(versions__version=version)
    proposals = Experiment.objects.filter(naming).distinct().order_by("created_at", "pk")[:NAMED]
    found = [f"version {child}, made from it" for child in children]
    found += [f"the pending request to {request.get_kind_display().lower()} it" for request in pending]
    found += [f"the experiment {proposal}" for proposal in proposals]
    identifier = str(version.pk).encode()
    working = open_jobs().order_by("created_at")[:1000]
    found += [f"job {job.pk} ({job.kind}, {job.state})" for job in working if identifier in orjson.dumps(job.payload)]
    return found[:NAMED]


def _discard(path: str) -> None:
    try:
        storage().delete(path)
    except FileNotFoundError:
        log.warning("version.file_was_gone", path=path)
