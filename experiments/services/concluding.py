"""The end of an experiment: a decision with its numbers, and what an adoption leads to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db import transaction

from experiments.events import ExperimentCompleted
from experiments.models import Experiment
from experiments.rules import Results, ResultsError, checked_results
from experiments.services.finding import advance, link, lock_experiment
from experiments.services.running import begin
from experiments.states import ADOPTIONS, EXPERIMENT_LIFECYCLE, ROAD, RUNNABLE, Decision, ExperimentStatus
from mlops.errors import InvalidField
from mlops.outbox.services import publish
from mlops.tenancy.roles import Principal
from registry.events import PromotionPending
from registry.models import ModelVersion, RegisteredModel
from registry.rules.arena import fails_gates
from registry.rules.policy import parse
from registry.services.evidence import latest_verdict
from registry.services.lookups import IfMatch, champion_of, lock_model
from registry.services.promotion import promote
from registry.states import CONTENDERS, VERSION_LIFECYCLE, VersionStatus

SKIPPED = "Nobody took this step: an experiment passes through it on the way to its end, so completing it recorded it."
Promotion = Literal["promoted", "pending", "none"]


@dataclass(frozen=True)
class Conclusion:
    """The experiment as it ended, and what became of the version: `promoted`, `pending` somebody's decision, or `none`."""

    experiment: Experiment
    promotion: Promotion
    said: str


def complete(
    *,
    experiment_id: UUID,
    decision: str,
    decision_rationale: str,
    by: Principal,
    at: datetime,
    results: Mapping[str, Any] | None = None,
    version: ModelVersion | None = None,
    if_match: IfMatch | None = None,
) -> Conclusion:
    """End the experiment with a decision. Steps that nobody took since the approval are recorded in the same transaction.

    An adoption needs results and a version, and leads to a promotion through the gates everybody passes: at once where they passed and the
    policy lets a winner take the throne, by a request under four eyes, else by asking a manager. Raises InvalidField for a missing
    rationale, results that cannot be, or a version of another model; IllegalMove, Forbidden, Stale.
    """
    by.authorize("experiment.conclude")
    checked = _checked(decision, decision_rationale, results, version)
    with transaction.atomic():
        experiment = lock_experiment(experiment_id, if_match)
        if experiment.status not in RUNNABLE:
            target = ExperimentStatus.COMPLETED
            EXPERIMENT_LIFECYCLE.check(label=str(experiment), current=experiment.status, target=target, actor=by)
        # Before anything is written to the audit trail, whose head is a lock of its own.
        model = lock_model(version.model_id) if version else experiment.model
        if version is not None:
            version.refresh_from_db()
            _check_adoptable(decision, version, by)
            link(experiment, version, by=by, at=at)
        for step in ROAD[ROAD.index(ExperimentStatus(experiment.status)) + 1 : -1]:
            if step == ExperimentStatus.IN_PROGRESS:
                begin(experiment, by=by, at=at, reason=SKIPPED)
            else:
                advance(experiment, step, by=by, at=at, reason=SKIPPED)
        _end(experiment, model, version, checked, decision, decision_rationale, by=by, at=at)
        promotion: Promotion = "none"
        said = ""
        if decision == Decision.ADOPT and model is not None and version is not None:
            promotion, said = _adopt(experiment, model, version, by=by, at=at)
    return Conclusion(experiment, promotion, said)


def _checked(decision: str, rationale: str, results: Mapping[str, Any] | None, version: ModelVersion | None) -> Results | None:
    if decision not in Decision.values:
        raise InvalidField("decision", f"Must be one of: {', '.join(Decision.values)}.")
    if not rationale.strip():
        raise InvalidField("decision_rationale", "Say why it is decided so; it goes into the record.")
    if decision in ADOPTIONS and results is None:
        raise InvalidField("results", "An adoption rests on results: baseline_mae, experimental_mae, improvement_pct.")
    if decision in ADOPTIONS and version is None:
        raise InvalidField("experimental_version", "An adoption names the version that is adopted.")
    if results is None:
        return None
    try:
        return checked_results(results)
    except ResultsError as error:
        raise InvalidField(f"results.{error.field}", str(error)) from None


def _check_adoptable(decision: str, version: ModelVersion, by: Principal) -> None:
    """Raise IllegalMove unless the version could ever serve: an archived one cannot be adopted. The champion already does."""
    if decision == Decision.ADOPT and version.status != VersionStatus.CHAMPION:
        VERSION_LIFECYCLE.check(label=str(version), current=version.status, target=VersionStatus.CHAMPION, actor=by)


def _end(
    experiment: Experiment,
    model: RegisteredModel | None,
    version: ModelVersion | None,
    results: Results | None,
    decision: str,
    rationale: str,
    *,
    by: Principal,
    at: datetime,
) -> None:
    """The last step, with everything the decision rested on in the trail, and the news of it."""
    if experiment.baseline_version_id is None:
        champion = champion_of(model)
        experiment.baseline_version = champion if champion != version else None
    values: dict[str, Any] = {
        "decision": decision,
        "decision_rationale": rationale,
        "results": results.to_json() if results else {},
        "baseline_version": experiment.baseline_version,
        "closed_by": by.on_behalf_of or by.name,
        "closed_at": at,
    }
    verdict = latest_verdict(version, champion_of(model)) if version and model else None
    details = {
        "decision": decision,
        "results": values["results"],
        "baseline_version": str(experiment.baseline_version or ""),
        "experimental_version": str(version or ""),
        "experimental_version_id": str(version.pk) if version else "",
        "artifact_sha256": version.artifact_sha256 if version else "",
        "verdict": str(verdict.pk) if verdict else "",
        "policy_revision": model.policy_revision if model else None,
        "approved_by": experiment.approved_by,
    }
    advance(experiment, ExperimentStatus.COMPLETED, by=by, at=at, reason=rationale, details=details, **values)
    publish(
        ExperimentCompleted(
            experiment_id=str(experiment.pk),
            experiment_name=experiment.experiment_name,
            decision=decision,
            rationale=rationale,
            model_name=model.name if model else "",
            version_id=str(version.pk) if version else "",
            version=version.version if version else "",
            improvement_pct=results.improvement_pct if results else None,
            actor=by.on_behalf_of or by.name,
        ),
        at=at,
    )


def _adopt(experiment: Experiment, model: RegisteredModel, version: ModelVersion, *, by: Principal, at: datetime) -> tuple[Promotion, str]:
    """Bring the version to the throne as far as the model's policy allows without a person."""
    if version.status == VersionStatus.CHAMPION:
        return "none", f"{version.version} is the champion already."
    policy, champion = parse(model.policy), champion_of(model)
    verdict = latest_verdict(version, champion)
    passed = not fails_gates(champion, passed=bool(verdict and verdict.passed))
    reason = f"Experiment “{experiment.experiment_name}” adopts it: {experiment.decision_rationale}"[:4000]
    by_itself = passed and policy.auto_promote and not policy.four_eyes and version.status in CONTENDERS
    asks = policy.four_eyes and (passed or not policy.enforce_gates) and version.status in CONTENDERS
    if by_itself or asks:
        outcome = promote(version_id=version.pk, by=by, at=at, reason=reason)
        if outcome.kind == "promoted":
            return "promoted", f"{version.version} passed every gate and is the champion now."
        return "pending", f"{version.version} waits for another manager under Approvals."
    why = "was not judged against the present champion" if verdict is None else "failed a gate" if not passed else "waits for a manager"
    publish(PromotionPending(model.name, str(version.pk), version.version, f"{reason} — {version.version} {why}."), at=at)
    return "pending", f"{version.version} {why}; a manager decides about its promotion."
