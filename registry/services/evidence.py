"""Writing down decisions, and what they rested on."""

from collections.abc import Iterable
from datetime import datetime

from mlops.lifecycle.models import Move
from mlops.tenancy.roles import Principal
from registry.models import DecisionRecord, ModelVersion, RegisteredModel, Verdict


def record_decision(
    *,
    kind: str,
    model: RegisteredModel,
    version: ModelVersion,
    move: Move,
    former: ModelVersion | None,
    verdict: Verdict | None,
    proposer: str,
    approvers: Iterable[Principal],
    rationale: str,
    at: datetime,
    override: bool = False,
    emergency: bool = False,
) -> DecisionRecord:
    """One evidence record, in the transaction of the move it explains."""
    decided_by = list(approvers)
    return DecisionRecord.objects.create(
        model=model,
        version=version,
        former_champion=former,
        kind=kind,
        automatic=all(principal.kind == "system" for principal in decided_by),
        override=override,
        emergency=emergency,
        verdict=verdict,
        policy_revision=model.policy_revision,
        proposer=proposer,
        approvers=[principal.name for principal in decided_by],
        rationale=rationale,
        artifact_sha256=version.artifact_sha256,
        rests_on=_rests_on(version, verdict),
        audit_number=move.audit_number,
        decided_at=at,
    )


def _rests_on(version: ModelVersion, verdict: Verdict | None) -> dict[str, str | None]:
    known = {
        "dataset_version": version.dataset_version_id,
        "verdict": verdict.pk if verdict else None,
        "backtest": verdict.run_id if verdict else None,
        "champion_backtest": verdict.against_run_id if verdict else None,
        **{name: version.lineage.get(name) for name in ("split", "study", "trial", "experiment", "retraining")},
    }
    return {name: str(value) for name, value in known.items() if value}


def latest_verdict(version: ModelVersion, champion: ModelVersion | None) -> Verdict | None:
    """The newest verdict on the version against the champion of now; a verdict against somebody else says nothing any more."""
    return Verdict.objects.filter(version=version, against=champion).order_by("-created_at", "pk").first()
