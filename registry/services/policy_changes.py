"""Changing a promotion policy: what is stricter applies at once, what asks for less needs a second pair of eyes where they are on.

All under the model's lock, so of two who decide at once one finds the request decided.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from mlops.audit.services import record
from mlops.errors import InvalidField, NotFound
from mlops.lifecycle.mechanism import move
from mlops.outbox.services import publish
from mlops.tenancy.persons import trace
from mlops.tenancy.roles import Principal
from registry.events import PolicyChangeDecided, PolicyChangePending
from registry.models import PolicyChangeRequest, RegisteredModel
from registry.rules.policy import PolicyError, loosened, parse
from registry.services.four_eyes import AlreadyDecided, added_by_one_hand, refuse_own
from registry.services.lookups import IfMatch, lock_model
from registry.states import POLICY_REQUEST_LIFECYCLE, RequestStatus


def checked_policy(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ from nothing: None is left out, so that the default holds. Raises InvalidField naming the setting."""
    given = {name: value for name, value in values.items() if value is not None}
    try:
        parse(given)
    except PolicyError as error:
        raise InvalidField(f"policy.{error.field}", str(error)) from None
    return given


def split(model: RegisteredModel, wanted: Mapping[str, Any], by: Principal) -> tuple[dict[str, Any], dict[str, Any]]:
    """The policy that may hold at once, and the settings that have to wait for another manager. Raises InvalidField.

    `wanted` is merged into the present policy. Only the looser settings wait, and only where four eyes are on now.
    """
    merged = checked_policy({**model.policy, **wanted})
    now = parse(model.policy)
    if not now.four_eyes or by.kind == "system":
        return merged, {}
    waiting = loosened(now, parse(merged))
    kept = {name: value for name, value in merged.items() if name not in waiting}
    kept |= {name: model.policy[name] for name in waiting if name in model.policy}
    return kept, {name: getattr(parse(merged), name) for name in waiting}


def settle(model: RegisteredModel, before: Mapping[str, Any], *, by: Principal, at: datetime, reason: str) -> None:
    """After a locked model's policy changed: requests about settings that are no longer as they were cannot be granted any more, and
    where a policy that bound people has lost strength, the trail says so in an event of its own."""
    old, new = parse(before), parse(model.policy)
    changed = {name for name, value in new.to_json().items() if value != getattr(old, name)}
    overtake(model, changed, by=by, at=at, why="The policy was changed meanwhile.")
    weaker = loosened(old, new)
    if weaker and (old.enforce_gates or old.four_eyes):
        was, now = ({name: getattr(policy, name) for name in weaker} for policy in (old, new))
        record(action="policy.loosened", target=model, label=model.name, at=at, before=was, after=now, reason=reason, actor=by)


def ask(model: RegisteredModel, wished: Mapping[str, Any], *, by: Principal, at: datetime, reason: str) -> PolicyChangeRequest:
    """Leave the looser settings for another manager to decide, under the model's lock. The same wish again is the same request."""
    for pending in _pending(model):
        if pending.after == dict(wished):
            return pending
    overtake(model, wished, by=by, at=at, why="The settings were asked for anew.")
    now = parse(model.policy)
    request = PolicyChangeRequest.objects.create(
        model=model,
        before={name: getattr(now, name) for name in wished},
        after=dict(wished),
        policy_revision=model.policy_revision,
        reason=reason,
        requested_by=by.name,
        requested_by_id=by.user_id,
        requested_at=at,
    )
    after = {"policy": request.after, **trace(by)}
    before = {"policy": request.before}
    record(action="policy_request.created", target=request, label=str(request), at=at, before=before, after=after, reason=reason, actor=by)
    publish(PolicyChangePending(model.name, str(request.pk), by.on_behalf_of or by.name, reason, request.before, request.after), at=at)
    return request


def approve(
    *, request_id: UUID, by: Principal, at: datetime, reason: str = "", if_match: IfMatch | None = None
) -> tuple[PolicyChangeRequest, RegisteredModel]:
    """Let the looser policy hold. Raises AlreadyDecided, OwnProposal for whoever asked, Forbidden, Stale."""
    with transaction.atomic():
        model, request = _lock_request(request_id, if_match)
        by.authorize("policy_request.decide")
        refuse_own(request, by)
        hand = added_by_one_hand(request, by)
        details = {"asker_and_approver_added_by": hand} if hand else {}
        _decide(request, RequestStatus.APPROVED, by=by, at=at, reason=reason, details=details)
        before = model.policy
        model.policy = checked_policy({**before, **request.after})
        model.revision, model.policy_revision = model.revision + 1, model.policy_revision + 1
        model.save(update_fields=["policy", "revision", "policy_revision"])
        why = "\n".join(text for text in (request.reason, reason) if text)
        changed = {"before": {"policy": before}, "after": {"policy": model.policy, "policy_request": str(request.pk)}}
        record(action="model.configured", target=model, label=model.name, at=at, reason=why, actor=by, **changed)
        settle(model, before, by=by, at=at, reason=why)
    return request, model


def reject(*, request_id: UUID, by: Principal, at: datetime, reason: str, if_match: IfMatch | None = None) -> PolicyChangeRequest:
    """Refuse it; the policy stays as it is. Raises InvalidField without a reason, AlreadyDecided, Forbidden, Stale."""
    if not reason.strip():
        raise InvalidField("reason", "Say why the request is rejected; it goes into the record.")
    with transaction.atomic():
        _, request = _lock_request(request_id, if_match)
        _decide(request, RequestStatus.REJECTED, by=by, at=at, reason=reason)
    return request


def overtake(model: RegisteredModel, settings: Iterable[str], *, by: Principal, at: datetime, why: str) -> None:
    """Close the pending requests that name one of the settings. The caller holds the model's lock."""
    named = set(settings)
    for request in _pending(model):
        if named & set(request.after):
            _decide(request, RequestStatus.OVERTAKEN, by=by, at=at, reason=why, forced=True)


def _pending(model: RegisteredModel) -> list[PolicyChangeRequest]:
    waiting = PolicyChangeRequest.objects.select_related("model").filter(model=model, status=RequestStatus.PENDING)
    return list(waiting.order_by("requested_at", "pk"))


def _lock_request(request_id: UUID, if_match: IfMatch | None) -> tuple[RegisteredModel, PolicyChangeRequest]:
    """Lock the request's model, then read the request. A request that was decided says so, whatever revision the caller had seen."""
    model_id = PolicyChangeRequest.objects.filter(pk=request_id).values_list("model_id", flat=True).first()
    if model_id is None:
        raise NotFound("There is no such policy request.")
    model = lock_model(model_id)
    request = PolicyChangeRequest.objects.select_related("model").get(pk=request_id)
    if request.status != RequestStatus.PENDING:
        raise AlreadyDecided(request)
    if if_match is not None:
        if_match(model)
    return model, request


def _decide(
    request: PolicyChangeRequest,
    to: RequestStatus,
    *,
    by: Principal,
    at: datetime,
    reason: str,
    forced: bool = False,
    details: Mapping[str, Any] | None = None,
) -> None:
    who = "" if forced else by.name
    values: dict[str, Any] = {"decided_by": who, "decided_at": at, "decision_reason": reason}
    label = str(request)
    move(POLICY_REQUEST_LIFECYCLE, request, to, label=label, actor=by, at=at, reason=reason, forced=forced, details=details, **values)
    publish(PolicyChangeDecided(request.model.name, str(request.pk), to.value, who, reason), at=at)
