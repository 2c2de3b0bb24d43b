"""The moves that need no ceremony: shadow, challenge, archive. Promotion has a module of its own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from mlops.errors import InvalidField
from mlops.lifecycle.mechanism import Step, move, move_all
from mlops.lifecycle.models import Move
from mlops.outbox.services import publish_all
from mlops.tenancy.roles import Principal
from registry.events import VersionMoved
from registry.models import DecisionRecord, ModelVersion, PromotionRequest, RegisteredModel
from registry.services.evidence import last_verdict, latest_verdict, record_decision
from registry.services.lookups import IfMatch, champion_of, lock_version
from registry.states import REQUEST_LIFECYCLE, VERSION_LIFECYCLE, RequestStatus, VersionStatus


def shadow(*, version_id: UUID, by: Principal, at: datetime, reason: str = "", if_match: IfMatch | None = None) -> ModelVersion:
    """Let the version predict beside the champion each day and answer nobody."""
    with transaction.atomic():
        model, version = lock_version(version_id, if_match)
        move_version(model, version, VersionStatus.SHADOW, by=by, at=at, reason=reason)
    return version


def challenge(*, version_id: UUID, by: Principal, at: datetime, reason: str = "", if_match: IfMatch | None = None) -> ModelVersion:
    """Let the version compete."""
    with transaction.atomic():
        model, version = lock_version(version_id, if_match)
        made = move_version(model, version, VersionStatus.CHALLENGER, by=by, at=at, reason=reason)
        _decide(DecisionRecord.Kind.CHALLENGE, model, version, made, by=by, at=at, reason=reason)
    return version


def archive(*, version_id: UUID, by: Principal, at: datetime, reason: str = "", if_match: IfMatch | None = None) -> ModelVersion:
    """Reject or retire the version, for good. Raises InvalidField without a reason: a rejection is a decision."""
    if not reason.strip():
        raise InvalidField("reason", "Say why the version is archived; it goes into the record.")
    with transaction.atomic():
        model, version = lock_version(version_id, if_match)
        made = move_version(model, version, VersionStatus.ARCHIVED, by=by, at=at, reason=reason)
        _decide(DecisionRecord.Kind.REJECTION, model, version, made, by=by, at=at, reason=reason)
    return version


def move_version(
    model: RegisteredModel,
    version: ModelVersion,
    to: VersionStatus,
    *,
    by: Principal,
    at: datetime,
    reason: str,
    forced: bool = False,
) -> Move:
    """Move one version under its model's lock; see `move_versions`."""
    return move_versions(model, [version_step(version, to, at=at, reason=reason, forced=forced)], by=by, at=at)[0]


def version_step(version: ModelVersion, to: VersionStatus, *, at: datetime, reason: str, forced: bool = False) -> Step:
    """A version's move, with the columns that are written with it."""
    changes: dict[str, Any] = {"status_changed_at": at, **({"promoted_at": at} if to == VersionStatus.CHAMPION else {})}
    return Step(version, to, str(version), reason, forced, changes=changes)


def move_versions(model: RegisteredModel, steps: Sequence[Step], *, by: Principal, at: datetime) -> list[Move]:
    """Move versions under their model's lock, overtake requests that no longer fit, count the revisions, publish the news."""
    made = move_all(VERSION_LIFECYCLE, steps, actor=by, at=at)
    for one in made:
        model.revision += 1
        model.count_version(source=one.source, target=one.target)
    RegisteredModel.objects.filter(pk=model.pk).update(revision=model.revision, status_counts=model.status_counts)
    versions: list[ModelVersion] = [step.row for step in steps]
    _overtake_requests(versions, by=by, at=at)
    moved = zip(versions, made, strict=True)
    news = [VersionMoved(model.name, str(version.pk), version.version, one.source, one.target, by.name) for version, one in moved]
    publish_all(news, at=at)
    return made


def _overtake_requests(versions: Sequence[ModelVersion], *, by: Principal, at: datetime) -> None:
    """A pending request asked for a version as it stood; the version has moved, so nobody can approve it any more."""
    statuses = {version.pk: version.status for version in versions}
    pending = PromotionRequest.objects.filter(version__in=list(statuses), status=RequestStatus.PENDING)
    for request in pending.select_related("version").order_by("pk"):
        move(
            REQUEST_LIFECYCLE,
            request,
            RequestStatus.OVERTAKEN,
            label=str(request),
            actor=by,
            at=at,
            reason=f"The version became {statuses[request.version_id]}.",
            forced=True,
            decided_at=at,
        )


def _decide(kind: str, model: RegisteredModel, version: ModelVersion, made: Move, *, by: Principal, at: datetime, reason: str) -> None:
    champion = champion_of(model)
    find = last_verdict if kind == DecisionRecord.Kind.REJECTION else latest_verdict
    record_decision(
        kind=kind,
        model=model,
        version=version,
        move=made,
        former=champion,
        verdict=find(version, champion),
        proposer=version.created_by,
        approvers=[by],
        rationale=reason,
        at=at,
    )
