"""`/api/v1/models`: list, register, configure, compare, and the registry in numbers."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.parameters import choice
from mlops.api.quick import Quickly
from mlops.api.views import ApiView, ListView
from registry.api.answers import ModelAnswer, ModelDetailAnswer, VersionAnswer, model_detail, model_row
from registry.api.bodies import ActualsBody, ModelChangesBody, NewModelBody
from registry.api.doors import answer, condition, dataset_of, etag_of, named_by
from registry.api.policy_requests import PolicyRequestAnswer, policy_request_row
from registry.models import RegisteredModel
from registry.queries.compare import compare
from registry.queries.hot import hot_model
from registry.queries.models import ModelSummary, find_model, find_summary, models, summary
from registry.queries.statistics import statistics
from registry.services.actuals import ActualRow, record_actuals
from registry.services.model_settings import configure_model, register_model


class ModelRowAnswer(ModelAnswer):
    """A model in the list."""

    make = staticmethod(lambda found: model_row(summary(found)))


class ModelFilter(django_filters.FilterSet):
    """Filters of the list of models."""

    task = django_filters.ChoiceFilter(choices=RegisteredModel.Task.choices)
    model_type = django_filters.ChoiceFilter(choices=RegisteredModel.Type.choices)
    domain = django_filters.CharFilter()
    production_status = django_filters.ChoiceFilter(
        method="by_production", choices=[("in_production", "in production"), ("not_in_production", "not in production")]
    )

    class Meta:
        model = RegisteredModel
        fields = ("task", "model_type", "domain", "production_status")

    def by_production(self, queryset: QuerySet[RegisteredModel], name: str, value: str) -> QuerySet[RegisteredModel]:
        """Models with a champion, or without one."""
        without: Any = {"champion_id__isnull": value != "in_production"}  # an annotation of queries.models.models()
        return queryset.filter(**without)


class Models(ListView):
    """Models of your customer."""

    actions_by_method = {"POST": "model.register"}
    filterset_class = ModelFilter
    ordering_fields = ("name", "display_name", "domain", "created_at")
    search_fields = ("name", "display_name", "description", "domain")
    row_serializer = ModelRowAnswer

    @extend_schema(responses=ModelAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List models with their version counts and champions. Two queries, whatever their number."""
        return self.page(request, models())

    @extend_schema(request=NewModelBody, responses={201: ModelDetailAnswer})
    def post(self, request: Request) -> Response:
        """Register a model. Only `name` is needed."""
        body = self.body(NewModelBody, request)
        by = named_by(self.principal(request), body, "user_id")
        model = register_model(by=by, at=timezone.now(), **_settings(body))
        return answer(
            model, model_detail(ModelSummary(model, None)), status=201, location=reverse("model", kwargs={"model_name": model.name})
        )


class ModelChangedAnswer(ModelDetailAnswer):
    """A model after a change, and what of the change waits for another manager."""

    policy_request = PolicyRequestAnswer(allow_null=True)


class ModelDetail(ApiView):
    """One model."""

    actions_by_method = {"PATCH": "model.configure"}
    takes_precondition = True

    @staticmethod
    def quick(request: HttpRequest, names: Mapping[str, str]) -> Quickly:
        """The same as `get`; None where it finds nothing, or the query has parameters."""
        found = None if request.GET else hot_model(names["model_name"])
        return None if found is None else (model_detail(found), {"ETag": etag_of(found.model)})

    @extend_schema(responses=ModelDetailAnswer)
    def get(self, request: Request, model_name: str) -> Response:
        """The model, its policy, data source and champion, with its `ETag`. One query."""
        found = find_summary(model_name)
        return answer(found.model, model_detail(found))

    @extend_schema(request=ModelChangesBody, responses={200: ModelChangedAnswer, 202: ModelChangedAnswer})
    def patch(self, request: Request, model_name: str) -> Response:
        """Change settings; `If-Match` refuses to change what has changed since (412). The policy is merged, the recipe replaced.

        Under four eyes, settings of the policy that ask for less wait for another manager: 202 with the `policy_request`. Everything
        else in the body applies at once.
        """
        body = self.body(ModelChangesBody, request)
        by, reason = named_by(self.principal(request), body, "user_id"), body.pop("reason", "")
        made = configure_model(
            model=find_model(model_name), changes=_settings(body), by=by, at=timezone.now(), reason=reason, if_match=condition(request)
        )
        waits = made.request
        data = model_detail(find_summary(made.model.name)) | {"policy_request": policy_request_row(waits) if waits else None}
        location = reverse("policy-request", kwargs={"request_id": str(waits.pk)}) if waits else ""
        return answer(made.model, data, status=202 if waits else 200, location=location)


class StatisticsAnswer(serializers.Serializer[Any]):
    """The registry in numbers."""

    total_models = serializers.IntegerField()
    total_versions = serializers.IntegerField()
    production_models = serializers.IntegerField(help_text="Models with a champion.")
    by_status = serializers.DictField(child=serializers.IntegerField())
    by_task = serializers.DictField(child=serializers.IntegerField())
    by_model_type = serializers.DictField(child=serializers.IntegerField())
    average_production_metrics = serializers.DictField(child=serializers.FloatField(), help_text="Means over the champions.")
    metric_counts = serializers.DictField(child=serializers.IntegerField(), help_text="Champions that have the metric.")
    pending_promotion_requests = serializers.IntegerField()


class RegistryStatistics(ApiView):
    """All models together."""

    @extend_schema(responses=StatisticsAnswer)
    def get(self, request: Request) -> Response:
        """Totals, versions by status, average metrics of what is in production."""
        return Response(asdict(statistics()))


class ComparedAnswer(VersionAnswer):
    """A version in a comparison."""

    value = serializers.FloatField(allow_null=True)
    best = serializers.BooleanField()
    difference_pct = serializers.FloatField(allow_null=True, help_text="Against the best, percent of the best's size.")
    first_day = serializers.DateField(allow_null=True, help_text="Of the days that its metrics were measured on here.")
    last_day = serializers.DateField(allow_null=True)


class MetricAnswer(serializers.Serializer[Any]):
    """One metric over the compared versions."""

    direction = serializers.ChoiceField(choices=["lower", "higher", "zero"], allow_null=True, help_text="Which values are better.")
    best = serializers.ListField(child=serializers.CharField())
    values = serializers.DictField(child=serializers.FloatField(allow_null=True))


class CompareAnswer(serializers.Serializer[Any]):
    """Versions side by side."""

    model_name = serializers.CharField()
    metric = serializers.CharField()
    direction = serializers.CharField(allow_null=True)
    order = serializers.CharField()
    best = serializers.CharField(allow_null=True)
    note = serializers.CharField(allow_blank=True, help_text="Says so where forecasts were not measured on the same days.")
    versions = ComparedAnswer(many=True)
    metrics = serializers.DictField(child=MetricAnswer())


class Compare(ApiView):
    """Versions of a model side by side."""

    query_parameters = ("versions", "metric", "order")

    @extend_schema(responses=CompareAnswer)
    def get(self, request: Request, model_name: str) -> Response:
        """Compare `versions` (labels or ids with commas; default the newest ten) by `metric`, the best first unless `order` is given."""
        wanted = [one.strip() for one in request.query_params.get("versions", "").split(",") if one.strip()]
        order = choice(request, "order", ["asc", "desc"])
        found = compare(find_model(model_name), references=wanted, metric=request.query_params.get("metric", ""), order=order)
        body = {
            "model_name": found.model.name,
            "metric": found.metric,
            "direction": found.direction,
            "order": found.order,
            "best": next((row.version.version for row in found.rows if row.best), None),
            "note": found.note,
            "versions": [
                {
                    **VersionAnswer.make(row.version),
                    "value": row.value,
                    "best": row.best,
                    "difference_pct": row.difference_pct,
                    "first_day": row.days[0] if row.days else None,
                    "last_day": row.days[1] if row.days else None,
                }
                for row in found.rows
            ],
            "metrics": {name: asdict(metric) for name, metric in found.metrics.items()},
        }
        return Response(body)


class ActualsAnswer(serializers.Serializer[Any]):
    """What became of the rows."""

    received = serializers.IntegerField()
    new = serializers.IntegerField()
    corrected = serializers.IntegerField()


class Actuals(ApiView):
    """Ground truth."""

    actions_by_method = {"POST": "model.actuals"}

    @extend_schema(request=ActualsBody, responses=ActualsAnswer)
    def post(self, request: Request, model_name: str) -> Response:
        """Send up to 10,000 rows; a row that is known is corrected. The daily validation scores the champion on them."""
        body = self.body(ActualsBody, request)
        rows = [ActualRow(row["date"], row.get("keys", {}), row["value"]) for row in body["rows"]]
        return Response(record_actuals(model=find_model(model_name), rows=rows, by=self.principal(request), at=timezone.now()))


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    """The body's settings under the service's names."""
    if "dataset_id" in body:
        body["dataset"] = dataset_of(body.pop("dataset_id"))
    return body
