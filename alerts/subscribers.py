"""From the news of the floors below to alerts. Each handler runs in a transaction of its own, once per message."""

import hashlib
from uuid import UUID

from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from alerts.events import ChannelDue
from alerts.models import Delivery
from alerts.rules import Finding, drift_severity
from alerts.services import delivering, inbox, settling
from alerts.services.asking import Question, notify_approval
from alerts.states import AlertType, Severity
from experiments.events import ExperimentCompleted, ExperimentProposed
from experiments.queries.results import Outcome, outcome_of
from experiments.services.finding import find_experiment
from mlops.errors import NotFound
from mlops.jobs.events import JobFailed
from mlops.outbox.events import subscribe
from registry.events import (
    BacktestDegraded,
    EmergencyRollback,
    ModelDrifted,
    PolicyChangePending,
    PromotionPending,
    PromotionRequestDecided,
    RetrainFailed,
    VersionMoved,
    VersionRegistered,
)
from registry.models import RegisteredModel

TOLD_ELSEWHERE = frozenset({"retrain"})
"""Kinds of job whose failure is told by an event of its own."""


@subscribe(ModelDrifted, "alerts.model_drifted")
def ask_about_drift(news: ModelDrifted) -> None:
    """The champion has become worse: retrain?"""
    named = [str(segment.get("value") or "overall") for segment in news.segments]
    where = f" in {', '.join(named[:3])}{' …' if len(named) > 3 else ''}" if named else ""
    _raise(
        Finding(
            alert_type=AlertType.DRIFT_DETECTED,
            severity=drift_severity(news.severity),
            title=f"{news.model_name} {news.version} drifts{where}",
            message=news.summary,
            cause=f"drift_detected:{news.model_name}:{news.version_id}",
            occurrence=news.as_of,
            action_url=_model_page(news.model_name),
            model_name=news.model_name,
            version=news.version,
            details={
                "version_id": news.version_id,
                "as_of": news.as_of,
                "drift_severity": news.severity,
                "score": news.score,
                "segments": news.segments,
            },
        )
    )


@subscribe(PromotionPending, "alerts.promotion_pending")
def ask_about_promotion(news: PromotionPending) -> None:
    """A version waits for somebody's word."""
    page = reverse("admin:registry_request_page", args=[news.request_id]) if news.request_id else _model_page(news.model_name)
    details = {"version_id": news.version_id, **({"request_id": news.request_id} if news.request_id else {})}
    _raise(
        Finding(
            alert_type=AlertType.PROMOTION_PENDING,
            severity=Severity.WARNING,
            title=f"{news.model_name} {news.version} waits for a decision",
            message=news.reason,
            cause=f"promotion_pending:{news.version_id}",
            occurrence=news.request_id or _short(news.reason),
            action_url=page,
            model_name=news.model_name,
            version=news.version,
            details=details,
        )
    )


@subscribe(BacktestDegraded, "alerts.backtest_degraded")
def ask_about_backtest(news: BacktestDegraded) -> None:
    """The champion is worse than it was judged with: back to the former one?"""
    _raise(
        Finding(
            alert_type=AlertType.BACKTEST_DEGRADATION,
            severity=Severity.WARNING,
            title=f"Backtest of {news.model_name} {news.version} has degraded",
            message=news.summary,
            cause=f"backtest_degradation:{news.version_id}",
            occurrence=_short(news.summary),
            action_url=_model_page(news.model_name),
            model_name=news.model_name,
            version=news.version,
            details={"version_id": news.version_id},
        )
    )


@subscribe(RetrainFailed, "alerts.retrain_failed")
def ask_about_retraining(news: RetrainFailed) -> None:
    """A retraining came to nothing: once more?"""
    _raise(
        Finding(
            alert_type=AlertType.RETRAIN_FAILED,
            severity=Severity.WARNING,
            title=f"Retraining of {news.model_name} failed",
            message=news.error,
            cause=f"retrain_failed:{news.model_name}",
            occurrence=news.retraining_id,
            action_url=_model_page(news.model_name),
            model_name=news.model_name,
            details={"retraining_id": news.retraining_id},
        )
    )


@subscribe(EmergencyRollback, "alerts.emergency_rollback")
def ask_for_review(news: EmergencyRollback) -> None:
    """Somebody went past the second pair of eyes: look into it afterwards."""
    _raise(
        Finding(
            alert_type=AlertType.EMERGENCY_ROLLBACK,
            severity=Severity.CRITICAL,
            title=f"Review the emergency rollback of {news.model_name} to {news.version}",
            message=f"{news.actor} rolled back without a second person. Reason given: {news.reason}",
            cause=f"emergency_rollback:{news.decision_id or news.version_id}",
            action_url=_model_page(news.model_name),
            model_name=news.model_name,
            version=news.version,
            details={"version_id": news.version_id, "actor": news.actor, "decision_id": news.decision_id, "by": news.by},
        )
    )


@subscribe(ExperimentCompleted, "alerts.experiment_complete")
def show_results(news: ExperimentCompleted) -> None:
    """An experiment ended: look at what came of it. A promotion that follows from it is an alert of its own."""
    outcome = _outcome(news)
    numbers = f" — {outcome.numbers}." if outcome and outcome.numbers else ""
    measured = {"backtest_improvement_pct": outcome.measured_pct} if outcome and outcome.measured_pct is not None else {}
    _raise(
        Finding(
            alert_type=AlertType.EXPERIMENT_COMPLETE,
            severity=Severity.WARNING if outcome and outcome.doubtful else Severity.INFO,
            title=f"Experiment “{news.experiment_name}” is complete: {news.decision.replace('_', ' ')}",
            message=f"{news.rationale.rstrip('.') if numbers else news.rationale}{numbers}",
            cause=f"experiment_complete:{news.experiment_id}",
            occurrence="completed",
            action_url=reverse("experiment-results", kwargs={"experiment_id": news.experiment_id}),
            model_name=news.model_name,
            version=news.version,
            details={"experiment_id": news.experiment_id, "decision": news.decision, "improvement_pct": news.improvement_pct, **measured},
        )
    )


@subscribe(ExperimentProposed, "alerts.experiment_proposed")
def tell_of_experiment(news: ExperimentProposed) -> None:
    """It waits under Approvals; no type of alert asks what a proposal asks."""
    question = Question(
        kind="experiment",
        id=news.experiment_id,
        title=f"Experiment “{news.experiment_name}” waits for approval",
        message=news.hypothesis,
        asked_by=news.proposed_by,
        action_url=reverse("admin:experiments_page", args=[news.experiment_id]),
    )
    notify_approval(question, at=timezone.now())


@subscribe(PolicyChangePending, "alerts.policy_change_pending")
def tell_of_policy_change(news: PolicyChangePending) -> None:
    """It waits under Approvals, as above."""
    changed = [f"{name}: {news.before.get(name)} → {value}" for name, value in news.after.items() if news.before.get(name) != value]
    question = Question(
        kind="policy_change",
        id=news.request_id,
        title=f"A looser policy of {news.model_name} waits for approval",
        message="\n".join([*changed, *([f"Reason given: {news.reason}"] if news.reason else [])]),
        asked_by=news.actor,
        action_url=reverse("admin:registry_policy_request", args=[news.request_id]),
        model_name=news.model_name,
    )
    notify_approval(question, at=timezone.now())


@subscribe(JobFailed, "alerts.job_failed")
def ask_about_job(news: JobFailed) -> None:
    """A job gave up."""
    if news.kind in TOLD_ELSEWHERE:
        return
    _raise(
        Finding(
            alert_type=AlertType.JOB_FAILED,
            severity=Severity.WARNING,
            title=f"Job failed: {news.label}",
            message=f"After {news.attempts} attempts: {news.error}",
            cause=f"job_failed:{news.kind}:{news.label}",
            occurrence=news.job_id,
            action_url=reverse("admin:jobs_job_change", args=[news.job_id]),
            details={"job_id": news.job_id, "kind": news.kind},
        )
    )


@subscribe(VersionMoved, "alerts.promotion_settled")
def settle_promotion(news: VersionMoved) -> None:
    """What an alert asks for may have been decided on another page."""
    settling.settle_promotions(version_id=UUID(news.version_id), at=timezone.now())


@subscribe(VersionMoved, "alerts.complaints_settled")
def settle_complaints(news: VersionMoved) -> None:
    """What an alert asks for may make no sense any more. In a transaction of its own: no alert is locked after the audit trail."""
    settling.settle_complaints(version_id=UUID(news.version_id), who=news.actor, at=timezone.now())


@subscribe(PromotionRequestDecided, "alerts.promotion_request_decided")
def settle_request(news: PromotionRequestDecided) -> None:
    """A rejected request moves no version."""
    settling.settle_promotions(version_id=UUID(news.version_id), at=timezone.now())


@subscribe(VersionRegistered, "alerts.retraining_settled")
def settle_retraining(news: VersionRegistered) -> None:
    """What failed before came to something."""
    settling.settle_failures(version_id=UUID(news.version_id), at=timezone.now())


@subscribe(ChannelDue, "alerts.channel_due")
def send(news: ChannelDue) -> None:
    """Lease what waits for the channel here, send it after the commit: no transaction is open while a receiver takes its time.

    Killed in between, the lease runs out and its own message brings us back.
    """
    leased = delivering.lease(channel_id=UUID(news.channel_id), at=timezone.now())
    if leased is not None:
        transaction.on_commit(lambda: _deliver(leased), robust=True)


def _deliver(leased: Delivery) -> None:
    delivering.deliver(leased)


def _outcome(news: ExperimentCompleted) -> Outcome | None:
    """What was reported and what we measured, as it is when the news arrives."""
    try:
        return outcome_of(find_experiment(UUID(news.experiment_id)))
    except NotFound:
        return None


def _raise(finding: Finding) -> None:
    inbox.raise_alert(finding=finding, at=timezone.now())


def _model_page(name: str) -> str:
    model = RegisteredModel.objects.filter(name=name).only("pk").first()
    return reverse("admin:registry_model_page", args=[model.pk]) if model else ""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
