"""What became of a version that somebody decided about, or was asked to."""

from datetime import datetime

from django.db.models import Q

from mlops.lifecycle.models import Move
from registry.models import ModelVersion, PromotionRequest
from registry.states import RequestStatus, VersionStatus


def fate_of(version: ModelVersion, *, since: datetime) -> str:
    """Where the version has got to, in one sentence; of requests for its promotion, those that wait or were decided `since` then count. At
    most one query."""
    if version.status == VersionStatus.CHAMPION:
        return f"{version.version} is the champion now."
    if version.status == VersionStatus.DEPRECATED:
        return f"{version.version} became champion and is deprecated now: {_last_move(version).reason}"
    if version.status == VersionStatus.ARCHIVED:
        start = "never became champion:" if version.promoted_at is None else "became champion once;"
        made = _last_move(version)
        return f"{version.version} {start} {made.on_behalf_of or made.actor} archived it{_because(made.reason)}"
    return f"{version.version} stands as {version.get_status_display().lower()}: {_asked(version, since)}"


def _last_move(version: ModelVersion) -> Move:
    return Move.objects.filter(object_id=version.pk).order_by("-sequence")[0]


def _asked(version: ModelVersion, since: datetime) -> str:
    asked = PromotionRequest.objects.filter(version=version, kind=PromotionRequest.Kind.PROMOTE)
    recent = asked.filter(Q(status=RequestStatus.PENDING) | Q(decided_at__gte=since)).order_by("-requested_at", "pk").first()
    if recent is not None and recent.status == RequestStatus.PENDING:
        return "its promotion waits for another manager under Approvals."
    if recent is not None and recent.status == RequestStatus.REJECTED:
        return f"{recent.decided_by} rejected its promotion{_because(recent.decision_reason)}"
    return "nobody has promoted it."


def _because(reason: str) -> str:
    return f": “{reason}”" if reason else "."
