"""`/api/v1/models/{model_name}/versions`: list, register, one version with its evidence and lineage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import django_filters
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.bodies import checked
from mlops.api.concurrency import etag
from mlops.api.json import StrictJSONParser
from mlops.api.pagination import MAX_NUMBER, PageNumberPagination, envelope, plain_page
from mlops.api.parameters import choice, invalid, whole_number
from mlops.api.quick import Quickly
from mlops.api.views import ApiView, ListView
from mlops.artifacts.storage import TooLarge
from mlops.artifacts.uploads import path_of
from mlops.database.reading import reading
from mlops.errors import InvalidField, NotFound
from registry.api.answers import VersionAnswer, VersionDetailAnswer, version_detail
from registry.api.bodies import NewArtifactBody, NewVersionBody
from registry.api.doors import answer, dataset_version_of, named_by, refuse_repeated
from registry.api.evidence import EvidenceAnswer, LineageAnswer, evidence_json, lineage_json
from registry.models import ModelVersion, RegisteredModel
from registry.queries.evidence import evidence_of, lineage_of, newest_verdict
from registry.queries.hot import hot_version, hot_versions
from registry.queries.models import find_model
from registry.queries.versions import find_version, versions_of
from registry.services.lookups import version_of
from registry.services.registration import register_version
from registry.states import VersionStatus

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class VersionFilter(django_filters.FilterSet):
    """Filters of a model's versions."""

    status = django_filters.ChoiceFilter(choices=VersionStatus.choices)
    algorithm = django_filters.CharFilter()

    class Meta:
        model = ModelVersion
        fields = ("status", "algorithm")


class VersionPages(PageNumberPagination):
    """Pages whose size may also be called `limit`. Where the view knows the count already, nothing is counted."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """One page: one SELECT, and one COUNT where a filtered list goes on."""
        if {"limit", "page_size"} <= set(request.query_params):
            raise invalid("limit", "Another name of page_size: give one of the two.")
        name = "limit" if "limit" in request.query_params else "page_size"
        self.request = request
        self.size = whole_number(request, name, default=self.default_size, lowest=1, highest=self.max_size)
        self.number = whole_number(request, "page", default=1, lowest=1, highest=MAX_NUMBER)
        start = (self.number - 1) * self.size
        rows = list(queryset[start : start + self.size])
        total: int | None = getattr(view, "total", None)
        if total is None:
            last = 0 < len(rows) < self.size or (self.number == 1 and not rows)  # such a page ends the list, and counts it
            total = start + len(rows) if last else queryset.count()
        self.count = total
        return rows


class Versions(ListView):
    """Versions of a model. Runs outside the request's transaction, so that none is open while an artifact arrives and is tried."""

    actions_by_method = {"POST": "version.register"}
    filterset_class = VersionFilter
    query_parameters = ("limit",)
    ordering_fields = ("number", "created_at", "promoted_at", "status_changed_at")
    search_fields = ("version", "algorithm", "notes", "created_by")
    row_serializer = VersionAnswer
    pagination_class = VersionPages
    parser_classes = (StrictJSONParser, MultiPartParser)
    file_limit = "MAX_ARTIFACT_BYTES"

    @staticmethod
    def quick(request: HttpRequest, names: Mapping[str, str]) -> Quickly:
        """The same as `get`, by one statement, for a page of all versions or of one status; None for everything else."""
        asked = plain_page(request.GET, size_names=("limit", "page_size"), filters={"status": VersionStatus.values})
        if asked is None:
            return None
        status = request.GET.get("status", "")
        found = hot_versions(names["model_name"], status=status, limit=asked.size, offset=asked.offset)
        if found is None:
            return None
        return envelope(request, asked, found.total, found.lines), {}

    @extend_schema(operation_id="models_versions_list", responses=VersionAnswer(many=True))
    def get(self, request: Request, model_name: str) -> Response:
        """List versions, newest first."""
        with reading():
            model = find_model(model_name)
            if not {"algorithm", "search"}.intersection(request.query_params):
                status = request.query_params.get("status", "")  # counts are kept under the model's lock: nothing has to be counted
                self.total = model.status_counts.get(status, 0) if status else model.last_version_number
            return self.page(request, versions_of(model))

    @extend_schema(
        request={"application/json": NewVersionBody, "multipart/form-data": NewArtifactBody}, responses={201: VersionDetailAnswer}
    )
    def post(self, request: Request, model_name: str) -> Response:
        """Register a candidate: its metadata as JSON, or multipart with the artifact as `file` and the JSON in the field `metadata`.

        A file is first loaded in a disposable child process; one that is not sound is 400 `unsafe_artifact`.
        """
        body, artifact = self._given(request)
        by = named_by(self.principal(request), body, "user_id")
        with reading():
            model = find_model(model_name)
            parent = _parent(model, body.pop("parent", ""))
            data = dataset_version_of(body.pop("dataset_version_id", None))
        version = register_version(
            model=model,
            by=by,
            at=timezone.now(),
            label=body.pop("version", ""),
            parent=parent,
            dataset_version=data,
            artifact=artifact,
            **body,
        )
        address = reverse("model-version", kwargs={"model_name": model.name, "version": version.version})
        with reading():
            return answer(find_model(model.name), version_detail(version, None), status=201, location=address)

    def _given(self, request: Request) -> tuple[dict[str, Any], Path | None]:
        """The metadata and the artifact, if one came."""
        data: Any = request.data
        if not hasattr(data, "lists"):
            return self.body(NewVersionBody, request), None
        refuse_repeated(request)
        parts = self.body(NewArtifactBody, request)
        file = parts["file"]
        if file.size > settings.MAX_ARTIFACT_BYTES:
            raise TooLarge(settings.MAX_ARTIFACT_BYTES)
        return checked(NewVersionBody, parts.get("metadata", {}), within="metadata"), path_of(file)


class VersionDetail(ApiView):
    """One version."""

    @staticmethod
    def quick(request: HttpRequest, names: Mapping[str, str]) -> Quickly:
        """The same as `get`, by one statement; None where that finds nothing, or the query has parameters."""
        found = None if request.GET else hot_version(names["model_name"], names["version"])
        return None if found is None else (version_detail(found.version, found.verdict), {"ETag": etag("model", found.revision)})

    @extend_schema(operation_id="models_versions_retrieve", responses=VersionDetailAnswer)
    def get(self, request: Request, model_name: str, version: str) -> Response:
        """Everything that was registered, where it stands, and the newest verdict. The `ETag` is its model's. Two queries."""
        found = find_version(model_name, version)
        return answer(found.model, version_detail(found, newest_verdict(found)))


class VersionEvidence(ApiView):
    """A version's evidence record."""

    query_parameters = ("format",)

    @extend_schema(responses=EvidenceAnswer)
    def get(self, request: Request, model_name: str, version: str) -> Any:
        """Every verdict, request, decision, move and audit event, and what they rest on; `?format=html` is a page for an auditor."""
        wanted = choice(request, "format", ["json", "html"], default="json")
        evidence = evidence_of(find_version(model_name, version))
        if wanted != "html":
            return Response(evidence_json(evidence))
        found = evidence.version
        page = render_to_string("registry/evidence.html", {"evidence": evidence, "version": found, "at": timezone.now()})
        name = f"evidence-{found.model_name}-{found.version}.html"
        headers = {"Content-Disposition": f'inline; filename="{name}"', "Content-Security-Policy": PAGE_POLICY}
        return HttpResponse(page, content_type="text/html; charset=utf-8", headers=headers)


class VersionLineage(ApiView):
    """Where a version came from."""

    @extend_schema(responses=LineageAnswer)
    def get(self, request: Request, model_name: str, version: str) -> Response:
        """Parent, children, data, retraining, and the ids of split, study, trial and experiment."""
        return Response(lineage_json(lineage_of(find_version(model_name, version))))


def _parent(model: RegisteredModel, reference: str) -> ModelVersion | None:
    try:
        return version_of(model, reference) if reference else None
    except NotFound as missing:
        raise InvalidField("parent", str(missing)) from None
