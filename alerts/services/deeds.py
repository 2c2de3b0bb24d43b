"""What approving an alert does: one table, type → deed.

A deed runs in the transaction of the decision, under the alert's lock, and only calls services that write rows (a job, a promotion, a
request). So decision and deed are one commit: whoever is second finds the alert decided, and a crash leaves either both or neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from alerts.models import MLAlert
from alerts.states import AlertType
from experiments.services.retraining import request_retrain
from mlops.errors import DomainError, InvalidField, NotFound
from mlops.jobs.queries import jobs
from mlops.tenancy.parties import is_own
from mlops.tenancy.persons import Party
from mlops.tenancy.roles import Principal
from registry.models import Dataset, ModelVersion, PromotionRequest, RegisteredModel, RetrainingRun
from registry.services import promotion
from registry.services.four_eyes import AlreadyDecided, OwnProposal, refuse_own, whose_rollback
from registry.services.lookups import as_uuid, lock_model, model_named
from registry.states import RequestStatus, Trigger, VersionStatus

OWN_REVIEW = "You made this rollback: another manager has to review it."


class Overtaken(DomainError):
    """What the alert asks for makes no sense any more: the world has moved on."""

    code = "overtaken"


class NothingToRollBackTo(DomainError):
    """No former champion is left."""

    code = "nothing_to_roll_back_to"


Act = Callable[[MLAlert, Principal, datetime, str], dict[str, Any]]


@dataclass(frozen=True)
class Deed:
    """What approving does. `says` tells it to people; `act` does it and returns what came of it, as JSON."""

    name: str
    says: str
    act: Act
    needs_notes: bool = False


def deed_of(alert: MLAlert) -> Deed:
    """The deed of this alert's type."""
    return DEEDS[AlertType(alert.alert_type)]


@dataclass(frozen=True)
class Prospect:
    """What approving would do now, for one person."""

    deed: str
    says: str
    """In words, with names."""
    refusal: str = ""
    """Why it could not be done now, or not by this person; empty where nothing is known against it."""
    needs_notes: bool = False
    """Whether approving needs a text too; dismissing always does."""


def prospect(alert: MLAlert, *, by: Principal | None = None) -> Prospect:
    """What approving would do now, and what forbids it: the world has moved on, gates are enforced, or four eyes bind `by`. At most eight
    queries.

    It says what can be seen beforehand; the deed itself looks again, under its locks.
    """
    deed = deed_of(alert)
    try:
        says = _foreseen(alert, deed, by)
    except DomainError as refusal:
        return Prospect(deed.name, deed.says, str(refusal), deed.needs_notes)
    return Prospect(deed.name, says, needs_notes=deed.needs_notes)


def preview(alert: MLAlert) -> str:
    """The prospect in one sentence, whoever asks."""
    found = prospect(alert)
    return f"Not possible: {found.refusal}" if found.refusal else found.says


def _foreseen(alert: MLAlert, deed: Deed, by: Principal | None) -> str:
    if deed.name == "rollback":
        model, target = _rollback_target(alert)
        promotion.foresee(target)
        return f"Makes {target.version} champion of {model.name} again, in the place of {alert.version}."
    if deed.name == "promote":
        request = _pending_request(alert)
        if request is not None:
            if request.status != RequestStatus.PENDING:
                raise AlreadyDecided(request)
            if by is not None:
                refuse_own(request, by)
            asked = f"Grants the request of {request.requested_by}: {request.get_kind_display().lower()} {request.version}."
            return f"{asked} {promotion.known_of(request.version)}".strip()
        return f"{deed.says} {promotion.foresee(_version(alert))}".strip()
    if deed.name == "review" and by is not None:
        refuse_own_review(alert, by)
    return deed.says


def _retrain(trigger: Trigger) -> Act:
    def act(alert: MLAlert, by: Principal, at: datetime, notes: str) -> dict[str, Any]:
        run = request_retrain(model=model_named(alert.model_name), trigger=trigger, by=by, at=at, reason=_reason(alert, notes))
        return {"retraining_id": str(run.pk), "job_id": str(run.job_id)}

    return act


def _retrain_again(alert: MLAlert, by: Principal, at: datetime, notes: str) -> dict[str, Any]:
    """The failed retraining once more: same trigger, so that what asked a person before asks again; same source and recipe."""
    failed_id = as_uuid(str(alert.details.get("retraining_id", "")))
    failed = RetrainingRun.objects.filter(pk=failed_id).first() if failed_id else None
    job = jobs().filter(pk=failed.job_id).first() if failed and failed.job_id else None
    given: dict[str, Any] = job.payload if job else {}
    dataset_id = as_uuid(str(given.get("dataset_id") or ""))
    run = request_retrain(
        model=model_named(alert.model_name),
        trigger=Trigger(failed.trigger_type) if failed else Trigger.MANUAL,
        by=by,
        at=at,
        reason=_reason(alert, notes),
        data_dir=given.get("data_dir") or "",
        dataset=Dataset.objects.filter(pk=dataset_id).first() if dataset_id else None,
        recipe=given.get("recipe") or None,
        as_of=date.fromisoformat(given["as_of"]) if given.get("as_of") else None,
    )
    return {"retraining_id": str(run.pk), "job_id": str(run.job_id), "instead_of": str(failed_id or "")}


def _promote(alert: MLAlert, by: Principal, at: datetime, notes: str) -> dict[str, Any]:
    """Grant the pending request, or promote the winner itself: with four eyes on, that asks another manager."""
    request = _pending_request(alert)
    if request is not None:
        outcome = promotion.approve(request_id=request.pk, by=by, at=at, reason=notes)
    else:
        outcome = promotion.promote(version_id=_version_id(alert), by=by, at=at, reason=_reason(alert, notes))
    return _told(outcome)


def _roll_back(alert: MLAlert, by: Principal, at: datetime, notes: str) -> dict[str, Any]:
    lock_model(model_named(alert.model_name).pk)  # whoever takes the throne meanwhile is not the one complained of
    _, target = _rollback_target(alert)
    return _told(promotion.rollback(version_id=target.pk, by=by, at=at, reason=_reason(alert, notes)))


def _look(alert: MLAlert, by: Principal, at: datetime, notes: str) -> dict[str, Any]:
    """Nothing is moved: the answer itself, with who and why, is what was asked for."""
    return {"open": alert.action_url} if alert.action_url else {}


def _review(alert: MLAlert, by: Principal, at: datetime, notes: str) -> dict[str, Any]:
    """Somebody else than the one who rolled back has looked into it, and says with what result."""
    refuse_own_review(alert, by)
    if not notes.strip():
        raise InvalidField("notes", "Say what the review found; it goes into the record.")
    return _look(alert, by, at, notes)


def refuse_own_review(alert: MLAlert, by: Principal) -> None:
    """Raise OwnProposal where the alert asks to review what the principal did alone: they neither approve nor dismiss it."""
    made = reviewed(alert)
    if made and is_own(made, by):
        raise OwnProposal(OWN_REVIEW)


def reviewed(alert: MLAlert) -> list[Party]:
    """Who did alone what the alert asks to review; nobody for every other alert."""
    return [whose_rollback(alert.details)] if deed_of(alert) is _REVIEW else []


def _pending_request(alert: MLAlert) -> PromotionRequest | None:
    """The request this alert is about, whatever became of it, else one that waits for the same version."""
    requests = PromotionRequest.objects.select_related("version__model")
    named = as_uuid(str(alert.details.get("request_id") or ""))
    if named is not None:
        return requests.filter(pk=named).first()
    waiting = requests.filter(version_id=_version_id(alert), status=RequestStatus.PENDING)
    return waiting.order_by("requested_at", "pk").first()


def _rollback_target(alert: MLAlert) -> tuple[RegisteredModel, ModelVersion]:
    """The last former champion. Raises Overtaken where the version complained of is champion no more, NothingToRollBackTo."""
    model = model_named(alert.model_name)
    champion = ModelVersion.objects.filter(model=model, status=VersionStatus.CHAMPION).first()
    if champion is None or (alert.version and champion.version != alert.version):
        now = f"{champion.version} is" if champion else "nobody is"
        raise Overtaken(f"{alert.version} is not the champion of {model.name} any more; {now}. Dismiss the alert.")
    former = ModelVersion.objects.filter(model=model, status=VersionStatus.DEPRECATED)
    target = former.select_related("model").order_by("-status_changed_at", "-number").first()
    if target is None:
        raise NothingToRollBackTo(f"{model.name} has no former champion.")
    return model, target


def _version_id(alert: MLAlert) -> UUID:
    identifier = as_uuid(str(alert.details.get("version_id", "")))
    if identifier is None:
        raise Overtaken("The alert names no version that could be promoted.")
    return identifier


def _version(alert: MLAlert) -> ModelVersion:
    version = ModelVersion.objects.select_related("model").filter(pk=_version_id(alert)).first()
    if version is None:
        raise NotFound("There is no such version.")
    return version


def _told(outcome: promotion.Outcome) -> dict[str, Any]:
    request, decision = outcome.request, outcome.decision
    return {
        "outcome": outcome.kind,
        "version": outcome.version.version,
        "version_id": str(outcome.version.pk),
        "decision_id": str(decision.pk) if decision else None,
        "promotion_request_id": str(request.pk) if request else None,
    }


def _reason(alert: MLAlert, notes: str) -> str:
    return f"Alert “{alert.title}” approved{f': {notes}' if notes else '.'}"


_ROLLBACK = Deed("rollback", "Makes the last former champion champion again.", _roll_back)
_OPEN = Deed("open_results", "Marks it as seen; the results are where the alert points.", _look)
_SEEN = Deed("acknowledge", "Records that somebody looked into it.", _look)
_REVIEW = Deed("review", "Records that a second person looked into it, and with what result.", _review, needs_notes=True)

DEEDS: Mapping[AlertType, Deed] = {
    AlertType.DRIFT_DETECTED: Deed("retrain", "Retrains the model; a winner is shown to you first.", _retrain(Trigger.DRIFT_DETECTED)),
    AlertType.FEEDBACK_DRIFT: Deed("retrain", "Retrains the model; a winner is shown to you first.", _retrain(Trigger.FEEDBACK)),
    AlertType.RETRAIN_FAILED: Deed("retrain", "Retrains the model once more, for the same reason as before.", _retrain_again),
    AlertType.PROMOTION_PENDING: Deed("promote", "Makes the version champion, or asks a second manager where four eyes are on.", _promote),
    AlertType.BACKTEST_DEGRADATION: _ROLLBACK,
    AlertType.VALIDATION_REGRESSION: _ROLLBACK,
    AlertType.ENDPOINT_UNHEALTHY: _ROLLBACK,
    AlertType.EXPERIMENT_COMPLETE: _OPEN,
    AlertType.EMERGENCY_ROLLBACK: _REVIEW,
    AlertType.JOB_FAILED: _SEEN,
}
