"""The evidence record and the lineage of a version, as JSON."""

from typing import Any

from rest_framework import serializers

from registry.api.answers import MoveAnswer, VerdictAnswer, VersionAnswer, move_row, verdict_row, version_detail, version_row
from registry.models import BacktestRun, DecisionRecord, PromotionRequest, RetrainingRun
from registry.queries.evidence import Evidence, Lineage


def evidence_json(evidence: Evidence) -> dict[str, Any]:
    """Everything an auditor asks for, newest first in each part."""
    version = evidence.version
    return {
        "model_name": version.model_name,
        "version": version_detail(version, evidence.verdicts[0] if evidence.verdicts else None),
        "policy": evidence.policy.to_json(),
        "policy_revision": version.model.policy_revision,
        "decisions": [decision_row(one) for one in evidence.decisions],
        "verdicts": [verdict_row(one) for one in evidence.verdicts],
        "promotion_requests": [request_row(one) for one in evidence.requests],
        "backtests": [run_row(one) for one in evidence.backtests],
        "moves": [move_row(one) for one in evidence.moves],
        "audit_events": [
            {
                "number": one.number,
                "action": one.action,
                "actor": one.actor,
                "on_behalf_of": one.on_behalf_of,
                "before": one.before,
                "after": one.after,
                "reason": one.reason,
                "request_id": one.request_id,
                "occurred_at": one.occurred_at,
                "digest": one.digest,
            }
            for one in evidence.events
        ],
    }


def lineage_json(lineage: Lineage) -> dict[str, Any]:
    """Both ways: what the version was made from, and what was made from it."""
    version = lineage.version
    data = version.dataset_version
    return {
        "model_name": version.model_name,
        "version": version.version,
        "version_id": version.pk,
        "created_by": version.created_by,
        "created_at": version.created_at,
        "trained_through": version.trained_through,
        "artifact_sha256": version.artifact_sha256,
        "parent": None if version.parent is None else version_row(version.parent),
        "children": [version_row(one) for one in lineage.children],
        "dataset": None
        if data is None
        else {
            "dataset_id": data.dataset_id,
            "name": data.dataset.name,
            "version_id": data.pk,
            "number": data.number,
            "source_sha256": data.source_sha256,
            "panel_sha256": data.panel_sha256,
            "first_day": data.first_day,
            "last_day": data.last_day,
            "rows": data.rows,
        },
        "retraining": None if lineage.retraining is None else retraining_row(lineage.retraining),
        **{name: version.lineage.get(name) for name in ("split", "study", "trial", "experiment", "code", "recipe")},
        "registered": version.lineage,
    }


def decision_row(decision: DecisionRecord) -> dict[str, Any]:
    """A decision and what it rested on."""
    return {
        "id": decision.pk,
        "kind": decision.kind,
        "version": decision.version.version,
        "former_champion": decision.former_champion.version if decision.former_champion else None,
        "automatic": decision.automatic,
        "override": decision.override,
        "emergency": decision.emergency,
        "proposer": decision.proposer,
        "approvers": decision.approvers,
        "rationale": decision.rationale,
        "policy_revision": decision.policy_revision,
        "verdict": None if decision.verdict is None else verdict_row(decision.verdict),
        "artifact_sha256": decision.artifact_sha256,
        "rests_on": decision.rests_on,
        "audit_number": decision.audit_number,
        "decided_at": decision.decided_at,
    }


def request_row(request: PromotionRequest) -> dict[str, Any]:
    """A promotion or rollback that waits, or waited, for a second pair of eyes."""
    return {
        "id": request.pk,
        "kind": request.kind,
        "status": request.status,
        "version": request.version.version,
        "version_id": request.version_id,
        "model_name": request.version.model_name,
        "reason": request.reason,
        "override": request.override,
        "requested_by": request.requested_by,
        "requested_at": request.requested_at,
        "decided_by": request.decided_by or None,
        "decided_at": request.decided_at,
        "decision_reason": request.decision_reason,
        "verdict": None if request.verdict is None else verdict_row(request.verdict),
    }


def run_row(run: BacktestRun) -> dict[str, Any]:
    """A backtest's window, data and metrics."""
    data = run.dataset_version
    return {
        "id": run.pk,
        "purpose": run.purpose,
        "window_start": run.window_start,
        "window_end": run.window_end,
        "horizon": run.horizon,
        "dataset": data.dataset.name,
        "dataset_version": data.number,
        "panel_sha256": data.panel_sha256,
        "metrics": run.metrics,
        "created_at": run.created_at,
    }


def retraining_row(run: RetrainingRun) -> dict[str, Any]:
    """A line of the retraining log, in its documented names."""
    return {
        "id": run.pk,
        "model_name": run.model_name,
        "trigger_type": run.trigger_type,
        "status": run.status,
        "version_produced": run.version_produced or None,
        "reason": run.reason,
        "requested_by": run.requested_by,
        "job_id": run.job_id,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "metadata": run.metadata,
    }


class RetrainingAnswer(serializers.Serializer[Any]):
    """A retraining."""

    id = serializers.UUIDField()
    model_name = serializers.CharField()
    trigger_type = serializers.CharField()
    status = serializers.CharField()
    version_produced = serializers.CharField(allow_null=True)
    reason = serializers.CharField()
    requested_by = serializers.CharField()
    job_id = serializers.UUIDField(allow_null=True)
    started_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(allow_null=True)
    metadata = serializers.DictField()

    def to_representation(self, instance: Any) -> Any:
        """The run as everywhere."""
        return retraining_row(instance)


class RequestAnswer(serializers.Serializer[Any]):
    """A promotion request."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    status = serializers.CharField()
    version = serializers.CharField()
    version_id = serializers.UUIDField()
    model_name = serializers.CharField()
    reason = serializers.CharField()
    override = serializers.BooleanField()
    requested_by = serializers.CharField()
    requested_at = serializers.DateTimeField()
    decided_by = serializers.CharField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    decision_reason = serializers.CharField()
    verdict = VerdictAnswer(allow_null=True)

    def to_representation(self, instance: Any) -> Any:
        """The request as everywhere."""
        return request_row(instance)


class EvidenceAnswer(serializers.Serializer[Any]):
    """The evidence record."""

    model_name = serializers.CharField()
    version = VersionAnswer()
    policy = serializers.DictField()
    policy_revision = serializers.IntegerField()
    decisions = serializers.ListField(child=serializers.DictField())
    verdicts = VerdictAnswer(many=True)
    promotion_requests = RequestAnswer(many=True)
    backtests = serializers.ListField(child=serializers.DictField())
    moves = MoveAnswer(many=True)
    audit_events = serializers.ListField(child=serializers.DictField())


class LineageAnswer(serializers.Serializer[Any]):
    """The lineage."""

    model_name = serializers.CharField()
    version = serializers.CharField()
    version_id = serializers.UUIDField()
    parent = VersionAnswer(allow_null=True)
    children = VersionAnswer(many=True)
    dataset = serializers.DictField(allow_null=True)
    retraining = RetrainingAnswer(allow_null=True)
    registered = serializers.DictField(help_text="The lineage as it was registered.")
