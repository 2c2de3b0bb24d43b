"""`/v1/experiments/{id}/trials`: what a study tried, and a version made of a chosen trial."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import F, QuerySet
from django.urls import re_path, reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from experiments.api.training.study_answers import RegistrationAnswer, TrialAnswer, registration_row
from experiments.models import Trial
from experiments.queries.studies import trials_of
from experiments.services.study_rows import find_study
from experiments.services.trial_registration import register_trial
from experiments.states import TrialState
from mlops.api.bodies import NoBody
from mlops.api.views import ApiView, ListView
from mlops.errors import NotFound


def known_study(study_id: str) -> UUID:
    """The id in the path. Raises NotFound for what is none."""
    try:
        return UUID(study_id)
    except ValueError:
        raise NotFound("There is no such study.") from None


def valueless_last(rows: QuerySet[Any], wanted: str, columns: tuple[str, ...]) -> QuerySet[Any]:
    """The rows ordered by one of these columns, in either direction, those that have no value at the end on both databases."""
    name = wanted.removeprefix("-")
    if name not in columns:
        return rows
    column = F(name)
    return rows.order_by(column.desc(nulls_last=True) if wanted.startswith("-") else column.asc(nulls_last=True), "pk")


class TrialFilter(django_filters.FilterSet):
    """Filters of a study's trials."""

    state = django_filters.ChoiceFilter(choices=TrialState.choices)

    class Meta:
        model = Trial
        fields = ("state",)


class StudyTrials(ListView):
    """The trials of a study."""

    filterset_class = TrialFilter
    ordering_fields = ("number", "value", "duration_s")
    row_serializer = TrialAnswer

    @extend_schema(operation_id="studies_trials", responses=TrialAnswer(many=True))
    def get(self, request: Request, study_id: str) -> Response:
        """Trials as they happen, in the order of their start; ordered by value, those without one come last. Three queries."""
        return self.page(request, trials_of(find_study(known_study(study_id))))

    def _order(self, request: Request, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return valueless_last(super()._order(request, queryset), request.query_params.get("ordering", ""), ("value", "duration_s"))


class RegisterTrial(ApiView):
    """A candidate made of a trial that somebody chose."""

    actions_by_method = {"POST": "study.run"}

    @extend_schema(operation_id="studies_register_trial", request=None, responses={202: RegistrationAnswer, 200: RegistrationAnswer})
    def post(self, request: Request, study_id: str, number: str) -> Response:
        """Fit a complete trial's parameters once more and register the model as a candidate: 202 with the `job_id` that does it.

        Asking again answers the same job, and 200 with the version once there is one. The best trial of a completed study has one already.
        409 `study_running` while the study is at work, `trial_not_complete` for a trial that was pruned, failed or did not end.
        """
        self.body(NoBody, request)
        made = register_trial(study_id=known_study(study_id), number=int(number), by=self.principal(request), at=timezone.now())
        where = reverse("model-version-by-id", args=[made.version.pk]) if made.version else reverse("job", args=[made.job_id])
        return Response(registration_row(made), status=200 if made.version else 202, headers={"Location": where})


_TRIALS = r"^experiments/(?P<study_id>[0-9a-fA-F-]{36})/trials"
trial_urls = [
    re_path(rf"{_TRIALS}/?\Z", StudyTrials.as_view(), name="study-trials"),
    re_path(rf"{_TRIALS}/(?P<number>[0-9]{{1,9}})/register/?\Z", RegisterTrial.as_view(), name="study-trial-register"),
]
