"""What the calls about experiments answer. Values are made by plain functions; fields are declared for OpenAPI."""

from typing import Any

from rest_framework import serializers

from experiments.models import Experiment, ExperimentComment
from experiments.queries.experiments import moves_of, versions_of
from experiments.queries.results import Comparison, Outcome
from experiments.states import EXPERIMENT_LIFECYCLE
from registry.api.answers import Answer, MoveAnswer, move_row
from registry.models import ModelVersion


def experiment_row(experiment: Experiment) -> dict[str, Any]:
    """One line of the list."""
    return {
        "id": experiment.pk,
        "experiment_name": experiment.experiment_name,
        "hypothesis": experiment.hypothesis,
        "experiment_type": experiment.experiment_type,
        "status": experiment.status,
        "model_name": experiment.model.name if experiment.model else None,
        "proposed_by": experiment.proposed_by,
        "approved_by": experiment.approved_by or None,
        "approved_at": experiment.approved_at,
        "approval_rationale": experiment.approval_rationale,
        "started_at": experiment.started_at,
        "baseline_version": _label(experiment.baseline_version),
        "experimental_version": _label(experiment.experimental_version),
        "decision": experiment.decision or None,
        "decision_rationale": experiment.decision_rationale,
        "results": experiment.results or None,
        "closed_by": experiment.closed_by or None,
        "closed_at": experiment.closed_at,
        "revision": experiment.revision,
        "created_at": experiment.created_at,
        "updated_at": experiment.updated_at,
    }


def experiment_detail(experiment: Experiment) -> dict[str, Any]:
    """An experiment with its versions, its steps and what may follow. Three queries more than a row."""
    linked = versions_of(experiment)
    return {
        **experiment_row(experiment),
        "allowed_moves": EXPERIMENT_LIFECYCLE.allowed(experiment.status),
        "versions": [
            {
                "id": one.version_id,
                "model_name": one.version.model_name,
                "version": one.version.version,
                "status": one.version.status,
                "linked_by": one.linked_by,
                "linked_at": one.linked_at,
            }
            for one in linked
        ],
        "moves": [move_row(made) for made in moves_of(experiment)],
        "comment_count": experiment.comments.count(),
    }


def comment_row(comment: ExperimentComment) -> dict[str, Any]:
    """One contribution to the discussion."""
    return {"id": comment.pk, "author": comment.author, "actor": comment.actor, "body": comment.body, "created_at": comment.created_at}


def results_json(outcome: Outcome) -> dict[str, Any]:
    """What was reported, and what the backtests of both versions say on the same days."""
    experiment, compared = outcome.experiment, outcome.comparison
    return {
        "id": experiment.pk,
        "experiment_name": experiment.experiment_name,
        "status": experiment.status,
        "decision": experiment.decision or None,
        "decision_rationale": experiment.decision_rationale,
        "results": experiment.results or None,
        "baseline_version": _version(outcome.baseline),
        "experimental_version": _version(outcome.experimental),
        "said": outcome.said,
        "comparison": _comparison(compared) if compared else None,
        "daily": [
            {"forecast_date": one.date, "baseline_mae": one.baseline, "experimental_mae": one.experimental}
            for one in (compared.days if compared else [])
        ],
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    low, high = found.interval or (None, None)
    return {
        "window_start": found.window_start,
        "window_end": found.window_end,
        "days": len(found.days),
        "horizon": found.horizon,
        "dataset_version_id": found.dataset_version_id,
        "baseline_backtest_id": found.baseline_run.pk,
        "experimental_backtest_id": found.experimental_run.pk,
        "baseline_mae": found.baseline_mae,
        "experimental_mae": found.experimental_mae,
        "improvement_pct": found.improvement_pct,
        "mean_difference": found.mean_difference,
        "interval_low": low,
        "interval_high": high,
        "p_value": found.p_value,
        "significant": found.significant,
        "method": found.method,
        "reason": found.reason,
        "baseline_metrics": found.baseline_run.metrics,
        "experimental_metrics": found.experimental_run.metrics,
    }


def _label(version: ModelVersion | None) -> str | None:
    return version.version if version else None


def _version(version: ModelVersion | None) -> dict[str, Any] | None:
    return {"id": version.pk, "model_name": version.model_name, "version": version.version, "status": version.status} if version else None


class ReportedResults(serializers.Serializer[Any]):
    """The results as they were reported. MAE in units of demand, improvement in percent of the baseline's."""

    baseline_mae = serializers.FloatField()
    experimental_mae = serializers.FloatField()
    improvement_pct = serializers.FloatField()


class ExperimentAnswer(Answer):
    """An experiment."""

    make = staticmethod(experiment_row)

    id = serializers.UUIDField()
    experiment_name = serializers.CharField()
    hypothesis = serializers.CharField()
    experiment_type = serializers.CharField()
    status = serializers.CharField()
    model_name = serializers.CharField(allow_null=True)
    proposed_by = serializers.CharField()
    approved_by = serializers.CharField(allow_null=True)
    approved_at = serializers.DateTimeField(allow_null=True)
    approval_rationale = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    baseline_version = serializers.CharField(allow_null=True, help_text="The champion it set out against.")
    experimental_version = serializers.CharField(allow_null=True)
    decision = serializers.CharField(allow_null=True)
    decision_rationale = serializers.CharField(help_text="Also why it was rejected or rolled back.")
    results = ReportedResults(allow_null=True)
    closed_by = serializers.CharField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)
    revision = serializers.IntegerField(help_text="The number in the ETag.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class LinkedVersion(serializers.Serializer[Any]):
    """A version made or tried under the experiment."""

    id = serializers.UUIDField()
    model_name = serializers.CharField()
    version = serializers.CharField()
    status = serializers.CharField()
    linked_by = serializers.CharField()
    linked_at = serializers.DateTimeField()


class ExperimentDetailAnswer(ExperimentAnswer):
    """An experiment with its versions and its steps."""

    make = staticmethod(experiment_detail)

    allowed_moves = serializers.ListField(child=serializers.CharField())
    versions = LinkedVersion(many=True)
    moves = MoveAnswer(many=True)
    comment_count = serializers.IntegerField()


class ConclusionAnswer(ExperimentDetailAnswer):
    """A completed experiment, and what its adoption led to."""

    promotion = serializers.ChoiceField(choices=["promoted", "pending", "none"])
    promotion_message = serializers.CharField()


class CommentAnswer(Answer):
    """One contribution to the discussion."""

    make = staticmethod(comment_row)

    id = serializers.UUIDField()
    author = serializers.CharField()
    actor = serializers.CharField()
    body = serializers.CharField()
    created_at = serializers.DateTimeField()


class ComparedVersion(serializers.Serializer[Any]):
    """One side."""

    id = serializers.UUIDField()
    model_name = serializers.CharField()
    version = serializers.CharField()
    status = serializers.CharField()


class ComparisonAnswer(serializers.Serializer[Any]):
    """Both sides on the same backtest window, data and days."""

    window_start = serializers.DateField()
    window_end = serializers.DateField()
    days = serializers.IntegerField()
    horizon = serializers.IntegerField()
    dataset_version_id = serializers.UUIDField()
    baseline_backtest_id = serializers.UUIDField()
    experimental_backtest_id = serializers.UUIDField()
    baseline_mae = serializers.FloatField(allow_null=True)
    experimental_mae = serializers.FloatField(allow_null=True)
    improvement_pct = serializers.FloatField(allow_null=True)
    mean_difference = serializers.FloatField(allow_null=True, help_text="Of daily MAE, experimental minus baseline; below zero is better.")
    interval_low = serializers.FloatField(allow_null=True, help_text="95 % interval of the mean difference.")
    interval_high = serializers.FloatField(allow_null=True)
    p_value = serializers.FloatField(allow_null=True)
    significant = serializers.BooleanField(allow_null=True)
    method = serializers.CharField()
    reason = serializers.CharField(help_text="Why there is no test, where there is none.")
    baseline_metrics = serializers.DictField()
    experimental_metrics = serializers.DictField()


class DailyPair(serializers.Serializer[Any]):
    """One forecast date."""

    forecast_date = serializers.DateField()
    baseline_mae = serializers.FloatField()
    experimental_mae = serializers.FloatField()


class ResultsAnswer(serializers.Serializer[Any]):
    """The outcome of an experiment."""

    id = serializers.UUIDField()
    experiment_name = serializers.CharField()
    status = serializers.CharField()
    decision = serializers.CharField(allow_null=True)
    decision_rationale = serializers.CharField()
    results = ReportedResults(allow_null=True)
    baseline_version = ComparedVersion(allow_null=True)
    experimental_version = ComparedVersion(allow_null=True)
    said = serializers.CharField(help_text="The outcome in one sentence, or why nothing can be compared.")
    comparison = ComparisonAnswer(allow_null=True)
    daily = DailyPair(many=True)
