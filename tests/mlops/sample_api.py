"""A small API under the platform's rules, so that the rules are tested apart from any product endpoint."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db import transaction
from django.urls import include, path, re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api import errors
from mlops.api.concurrency import check_if_match, etag
from mlops.api.json import StrictJSONParser
from mlops.api.parameters import choice, moment, whole_number
from mlops.api.views import ApiView
from mlops.audit.services import record
from mlops.tenancy.models import Customer


class LineSerializer(serializers.Serializer[Any]):
    """A line of a note."""

    weight = serializers.FloatField()


class NoteSerializer(serializers.Serializer[Any]):
    """A note."""

    text = serializers.CharField(max_length=50)
    count = serializers.IntegerField(required=False, min_value=0, max_value=10)
    free = serializers.JSONField(required=False)
    pinned = serializers.BooleanField(required=False)
    kind = serializers.ChoiceField(choices=["a", "1"], required=False)
    about = serializers.UUIDField(required=False, allow_null=True)
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    names = serializers.DictField(child=serializers.CharField(), required=False)
    lines = LineSerializer(many=True, required=False)


class Notes(ApiView):
    """Notes, kept as audit events."""

    actions_by_method = {"POST": "dataset.write", "PATCH": "dataset.write"}
    query_parameters = ("limit", "at", "kind")
    revision: ClassVar[int] = 1
    fail: ClassVar[bool] = False

    def get(self, request: Request) -> Response:
        """The current revision, and the parameters as they were understood."""
        limit = whole_number(request, "limit", default=5, lowest=1, highest=10)
        values = {"limit": limit, "at": moment(request, "at"), "kind": choice(request, "kind", ("a", "b"))}
        return Response({**values, "nan": float("nan")}, headers={"ETag": etag("note", self.revision)})

    def post(self, request: Request) -> Response:
        """Write a note."""
        body = self.body(NoteSerializer, request)
        with transaction.atomic():
            customer = Customer.objects.get(pk=self.principal(request).customer_id)
            event = record(action="note", target=customer, label=body["text"], at=timezone.now(), after={"free": body.get("free")})
        if self.fail:
            raise RuntimeError("after the act")
        return Response({"number": event.number, **body}, status=201, headers={"Location": f"/notes/{event.number}"})

    def patch(self, request: Request) -> Response:
        """Change it, if it is still what the client saw."""
        check_if_match(request, etag("note", self.revision))
        return Response({"changed": True})


class Upload(ApiView):
    """Files."""

    actions_by_method = {"POST": "dataset.write"}
    parser_classes = [StrictJSONParser, MultiPartParser]

    def post(self, request: Request) -> Response:
        """Say what came."""
        files = {name: file.size for name, file in getattr(request, "FILES", {}).items()}
        return Response({"files": files, "fields": {name: str(request.data[name]) for name in request.data if name not in files}})


handler400, handler403, handler404, handler500 = errors.bad_request, errors.forbidden, errors.not_found, errors.server_error
urlpatterns = [
    re_path(r"^api/v1/notes/?$", Notes.as_view()),
    re_path(r"^api/v1/datasets/?$", Upload.as_view()),
    path("api/v1/", include("mlops.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("mlops.urls")),
]
