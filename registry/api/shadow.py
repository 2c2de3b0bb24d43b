"""`/api/v1/models/{model_name}/shadow`: a version beside the champion on the same inputs."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.parameters import whole_number
from mlops.api.views import ApiView
from mlops.errors import NotFound
from registry.queries.models import find_model
from registry.queries.shadow import LONGEST_DAYS, Pair, Shadow, rival_of, shadow_of
from registry.queries.shadow_plan import ALPHA, POWER, ShadowPlan, shadow_plan
from registry.services.lookups import champion_of, version_of


class ShadowPairAnswer(serializers.Serializer[Any]):
    """Both sides of a day or a segment. MAE in units of demand."""

    n = serializers.IntegerField(help_text="Pairs whose truth is known.")
    n_ahead = serializers.IntegerField(help_text="Of those, how many were written down before the truth was known.")
    mae = serializers.FloatField()
    champion_mae = serializers.FloatField()
    improvement_pct = serializers.FloatField(allow_null=True)


class ShadowDayAnswer(ShadowPairAnswer):
    """One day."""

    forecast_date = serializers.DateField()


class ShadowSegmentAnswer(ShadowPairAnswer):
    """One segment."""

    segment_column = serializers.CharField()
    segment = serializers.CharField()


class DetectableAnswer(serializers.Serializer[Any]):
    """What a shadow of so many days would notice."""

    days = serializers.IntegerField()
    mae = serializers.FloatField(help_text="Difference of daily MAE, units of demand.")
    pct = serializers.FloatField(help_text="The same in percent of the champion's MAE.")


class ShadowPlanAnswer(serializers.Serializer[Any]):
    """How small a difference would be noticed; known before the shadow starts."""

    said = serializers.CharField(help_text="In one or two sentences.")
    basis = serializers.ChoiceField(
        choices=["pairs", "champion"],
        allow_null=True,
        help_text="Noise of the differences in the backtests of the last verdict, or of the champion's errors alone: then an upper bound.",
    )
    pilot_days = serializers.IntegerField()
    alpha = serializers.FloatField()
    power = serializers.FloatField()
    detectable = DetectableAnswer(many=True)
    days_for_policy = serializers.IntegerField(
        allow_null=True, help_text="The shortest of these spans that notices what the policy asks for."
    )


class ShadowAnswer(serializers.Serializer[Any]):
    """Shadow evidence."""

    model_name = serializers.CharField()
    version = serializers.CharField()
    version_id = serializers.UUIDField()
    champion = serializers.CharField()
    said = serializers.CharField(help_text="In one sentence.")
    summary = ShadowPairAnswer(allow_null=True)
    mean_difference = serializers.FloatField(allow_null=True, help_text="Of daily MAE, version minus champion; below zero is better.")
    interval_low = serializers.FloatField(allow_null=True, help_text="95 % interval of the mean difference.")
    interval_high = serializers.FloatField(allow_null=True)
    p_value = serializers.FloatField(allow_null=True)
    method = serializers.CharField()
    reason = serializers.CharField(help_text="Why there is no test, where there is none.")
    plan = ShadowPlanAnswer()
    days = ShadowDayAnswer(many=True)
    segments = ShadowSegmentAnswer(many=True)


class ShadowView(ApiView):
    """Shadow evidence."""

    query_parameters = ("version", "days")

    @extend_schema(operation_id="models_shadow", responses=ShadowAnswer)
    def get(self, request: Request, model_name: str) -> Response:
        """A version (`?version=`) beside the champion, over the last `days` (1–730, default 90) days.

        Default is the version in shadow or the challenger, also before its first pair; of several the one that was measured last.
        """
        days = whole_number(request, "days", default=90, lowest=1, highest=LONGEST_DAYS)
        model = find_model(model_name)
        champion = champion_of(model)
        if champion is None:
            raise NotFound(f"{model.name} has no champion to stand beside.")
        named = request.query_params.get("version", "")
        version = version_of(model, named) if named else rival_of(champion)
        if version is None:
            raise NotFound(f"{model.name} has no version in shadow and no challenger: nothing is measured beside {champion.version}.")
        if version.pk == champion.pk:
            raise NotFound(f"{champion.version} is the champion itself. Name a version that stands beside it.")
        return Response(_json(shadow_of(version, champion, days=days), shadow_plan(version, champion)))


def _json(found: Shadow, plan: ShadowPlan) -> dict[str, Any]:
    low, high = found.interval or (None, None)
    return {
        "model_name": found.version.model_name,
        "version": found.version.version,
        "version_id": found.version.pk,
        "champion": found.champion.version,
        "said": found.said,
        "summary": _pair(found.total) if found.total else None,
        "mean_difference": found.mean_difference,
        "interval_low": low,
        "interval_high": high,
        "p_value": found.p_value,
        "method": found.method,
        "reason": found.reason,
        "plan": _plan(plan),
        "days": [{"forecast_date": one.day, **_pair(one)} for one in found.days],
        "segments": [{"segment_column": one.column, "segment": one.segment, **_pair(one)} for one in found.segments],
    }


def _plan(plan: ShadowPlan) -> dict[str, Any]:
    return {
        "said": plan.said,
        "basis": plan.basis,
        "pilot_days": plan.pilot_days,
        "alpha": ALPHA,
        "power": POWER,
        "detectable": [{"days": one.days, "mae": one.mae, "pct": one.pct} for one in plan.detectable],
        "days_for_policy": plan.days_for_policy,
    }


def _pair(one: Pair) -> dict[str, Any]:
    return {
        "n": one.n,
        "n_ahead": one.n_ahead,
        "mae": one.mae,
        "champion_mae": one.champion_mae,
        "improvement_pct": one.improvement_pct,
    }
