"""`/api/v1/models/{model_name}/retrain` and `…/retraining`."""

import django_filters
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from experiments.services.retraining import request_retrain
from mlops.api.views import ApiView, ListView
from registry.api.bodies import RetrainBody
from registry.api.doors import dataset_of, job_address, named_by
from registry.api.evidence import RetrainingAnswer, retraining_row
from registry.models import RetrainingRun
from registry.queries.models import find_model
from registry.states import RetrainingStatus, Trigger


class RetrainAnswer(RetrainingAnswer):
    """A retraining that was asked for."""

    retraining_id = serializers.UUIDField()
    location = serializers.CharField(help_text="Where to look for its progress.")


class Retrain(ApiView):
    """Retraining."""

    actions_by_method = {"POST": "model.retrain"}

    @extend_schema(request=RetrainBody, responses={202: RetrainAnswer})
    def post(self, request: Request, model_name: str) -> Response:
        """Train a candidate on the newest data and let the arena judge it; a job does it (202). One at a time per model (409)."""
        body = self.body(RetrainBody, request)
        by = named_by(self.principal(request), body, "user_id")
        run = request_retrain(
            model=find_model(model_name),
            trigger=Trigger(body.get("trigger", Trigger.MANUAL)),
            by=by,
            at=timezone.now(),
            reason=body.get("reason", ""),
            data_dir=body.get("data_dir", ""),
            dataset=dataset_of(body.get("dataset_id")),
        )
        location = job_address(run.job_id)
        shown = {"retraining_id": run.pk, "location": location, **retraining_row(run)}
        return Response(shown, status=202, headers={"Location": location})


class RetrainingFilter(django_filters.FilterSet):
    """Filters of the retraining log."""

    status = django_filters.ChoiceFilter(choices=RetrainingStatus.choices)
    trigger_type = django_filters.ChoiceFilter(choices=Trigger.choices)

    class Meta:
        model = RetrainingRun
        fields = ("status", "trigger_type")


class Retrainings(ListView):
    """The retraining log of a model."""

    filterset_class = RetrainingFilter
    ordering_fields = ("started_at", "completed_at")
    search_fields = ("version_produced", "requested_by", "reason")
    row_serializer = RetrainingAnswer

    @extend_schema(responses=RetrainingAnswer(many=True))
    def get(self, request: Request, model_name: str) -> Response:
        """Retrainings, newest first: why each was started, and what came of it."""
        return self.page(request, RetrainingRun.objects.filter(model=find_model(model_name)).order_by("-started_at", "pk"))
