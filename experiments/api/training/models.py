"""`/v1/models`: model versions by stage, and what people do with them."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.urls import re_path, reverse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from experiments.queries.origins import made_by
from experiments.queries.versions import find_version, statuses_in, versions
from experiments.services.predicting import STAGE_NAMES
from experiments.services.version_removal import delete_version
from mlops.api.parameters import choice
from mlops.api.views import ApiView, ListView
from mlops.database.reading import reading
from mlops.errors import InvalidField, NotFound
from registry.api.answers import Answer
from registry.api.bodies import ActBody, PromoteBody
from registry.api.doors import answer, condition, named_by
from registry.api.moves import PromotionAnswer, promotion_answer
from registry.models import ModelVersion
from registry.services.moves import archive
from registry.services.promotion import promote
from registry.states import STAGES, VERSION_LIFECYCLE, VersionStatus

NO_REASON = "No reason was given."


def model_row(version: ModelVersion) -> dict[str, Any]:
    """One line of the list."""
    return {
        "id": version.pk,
        "name": version.model_name,
        "version": version.version,
        "stage": STAGES[VersionStatus(version.status)],
        "status": version.status,
        "experiment_id": version.study_id,  # type: ignore[attr-defined]  # as `experiments.queries.versions` annotates it
        "metrics": version.metrics,
        "task": version.model.task,
        "algorithm": version.algorithm,
        "has_artifact": version.has_artifact,
        "artifact_sha256": version.artifact_sha256,
        "created_by": version.created_by,
        "created_at": version.created_at,
        "promoted_at": version.promoted_at,
    }


def model_detail(version: ModelVersion) -> dict[str, Any]:
    """A version with what it was trained on and what it takes."""
    return {
        **model_row(version),
        "hyperparameters": version.hyperparameters,
        "signature": version.signature,
        "lineage": version.lineage,
        "artifact_format": version.artifact_format,
        "artifact_size": version.artifact_size,
        "training_seconds": version.training_seconds,
        "notes": version.notes,
        "allowed_moves": VERSION_LIFECYCLE.allowed(version.status),
    }


class ModelRowAnswer(Answer):
    """A model version."""

    make = staticmethod(model_row)

    id = serializers.UUIDField()
    name = serializers.CharField(help_text="The model's.")
    version = serializers.CharField()
    stage = serializers.ChoiceField(choices=STAGE_NAMES)
    status = serializers.ChoiceField(choices=VersionStatus.choices)
    experiment_id = serializers.UUIDField(allow_null=True, help_text="The study that made it.")
    metrics = serializers.DictField()
    task = serializers.CharField()
    algorithm = serializers.CharField()
    has_artifact = serializers.BooleanField()
    artifact_sha256 = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    promoted_at = serializers.DateTimeField(allow_null=True)


class ModelVersionDetailAnswer(ModelRowAnswer):
    """A model version with everything a program may want to know of it."""

    make = staticmethod(model_detail)

    hyperparameters = serializers.DictField()
    signature = serializers.DictField()
    lineage = serializers.DictField()
    artifact_format = serializers.CharField()
    artifact_size = serializers.IntegerField(allow_null=True)
    training_seconds = serializers.FloatField(allow_null=True)
    notes = serializers.CharField()
    allowed_moves = serializers.ListField(child=serializers.CharField())


class StageBody(PromoteBody):
    """A promotion to a stage."""

    stage = serializers.ChoiceField(choices=STAGE_NAMES, help_text="`production`; the others are not reached by a promotion.")


class StagePromotionAnswer(PromotionAnswer):
    """What became of the promotion, with the version's names on this surface."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    stage = serializers.ChoiceField(choices=STAGE_NAMES)


class ModelFilter(django_filters.FilterSet):
    """Filters of the list."""

    stage = django_filters.ChoiceFilter(choices=[(name, name) for name in STAGE_NAMES], method="in_stage")
    experiment_id = django_filters.UUIDFilter(method="of_study", help_text="A study's id.")
    status = django_filters.ChoiceFilter(choices=VersionStatus.choices)
    name = django_filters.CharFilter(field_name="model_name")
    algorithm = django_filters.CharFilter()

    class Meta:
        model = ModelVersion
        fields = ("stage", "experiment_id", "status", "name", "algorithm")

    def in_stage(self, rows: "QuerySet[ModelVersion]", _: str, stage: str) -> "QuerySet[ModelVersion]":
        """Versions in the statuses that the stage stands for."""
        return rows.filter(status__in=statuses_in(stage))

    def of_study(self, rows: "QuerySet[ModelVersion]", _: str, study_id: UUID) -> "QuerySet[ModelVersion]":
        """The versions a study made."""
        return rows.filter(made_by(study_id))


class Models(ListView):
    """Model versions of your customer."""

    filterset_class = ModelFilter
    ordering_fields = ("created_at", "promoted_at", "model_name", "number")
    search_fields = ("model_name", "version", "algorithm")
    row_serializer = ModelRowAnswer

    @extend_schema(operation_id="model_versions_list", responses=ModelRowAnswer(many=True))
    def get(self, request: Request) -> Response:
        """Model versions, newest first. Two queries, whatever their number."""
        return self.page(request, versions())


class ModelDetail(ApiView):
    """One model version."""

    actions_by_method = {"DELETE": "version.delete"}
    takes_precondition = True

    def known_parameters(self, request: Request) -> tuple[str, ...]:
        """Only deleting takes one."""
        return ("delete_artifacts",) if request.method == "DELETE" else ()

    @extend_schema(operation_id="model_versions_retrieve", responses=ModelVersionDetailAnswer)
    def get(self, request: Request, version_id: str) -> Response:
        """The version with its signature and lineage."""
        return _shown(_known(version_id))

    @extend_schema(
        operation_id="model_versions_delete",
        parameters=[OpenApiParameter("delete_artifacts", OpenApiTypes.BOOL, description="Delete the file too. Default false.")],
        responses={204: None},
    )
    def delete(self, request: Request, version_id: str) -> Response:
        """Archive the version and hide it; its file is kept unless `delete_artifacts=true`.

        409 `version_in_use` for one that serves, has served or competes, and for one that something refers to.
        """
        too = choice(request, "delete_artifacts", ("true", "false"), default="false") == "true"
        who, at = self.principal(request), timezone.now()
        delete_version(version_id=_known(version_id), by=who, at=at, delete_artifacts=too, if_match=condition(request))
        return Response(status=204)


class PromoteModel(ApiView):
    """Promotion."""

    actions_by_method = {"POST": "version.promote"}
    takes_precondition = True

    @extend_schema(
        operation_id="model_versions_promote", request=StageBody, responses={200: StagePromotionAnswer, 202: StagePromotionAnswer}
    )
    def post(self, request: Request, version_id: str) -> Response:
        """Make the version champion, through the same gates and pairs of eyes as everywhere; 202 while another manager has to decide."""
        body = self.body(StageBody, request)
        if body.pop("stage") != "production":
            raise InvalidField("stage", "Must be production: a version is in staging until then, and archived by being archived.")
        by = named_by(self.principal(request), body, "user_id")
        found = find_version(_known(version_id))
        made = promotion_answer(promote(version_id=found.pk, by=by, at=timezone.now(), if_match=condition(request), **body))
        made.data |= {"id": found.pk, "name": found.model_name, "stage": STAGES[made.data["status"]]}
        return made


class ArchiveModel(ApiView):
    """The end of a version."""

    actions_by_method = {"POST": "version.archive"}
    takes_precondition = True

    @extend_schema(operation_id="model_versions_archive", request=ActBody, responses=ModelVersionDetailAnswer)
    def post(self, request: Request, version_id: str) -> Response:
        """Reject or retire the version, for good. Without a `reason` the record says that none was given."""
        body = self.body(ActBody, request)
        by = named_by(self.principal(request), body, "user_id")
        reason = body.get("reason", "").strip() or NO_REASON
        found = find_version(_known(version_id))
        archive(version_id=found.pk, by=by, at=timezone.now(), reason=reason, if_match=condition(request))
        return _shown(found.pk)


def _shown(version_id: UUID) -> Response:
    with reading():
        version = find_version(version_id)
    return answer(version.model, model_detail(version), location=reverse("model-version-by-id", kwargs={"version_id": str(version.pk)}))


def _known(version_id: str) -> UUID:
    """The id in the path. Raises NotFound for what is none."""
    try:
        return UUID(version_id)
    except ValueError:
        raise NotFound("There is no such model version.") from None


_VERSION = r"^models/(?P<version_id>[0-9a-fA-F-]{36})"
model_urls = [
    re_path(r"^models/?\Z", Models.as_view(), name="model-versions-by-stage"),
    re_path(rf"{_VERSION}/?\Z", ModelDetail.as_view(), name="model-version-by-id"),
    re_path(rf"{_VERSION}/promote/?\Z", PromoteModel.as_view(), name="model-version-promote-by-id"),
    re_path(rf"{_VERSION}/archive/?\Z", ArchiveModel.as_view(), name="model-version-archive-by-id"),
]
