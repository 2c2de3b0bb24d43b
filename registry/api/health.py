"""Health, history, backtests, production and deployment history of a model."""

from datetime import timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.parameters import invalid, moment, whole_number
from mlops.api.views import ApiView, ListView
from registry.api.answers import GateAnswer, MoveAnswer, VersionAnswer, move_row, version_row
from registry.api.doors import answer, model_name_of
from registry.api.evidence import RetrainingAnswer, retraining_row
from registry.models import BacktestResult
from registry.queries.backtests import LONGEST_DAYS, series_of
from registry.queries.health import ChallengerHealth, ChampionHealth, health_of
from registry.queries.models import find_model
from registry.queries.production import Deployment, coronations, deployments, production_at
from registry.queries.versions import moves_of, version_anywhere, versions_of

CLOCK_SKEW = timedelta(minutes=1)
DAILY = ("mae", "mape", "wape", "rmse", "bias_pct", "coverage", "stockout_miss_rate", "overstock_rate", "n")
HEALTH_HELP = "Of validated days: warning when their MAE is more than 15 % above `baseline_mae`, critical above 30 %."


class ChampionHealthAnswer(serializers.Serializer[Any]):
    """The champion's health. MAE is pooled over all series of the 7 and 30 days up to `as_of`."""

    version = serializers.CharField()
    version_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=["healthy", "warning", "critical"], help_text=HEALTH_HELP)
    status_reason = serializers.CharField()
    mae_7d = serializers.FloatField(allow_null=True)
    mae_30d = serializers.FloatField(allow_null=True)
    trend = serializers.ChoiceField(choices=["improving", "stable", "degrading"], allow_null=True)
    baseline_mae = serializers.FloatField(allow_null=True)
    mae_change_pct = serializers.FloatField(allow_null=True)
    as_of = serializers.DateField(allow_null=True)
    mae_source = serializers.ChoiceField(choices=["validation", "backtest"], allow_null=True)
    promoted_at = serializers.DateTimeField()
    last_retrain = serializers.DateTimeField(allow_null=True)
    next_retrain = serializers.DateTimeField(allow_null=True)


class ChallengerHealthAnswer(serializers.Serializer[Any]):
    """The newest version that competes, and whether it may take the throne."""

    version = serializers.CharField()
    version_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=["challenger", "shadow"])
    mae_7d = serializers.FloatField(allow_null=True)
    mae_30d = serializers.FloatField(allow_null=True)
    as_of = serializers.DateField(allow_null=True)
    mae_source = serializers.CharField(allow_null=True)
    promotion_eligible = serializers.BooleanField(
        help_text="Every gate passed against the present champion, and shadow does not say otherwise."
    )
    confidence = serializers.FloatField(
        allow_null=True, help_text="1 − p of the paired test of daily errors, in shadow if there are enough days."
    )
    gates = GateAnswer(many=True)
    verdict = serializers.CharField(allow_null=True, help_text="In one sentence.")
    shadow = serializers.CharField(allow_null=True, help_text="Shadow evidence in one sentence; `…/shadow` has the numbers.")


class HealthAnswer(serializers.Serializer[Any]):
    """Either side may be null."""

    model_name = serializers.CharField()
    champion = ChampionHealthAnswer(allow_null=True)
    challenger = ChallengerHealthAnswer(allow_null=True)
    retraining_triggers = serializers.DictField(child=serializers.DictField())
    recent_retraining_events = RetrainingAnswer(many=True)


class Health(ApiView):
    """Champion and challenger."""

    query_parameters = ("model_name",)

    @extend_schema(responses=HealthAnswer)
    def get(self, request: Request) -> Response:
        """Is the champion still as good as when it won, and may the challenger take its place? Default model: `demand_forecast`."""
        health = health_of(find_model(model_name_of(request)[0]), at=timezone.now())
        body = {
            "model_name": health.model.name,
            "champion": _champion(health.champion) if health.champion else None,
            "challenger": _challenger(health.challenger) if health.challenger else None,
            "retraining_triggers": health.triggers,
            "recent_retraining_events": [retraining_row(run) for run in health.retrainings],
        }
        return Response(body)


def _champion(side: ChampionHealth) -> dict[str, Any]:
    condition, errors = side.condition, side.condition.errors
    return {
        "version": side.version.version,
        "version_id": side.version.pk,
        "status": condition.state,
        "status_reason": condition.said(side.version.version),
        "mae_7d": errors.mae_7d,
        "mae_30d": errors.mae_30d,
        "trend": errors.trend,
        "baseline_mae": condition.baseline_mae,
        "mae_change_pct": condition.change_pct,
        "as_of": errors.as_of,
        "mae_source": errors.source,
        "promoted_at": side.version.promoted_at,
        "last_retrain": side.last_retrain,
        "next_retrain": side.next_retrain,
    }


def _challenger(side: ChallengerHealth) -> dict[str, Any]:
    errors = side.errors
    return {
        "version": side.version.version,
        "version_id": side.version.pk,
        "status": side.version.status,
        "mae_7d": errors.mae_7d,
        "mae_30d": errors.mae_30d,
        "as_of": errors.as_of,
        "mae_source": errors.source,
        "promotion_eligible": side.promotion_eligible,
        "confidence": side.confidence,
        "gates": side.verdict.gates if side.verdict else [],
        "verdict": side.verdict.summary if side.verdict else None,
        "shadow": side.shadow.said if side.shadow else None,
    }


class HistoryRowsAnswer(serializers.ListSerializer[Any]):
    """A page of versions; their moves are read at once."""

    def to_representation(self, data: Any) -> list[Any]:
        """One query for the whole page."""
        versions = list(data)
        moves = moves_of(versions)
        return [{**version_row(one), "moves": [move_row(made) for made in moves.get(one.pk, [])]} for one in versions]


class HistoryAnswer(VersionAnswer):
    """A version and how it got where it is."""

    moves = MoveAnswer(many=True)

    class Meta:
        list_serializer_class = HistoryRowsAnswer


class History(ListView):
    """Versions with their moves."""

    query_parameters = ("model_name",)
    ordering_fields = ("number", "created_at", "promoted_at", "status_changed_at")
    search_fields = ("version", "algorithm", "notes", "created_by")
    row_serializer = HistoryAnswer

    @extend_schema(responses=HistoryAnswer(many=True))
    def get(self, request: Request) -> Response:
        """Versions, newest first, with who moved them, when and why. Default model: `demand_forecast`."""
        return self.page(request, versions_of(find_model(model_name_of(request)[0])))


class BacktestRowAnswer(serializers.Serializer[Any]):
    """One forecast date. Rates are fractions of 1, `bias_pct` is in percent."""

    forecast_date = serializers.DateField()
    mae = serializers.FloatField(allow_null=True)
    mape = serializers.FloatField(allow_null=True)
    wape = serializers.FloatField(allow_null=True)
    rmse = serializers.FloatField(allow_null=True)
    bias_pct = serializers.FloatField(allow_null=True)
    coverage = serializers.FloatField(allow_null=True)
    stockout_miss_rate = serializers.FloatField(allow_null=True)
    overstock_rate = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField()


class BacktestAnswer(serializers.Serializer[Any]):
    """A version's backtest over time."""

    model_name = serializers.CharField()
    version = serializers.CharField()
    version_id = serializers.UUIDField()
    days = serializers.IntegerField()
    count = serializers.IntegerField()
    summary = serializers.DictField(allow_null=True, help_text="Metrics of the newest run over its whole window.")
    results = BacktestRowAnswer(many=True)


class Backtest(ApiView):
    """Backtests over time."""

    query_parameters = ("days", "model_name")

    @extend_schema(responses=BacktestAnswer)
    def get(self, request: Request, version: str) -> Response:
        """Daily errors of the last `days` (1–730, default 90) days up to the newest forecast date, oldest first."""
        days = whole_number(request, "days", default=90, lowest=1, highest=LONGEST_DAYS)
        model_name, named = model_name_of(request)
        series = series_of(version_anywhere(version, model_name, named=named), days=days)
        body = {
            "model_name": series.version.model_name,
            "version": series.version.version,
            "version_id": series.version.pk,
            "days": days,
            "count": len(series.rows),
            "summary": series.run.metrics if series.run else None,
            "results": [_day(row) for row in series.rows],
        }
        return Response(body)


def _day(row: BacktestResult) -> dict[str, Any]:
    return {"forecast_date": row.forecast_date, **{name: getattr(row, name) for name in DAILY}}


class ProductionAnswer(VersionAnswer):
    """The champion of a moment."""

    version_id = serializers.UUIDField()
    deployed_since = serializers.DateTimeField()
    deployed_until = serializers.DateTimeField(allow_null=True, help_text="Null while it serves.")
    promoted_by = serializers.CharField()
    on_behalf_of = serializers.CharField()
    reason = serializers.CharField()


class Production(ApiView):
    """Who serves."""

    query_parameters = ("at",)

    @extend_schema(responses=ProductionAnswer)
    def get(self, request: Request, model_name: str) -> Response:
        """The champion, its metrics, and since when; `?at=2026-03-01T06:00:00Z` says who served then. 404 `no_production_version`."""
        at = moment(request, "at")
        if at is not None and at > timezone.now() + CLOCK_SKEW:
            raise invalid("at", "Lies in the future.")
        found = production_at(find_model(model_name), at)
        body = {
            **version_row(found.version),
            "version_id": found.version.pk,
            "deployed_since": found.since,
            "deployed_until": found.until,
            "promoted_by": found.promoted_by,
            "on_behalf_of": found.on_behalf_of,
            "reason": found.reason,
        }
        return answer(found.model, body)


class DeploymentAnswer(serializers.Serializer[Any]):
    """One change of champion."""

    version = serializers.CharField()
    version_id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=["promotion", "rollback"])
    promoted_by = serializers.CharField()
    on_behalf_of = serializers.CharField()
    promoted_at = serializers.DateTimeField()
    former_champion = serializers.CharField(allow_null=True)
    reason = serializers.CharField()
    automatic = serializers.BooleanField()
    override = serializers.BooleanField()
    emergency = serializers.BooleanField()
    decision_id = serializers.UUIDField(allow_null=True)
    sequence = serializers.IntegerField()
    audit_number = serializers.IntegerField()


class DeploymentRowsAnswer(serializers.ListSerializer[Any]):
    """A page of changes; versions and decisions are read at once."""

    def to_representation(self, data: Any) -> list[Any]:
        """Two queries for the whole page."""
        return [_deployment(one) for one in deployments(list(data))]


class DeploymentsAnswer(DeploymentAnswer):
    """A page of changes of champion."""

    class Meta:
        list_serializer_class = DeploymentRowsAnswer


class DeploymentHistory(ListView):
    """Changes of champion."""

    ordering_fields = ("sequence", "promoted_at")
    search_fields = ("object_label", "actor", "on_behalf_of", "reason")
    row_serializer = DeploymentsAnswer

    @extend_schema(operation_id="models_deployment_history_list", responses=DeploymentAnswer(many=True))
    def get(self, request: Request, model_name: str) -> Response:
        """The audit trail of promotions and rollbacks, newest first."""
        return self.page(request, coronations(find_model(model_name)).annotate(promoted_at=F("occurred_at")))


def _deployment(one: Deployment) -> dict[str, Any]:
    made, decision = one.move, one.decision
    former = decision.former_champion if decision else None
    return {
        "version": one.version.version,
        "version_id": one.version.pk,
        "kind": decision.kind if decision else "promotion",
        "promoted_by": made.actor,
        "on_behalf_of": made.on_behalf_of,
        "promoted_at": made.occurred_at,
        "former_champion": former.version if former else None,
        "reason": made.reason,
        "automatic": bool(decision and decision.automatic),
        "override": bool(decision and decision.override),
        "emergency": bool(decision and decision.emergency),
        "decision_id": decision.pk if decision else None,
        "sequence": made.sequence,
        "audit_number": made.audit_number,
    }
