"""Writing down decisions, and what they rested on."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from mlops.lifecycle.models import Move
from mlops.tenancy.roles import Principal
from registry.models import DecisionRecord, ModelVersion, RegisteredModel, ShadowDay, Verdict
from registry.models.accuracy import OVERALL

SHADOW_DAYS = 90
"""As many of the newest days in shadow as the evidence on screens covers."""


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
        rests_on=_rests_on(version, verdict, former),
        audit_number=move.audit_number,
        decided_at=at,
    )


def _rests_on(version: ModelVersion, verdict: Verdict | None, former: ModelVersion | None) -> dict[str, Any]:
    known = {
        "dataset_version": version.dataset_version_id,
        "verdict": verdict.pk if verdict else None,
        "backtest": verdict.run_id if verdict else None,
        "champion_backtest": verdict.against_run_id if verdict else None,
        **{name: version.lineage.get(name) for name in ("split", "study", "trial", "experiment", "retraining")},
    }
    measured = _shadow(version, former) if former is not None and former.pk != version.pk else {}
    return {**{name: str(value) for name, value in known.items() if value}, **({"shadow": measured} if measured else {})}


def _shadow(version: ModelVersion, champion: ModelVersion) -> dict[str, Any]:
    """The days both were measured on in shadow, by id, and their sums as they stand: a truth corrected later changes the rows."""
    rows = ShadowDay.objects.filter(version=version, champion=champion, segment_column=OVERALL, n__gt=0).order_by("-day")[:SHADOW_DAYS]
    days = list(rows)[::-1]
    if not days:
        return {}
    pairs = sum(day.n for day in days)
    return {
        "ids": [str(day.pk) for day in days],
        "champion": str(champion.pk),
        "first_day": days[0].day.isoformat(),
        "last_day": days[-1].day.isoformat(),
        "pairs": pairs,
        "mae": sum(day.sum_abs_error for day in days) / pairs,
        "champion_mae": sum(day.champion_sum_abs_error for day in days) / pairs,
    }


def latest_verdict(version: ModelVersion, champion: ModelVersion | None) -> Verdict | None:
    """The newest verdict on the version against the champion of now; a verdict against somebody else says nothing any more."""
    return Verdict.objects.filter(version=version, against=champion).order_by("-created_at", "pk").first()


def last_verdict(version: ModelVersion, champion: ModelVersion | None) -> Verdict | None:
    """The newest against the champion of now, else the newest against anybody: what speaks against a version outlives that champion."""
    return latest_verdict(version, champion) or Verdict.objects.filter(version=version).order_by("-created_at", "pk").first()
