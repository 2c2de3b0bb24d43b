"""Taking the throne: promotion and rollback, with gates, overrides and the second pair of eyes.

Whoever comes first locks the model's row; whoever comes second looks again under the lock and finds the new champion. The former champion
is deprecated before the new one is crowned, in one transaction, so no reader ever sees two or none.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from django.db import transaction

from mlops.audit.services import record
from mlops.errors import DomainError, InvalidField, NotFound
from mlops.lifecycle.mechanism import move
from mlops.outbox.services import publish
from mlops.tenancy.persons import party_of, trace
from mlops.tenancy.roles import Principal
from registry.events import EmergencyRollback, PromotionPending, PromotionRequestDecided
from registry.models import DecisionRecord, ModelVersion, PromotionRequest, RegisteredModel, Verdict
from registry.rules.arena import fails_gates
from registry.rules.policy import Policy, parse
from registry.services.evidence import latest_verdict, record_decision
from registry.services.four_eyes import AlreadyDecided, added_by_one_hand, refuse_own
from registry.services.lookups import IfMatch, champion_of, lock_model, lock_version
from registry.services.moves import move_versions, version_step
from registry.states import REQUEST_LIFECYCLE, VERSION_LIFECYCLE, RequestStatus, VersionStatus

UNMEASURABLE = (
    "It was registered by its metadata alone: while it serves, nothing validates it, checks it for drift or judges others against it."
)


class GatesFailed(DomainError):
    """The model's policy enforces its gates, and one failed or had no input. Past them a promotion needs an override, a rollback an
    emergency, which is marked and reviewed: nobody waits for a second pair of eyes while the wrong version serves."""

    code: ClassVar[str] = "gates_failed"

    def __init__(self, verdict: Verdict | None, *, back: bool = False) -> None:
        why = verdict.summary if verdict else "The version has not been judged against the present champion."
        way = "roll back as an `emergency`, with a `reason`: that opens a review" if back else "give `override` and a `reason`"
        super().__init__(f"{why} Judge it, or {way}.")
        self.gates = verdict.gates if verdict else []

    def extra(self) -> dict[str, Any]:
        """The gates with their numbers."""
        return {"gates": self.gates}


@dataclass(frozen=True)
class Outcome:
    """A promotion that happened, or a request that waits."""

    kind: Literal["promoted", "pending"]
    version: ModelVersion
    verdict: Verdict | None
    decision: DecisionRecord | None = None
    request: PromotionRequest | None = None


@dataclass(frozen=True)
class _Ascent:
    """One attempt to crown a version, under the model's lock."""

    model: RegisteredModel
    version: ModelVersion
    former: ModelVersion | None
    verdict: Verdict | None
    policy: Policy

    @property
    def gates_failed(self) -> bool:
        """Whether it may be crowned only past gates that failed; see `fails_gates`."""
        return fails_gates(self.former, passed=bool(self.verdict and self.verdict.passed))

    @property
    def barred(self) -> bool:
        """Whether the policy lets nobody past the failed gates just so."""
        return self.gates_failed and self.policy.enforce_gates


def promote(
    *, version_id: UUID, by: Principal, at: datetime, reason: str = "", override: bool = False, if_match: IfMatch | None = None
) -> Outcome:
    """Make the version champion, or, with four eyes on, ask another manager to.

    Gates advise unless the policy enforces them. A former champion's promotion is a rollback, which no override lets past enforced gates.
    Raises IllegalMove, GatesFailed, Forbidden, Stale.
    """
    with transaction.atomic():
        ascent = _ascent(version_id, if_match)
        _check_move(ascent, by)
        if ascent.version.status == VersionStatus.DEPRECATED:
            return _roll_back(ascent, by=by, at=at, reason=reason, emergency=False)
        if ascent.barred and not (override and reason.strip()):
            raise GatesFailed(ascent.verdict)
        if ascent.policy.four_eyes and by.kind != "system":
            return _ask(ascent, PromotionRequest.Kind.PROMOTE, by=by, at=at, reason=reason, override=override)
        past = ascent.gates_failed
        decision = _crown(ascent, approvers=[by], proposer=ascent.version.created_by, at=at, reason=reason, override=past)
    return Outcome("promoted", ascent.version, ascent.verdict, decision)


def foresee(version: ModelVersion) -> str:
    """Raise what crowning the version, without an override, would be refused with now: IllegalMove, GatesFailed; else what is known of it.

    It locks nothing, so that a page can say beforehand what the act itself finds again. Two queries where `version.model` is loaded.
    """
    ascent = _standing(version.model, version)
    if VersionStatus.CHAMPION not in VERSION_LIFECYCLE.allowed(version.status):
        raise VERSION_LIFECYCLE.refusal(label=str(version), current=version.status, wanted=VersionStatus.CHAMPION)
    if ascent.barred:
        raise GatesFailed(ascent.verdict, back=version.status == VersionStatus.DEPRECATED)
    return _known(ascent)


def known_of(version: ModelVersion) -> str:
    """What speaks for and against crowning the version, in words, for whoever decides. Two queries where `version.model` is loaded."""
    return _known(_standing(version.model, version))


def _known(ascent: _Ascent) -> str:
    judged = ascent.verdict.summary if ascent.verdict else "It was not judged against the present champion." if ascent.former else ""
    blind = UNMEASURABLE if ascent.model.task == RegisteredModel.Task.FORECAST and not ascent.version.has_artifact else ""
    return " ".join(text for text in (judged, blind) if text)


def rollback(
    *, version_id: UUID, by: Principal, at: datetime, reason: str = "", emergency: bool = False, if_match: IfMatch | None = None
) -> Outcome:
    """Make a former champion champion again.

    Where the policy enforces its gates, it passes them; with four eyes on, another manager decides besides. Neither holds up an emergency:
    that one needs a reason, is marked, and opens a review. Raises IllegalMove for a version that never was champion, GatesFailed,
    InvalidField for an emergency without a reason.
    """
    with transaction.atomic():
        ascent = _ascent(version_id, if_match)
        _check_move(ascent, by)
        if ascent.version.status != VersionStatus.DEPRECATED:
            raise VERSION_LIFECYCLE.refusal(label=str(ascent.version), current=ascent.version.status, wanted="champion by rollback")
        return _roll_back(ascent, by=by, at=at, reason=reason, emergency=emergency)


def approve(*, request_id: UUID, by: Principal, at: datetime, reason: str = "", if_match: IfMatch | None = None) -> Outcome:
    """Grant a pending request. Raises AlreadyDecided, OwnProposal, Forbidden, GatesFailed, IllegalMove, Stale."""
    with transaction.atomic():
        request, ascent = _lock_request(request_id, if_match)
        by.authorize("promotion_request.decide")
        refuse_own(request, by)
        back = request.kind == PromotionRequest.Kind.ROLLBACK  # which no override lets past the gates: four eyes are not an emergency
        if ascent.barred and (back or not (request.override and request.reason.strip())):
            raise GatesFailed(ascent.verdict, back=back)
        # The request is decided before its version moves: the move overtakes every request that is still pending.
        values: dict[str, Any] = {"decided_by": by.name, "decided_at": at, "decision_reason": reason}
        hand = added_by_one_hand(request, by)
        details = {"asker_and_approver_added_by": hand} if hand else {}
        approved, label = RequestStatus.APPROVED, str(request)
        _tell(request, at=at)
        move(REQUEST_LIFECYCLE, request, approved, label=label, actor=by, at=at, reason=reason, details=details, **values)
        rationale = "\n".join(text for text in (request.reason, reason) if text)
        kind = DecisionRecord.Kind.ROLLBACK if back else DecisionRecord.Kind.PROMOTION
        past = ascent.gates_failed and not back
        decision = _crown(ascent, approvers=[by], proposer=request.requested_by, at=at, reason=rationale, kind=kind, override=past)
    return Outcome("promoted", ascent.version, ascent.verdict, decision, request)


def reject(*, request_id: UUID, by: Principal, at: datetime, reason: str, if_match: IfMatch | None = None) -> PromotionRequest:
    """Refuse a pending request; the version stays what it is. Raises InvalidField without a reason, AlreadyDecided, Forbidden, Stale."""
    if not reason.strip():
        raise InvalidField("reason", "Say why the request is rejected; it goes into the record.")
    with transaction.atomic():
        request, _ = _lock_request(request_id, if_match)
        values: dict[str, Any] = {"decided_by": by.name, "decided_at": at, "decision_reason": reason}
        move(REQUEST_LIFECYCLE, request, RequestStatus.REJECTED, label=str(request), actor=by, at=at, reason=reason, **values)
        _tell(request, at=at)
    return request


def _tell(request: PromotionRequest, *, at: datetime) -> None:
    version = request.version
    told = (request.status, request.decided_by, request.decision_reason)
    publish(PromotionRequestDecided(version.model_name, str(version.pk), version.version, str(request.pk), *told), at=at)


def _ascent(version_id: UUID, if_match: IfMatch | None) -> _Ascent:
    return _standing(*lock_version(version_id, if_match))


def _standing(model: RegisteredModel, version: ModelVersion) -> _Ascent:
    former = champion_of(model)
    return _Ascent(model, version, former, latest_verdict(version, former), parse(model.policy))


def _check_move(ascent: _Ascent, by: Principal) -> None:
    version = ascent.version
    VERSION_LIFECYCLE.check(label=str(version), current=version.status, target=VersionStatus.CHAMPION, actor=by)


def _roll_back(ascent: _Ascent, *, by: Principal, at: datetime, reason: str, emergency: bool) -> Outcome:
    by.authorize("version.rollback")
    if emergency and not reason.strip():
        raise InvalidField("reason", "An emergency rollback needs a reason; it opens a review.")
    if ascent.barred and not emergency:
        raise GatesFailed(ascent.verdict, back=True)
    if ascent.policy.four_eyes and not emergency and by.kind != "system":
        return _ask(ascent, PromotionRequest.Kind.ROLLBACK, by=by, at=at, reason=reason, override=False)
    kind = DecisionRecord.Kind.ROLLBACK
    decision = _crown(ascent, approvers=[by], proposer=by.name, at=at, reason=reason, kind=kind, emergency=emergency)
    if emergency:
        version = ascent.version
        whose = party_of(by).to_json()
        publish(EmergencyRollback(ascent.model.name, str(version.pk), version.version, by.name, reason, str(decision.pk), whose), at=at)
    return Outcome("promoted", ascent.version, ascent.verdict, decision)


def _crown(
    ascent: _Ascent,
    *,
    approvers: list[Principal],
    proposer: str,
    at: datetime,
    reason: str,
    kind: str = DecisionRecord.Kind.PROMOTION,
    emergency: bool = False,
    override: bool = False,
) -> DecisionRecord:
    by = approvers[-1]
    steps = [version_step(ascent.version, VersionStatus.CHAMPION, at=at, reason=reason)]
    if ascent.former is not None:
        why = f"{ascent.version.version} took its place."
        steps.insert(0, version_step(ascent.former, VersionStatus.DEPRECATED, at=at, reason=why, forced=True))
    made = move_versions(ascent.model, steps, by=by, at=at)[-1]
    return record_decision(
        kind=kind,
        model=ascent.model,
        version=ascent.version,
        move=made,
        former=ascent.former,
        verdict=ascent.verdict,
        proposer=proposer,
        approvers=approvers,
        rationale=reason,
        at=at,
        override=override,
        emergency=emergency,
    )


def _ask(ascent: _Ascent, kind: str, *, by: Principal, at: datetime, reason: str, override: bool) -> Outcome:
    """Ask another manager. A request that waits already is the answer, unless this one brings the override that it lacks: what an
    approver was shown is never changed, so the earlier one is overtaken by a new one."""
    existing = PromotionRequest.objects.filter(version=ascent.version, kind=kind, status=RequestStatus.PENDING).first()
    if existing is not None:
        if not _asks_for_more(override, reason, than=existing):
            return Outcome("pending", ascent.version, ascent.verdict, request=existing)
        why = f"{by.on_behalf_of or by.name} asked anew, with an override."
        label, overtaken = str(existing), RequestStatus.OVERTAKEN
        move(REQUEST_LIFECYCLE, existing, overtaken, label=label, actor=by, at=at, reason=why, forced=True, decided_at=at)
    request = PromotionRequest.objects.create(
        model=ascent.model,
        version=ascent.version,
        kind=kind,
        reason=reason,
        override=override,
        verdict=ascent.verdict,
        requested_by=by.name,
        requested_by_id=by.user_id,
        requested_at=at,
    )
    record(action="promotion_request.created", target=request, label=str(request), at=at, after=trace(by), reason=reason, actor=by)
    version = ascent.version
    publish(PromotionPending(ascent.model.name, str(version.pk), version.version, reason, str(request.pk)), at=at)
    return Outcome("pending", version, ascent.verdict, request=request)


def _asks_for_more(override: bool, reason: str, *, than: PromotionRequest) -> bool:
    """Whether the ask could be granted against failed gates where the request that waits could not."""
    return bool(override and reason.strip()) and not (than.override and than.reason.strip())


def _lock_request(request_id: UUID, if_match: IfMatch | None) -> tuple[PromotionRequest, _Ascent]:
    """Lock the request's model, then read the request under that lock. Raises NotFound, AlreadyDecided, whatever was read, or Stale."""
    model_id = PromotionRequest.objects.filter(pk=request_id).values_list("model_id", flat=True).first()
    if model_id is None:
        raise NotFound("There is no such promotion request.")
    lock_model(model_id)
    request = PromotionRequest.objects.get(pk=request_id)
    if request.status != RequestStatus.PENDING:
        raise AlreadyDecided(request)
    return request, _ascent(request.version_id, if_match)
