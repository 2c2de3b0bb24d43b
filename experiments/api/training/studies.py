"""`/v1/experiments`: studies, which search the best hyper-parameters of an algorithm. Proposals have another address."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.urls import re_path, reverse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from experiments.api.training.study_answers import StudyAnswer, StudyDetailAnswer, study_detail
from experiments.api.training.study_bodies import NewStudyBody, StudyChanges
from experiments.api.training.trials import known_study, valueless_last
from experiments.models import Split, Study
from experiments.queries.studies import studies
from experiments.services.studies import cancel_study, change_study, create_study, delete_study
from experiments.services.study_rows import find_study
from experiments.states import StudyStatus
from mlops.api.bodies import NoBody
from mlops.api.concurrency import etag
from mlops.api.parameters import choice
from mlops.api.views import ApiView, ListView
from registry.api.doors import condition, dataset_of


def etag_of(study: Study) -> str:
    """The validator of a study."""
    return etag("study", study.revision)


def answer(study_id: UUID, *, status: int = 200) -> Response:
    """A study as it is now, with its ETag."""
    study = find_study(study_id)
    headers = {"ETag": etag_of(study), "Location": reverse("study", kwargs={"study_id": str(study.pk)})}
    return Response(study_detail(study), status=status, headers=headers)


class StudyFilter(django_filters.FilterSet):
    """Filters of the list."""

    status = django_filters.ChoiceFilter(choices=StudyStatus.choices)
    algorithm = django_filters.ChoiceFilter(choices=Study.Algorithm.choices)
    task = django_filters.ChoiceFilter(choices=Split.Task.choices)
    split_id = django_filters.UUIDFilter(field_name="split_id")
    model_name = django_filters.CharFilter(field_name="model__name")
    created_by = django_filters.CharFilter()

    class Meta:
        model = Study
        fields = ("status", "algorithm", "task", "split_id", "model_name", "created_by")


class Studies(ListView):
    """Studies of your customer."""

    actions_by_method = {"POST": "study.run"}
    filterset_class = StudyFilter
    ordering_fields = ("created_at", "updated_at", "name", "status", "best_value")
    search_fields = ("name", "description")
    row_serializer = StudyAnswer

    def _order(self, request: Request, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return valueless_last(super()._order(request, queryset), request.query_params.get("ordering", ""), ("best_value",))

    @extend_schema(operation_id="studies_list", responses=StudyAnswer(many=True))
    def get(self, request: Request) -> Response:
        """Studies, newest first. Two queries, whatever their number."""
        return self.page(request, studies())

    @extend_schema(operation_id="studies_create", request=NewStudyBody, responses={202: StudyDetailAnswer})
    def post(self, request: Request) -> Response:
        """Create a study and start it: 202 with its `job_id`; poll it for `progress`.

        The best trial's model becomes a candidate of the model, which is registered when it is new.
        """
        body = self.body(NewStudyBody, request)
        dataset = dataset_of(body.pop("dataset_id", None))
        made = create_study(by=self.principal(request), at=timezone.now(), dataset=dataset, **body)
        return answer(made.pk, status=202)


class StudyDetail(ApiView):
    """One study."""

    actions_by_method = {"PATCH": "study.run", "DELETE": "study.delete"}
    takes_precondition = True

    def known_parameters(self, request: Request) -> tuple[str, ...]:
        """Only deleting takes one."""
        return ("delete_artifacts",) if request.method == "DELETE" else ()

    @extend_schema(operation_id="studies_retrieve", responses=StudyDetailAnswer)
    def get(self, request: Request, study_id: str) -> Response:
        """The study with its progress and its best trial."""
        return answer(known_study(study_id))

    @extend_schema(operation_id="studies_change", request=StudyChanges, responses=StudyDetailAnswer)
    def patch(self, request: Request, study_id: str) -> Response:
        """Rename or describe. What is searched never changes: make another study."""
        changes = self.body(StudyChanges, request)
        who, at = self.principal(request), timezone.now()
        change_study(study_id=known_study(study_id), changes=changes, by=who, at=at, if_match=condition(request, "study"))
        return answer(known_study(study_id))

    @extend_schema(
        operation_id="studies_delete",
        parameters=[OpenApiParameter("delete_artifacts", OpenApiTypes.BOOL, description="Delete trials and unused files too.")],
        responses={204: None},
    )
    def delete(self, request: Request, study_id: str) -> Response:
        """Hide a study that has ended; 409 `study_running` before. A version it led to stays, and so does the trial it came from."""
        too = choice(request, "delete_artifacts", ("true", "false"), default="false") == "true"
        who, at = self.principal(request), timezone.now()
        delete_study(study_id=known_study(study_id), by=who, at=at, delete_artifacts=too, if_match=condition(request, "study"))
        return Response(status=204)


class CancelStudy(ApiView):
    """The end of a study before its time."""

    actions_by_method = {"POST": "study.run"}
    takes_precondition = True

    @extend_schema(operation_id="studies_cancel", request=None, responses={202: StudyDetailAnswer, 200: StudyDetailAnswer})
    def post(self, request: Request, study_id: str) -> Response:
        """Stop it within a trial: 202 while a worker is still at it, 200 when it has stopped, also when asked again; 409
        `illegal_transition` once it has completed or failed."""
        self.body(NoBody, request)
        stopped = cancel_study(
            study_id=known_study(study_id), by=self.principal(request), at=timezone.now(), if_match=condition(request, "study")
        )
        return answer(stopped.pk, status=200 if stopped.status == StudyStatus.CANCELLED else 202)


_STUDY = r"^experiments/(?P<study_id>[0-9a-fA-F-]{36})"
study_urls = [
    re_path(r"^experiments/?\Z", Studies.as_view(), name="studies"),
    re_path(rf"{_STUDY}/?\Z", StudyDetail.as_view(), name="study"),
    re_path(rf"{_STUDY}/cancel/?\Z", CancelStudy.as_view(), name="study-cancel"),
]
