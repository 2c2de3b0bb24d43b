"""All that is known of one version: what an auditor is answered with."""

from dataclasses import dataclass

from django.db.models import Q

from mlops.audit.models import AuditEvent
from mlops.lifecycle.models import Move
from registry.models import BacktestRun, DecisionRecord, ModelVersion, PromotionRequest, RetrainingRun, Verdict
from registry.rules.policy import Policy, parse
from registry.services.lookups import as_uuid

MOST = 200
"""Entries per part; a version that was moved or judged more often shows the newest."""


@dataclass(frozen=True)
class Evidence:
    """A version with every judgement, request, decision, move and audit event about it, newest first."""

    version: ModelVersion
    policy: Policy
    decisions: list[DecisionRecord]
    verdicts: list[Verdict]
    requests: list[PromotionRequest]
    backtests: list[BacktestRun]
    moves: list[Move]
    events: list[AuditEvent]

    @property
    def own_decisions(self) -> list[DecisionRecord]:
        """Those about the version itself."""
        return [one for one in self.decisions if one.version_id == self.version.pk]

    @property
    def other_decisions(self) -> list[DecisionRecord]:
        """Those about other versions, taken while this one was champion."""
        return [one for one in self.decisions if one.version_id != self.version.pk]


@dataclass(frozen=True)
class Lineage:
    """Where a version came from, and what came of it."""

    version: ModelVersion
    retraining: RetrainingRun | None
    children: list[ModelVersion]


def evidence_of(version: ModelVersion) -> Evidence:
    """Six queries, each on an index and bounded."""
    decisions = DecisionRecord.objects.filter(model=version.model_id).filter(Q(version=version) | Q(former_champion=version))
    requests = PromotionRequest.objects.filter(version=version).select_related("verdict__against", "version")
    return Evidence(
        version=version,
        policy=parse(version.model.policy),
        decisions=list(decisions.select_related("version", "former_champion", "verdict__against").order_by("-decided_at", "pk")[:MOST]),
        verdicts=list(version.verdicts.select_related("against").order_by("-created_at", "pk")[:MOST]),
        requests=list(requests.order_by("-requested_at", "pk")[:MOST]),
        backtests=list(version.backtest_runs.select_related("dataset_version__dataset").order_by("-created_at", "pk")[:MOST]),
        moves=list(Move.objects.filter(object_id=version.pk).order_by("-sequence")[:MOST]),
        events=list(AuditEvent.objects.filter(object_type="registry.modelversion", object_id=str(version.pk)).order_by("-number")[:MOST]),
    )


def lineage_of(version: ModelVersion) -> Lineage:
    """The direct parent and children, the data and the retraining: two queries; walk further by asking for the parent's lineage."""
    asked = RetrainingRun.objects.filter(Q(produced=version) | Q(pk=as_uuid(str(version.lineage.get("retraining") or ""))))
    return Lineage(version, asked.order_by("-started_at", "pk").first(), list(version.children.order_by("-number", "pk")[:MOST]))


def newest_verdict(version: ModelVersion) -> Verdict | None:
    """What the arena said last, whoever was champion then. One query."""
    shown = ("passed", "summary", "gates", "policy_revision", "trigger", "created_at", "against__version", "against__model_name")
    return Verdict.objects.filter(version=version).select_related("against").only(*shown).order_by("-created_at", "pk").first()
