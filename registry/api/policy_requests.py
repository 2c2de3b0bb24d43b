"""`/api/v1/models/policy-requests`: looser promotion policies that wait for a second pair of eyes."""

from typing import Any

import django_filters
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.views import ApiView, ListView
from registry.api.answers import Answer
from registry.api.bodies import DecideBody
from registry.api.doors import answer, condition, named_by
from registry.models import PolicyChangeRequest
from registry.queries.policy_requests import find_policy_request, policy_requests
from registry.services import policy_changes
from registry.states import RequestStatus


def policy_request_row(request: PolicyChangeRequest) -> dict[str, Any]:
    """A wish for looser settings, and what was decided."""
    return {
        "id": request.pk,
        "status": request.status,
        "model_name": request.model.name,
        "before": request.before,
        "after": request.after,
        "policy_revision": request.policy_revision,
        "reason": request.reason,
        "requested_by": request.requested_by,
        "requested_at": request.requested_at,
        "decided_by": request.decided_by or None,
        "decided_at": request.decided_at,
        "decision_reason": request.decision_reason,
    }


class PolicyRequestAnswer(Answer):
    """A wish for looser settings of a model's policy."""

    make = staticmethod(policy_request_row)

    id = serializers.UUIDField()
    status = serializers.CharField()
    model_name = serializers.CharField()
    before = serializers.DictField(help_text="The settings it would loosen, as they stood.")
    after = serializers.DictField(help_text="The same settings, as they are wished.")
    policy_revision = serializers.IntegerField(help_text="The policy's revision it was asked under.")
    reason = serializers.CharField()
    requested_by = serializers.CharField()
    requested_at = serializers.DateTimeField()
    decided_by = serializers.CharField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    decision_reason = serializers.CharField()


class PolicyRequestFilter(django_filters.FilterSet):
    """Filters of the list."""

    status = django_filters.ChoiceFilter(choices=RequestStatus.choices)
    model_name = django_filters.CharFilter(field_name="model__name")

    class Meta:
        model = PolicyChangeRequest
        fields = ("status", "model_name")


class PolicyRequests(ListView):
    """Looser policies under four eyes."""

    filterset_class = PolicyRequestFilter
    ordering_fields = ("requested_at", "decided_at")
    search_fields = ("model__name", "requested_by", "decided_by", "reason")
    row_serializer = PolicyRequestAnswer

    @extend_schema(operation_id="models_policy_requests_list", responses=PolicyRequestAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List requests, newest first; `?status=pending` are those that wait. Two queries."""
        return self.page(request, policy_requests())


class PolicyRequestDetail(ApiView):
    """One request."""

    @extend_schema(operation_id="models_policy_requests_retrieve", responses=PolicyRequestAnswer)
    def get(self, request: Request, request_id: str) -> Response:
        """The request, and what was decided, with the `ETag` of its model."""
        found = find_policy_request(request_id)
        return answer(found.model, policy_request_row(found))


class Approve(ApiView):
    """Granting a request."""

    actions_by_method = {"POST": "policy_request.decide"}
    takes_precondition = True

    @extend_schema(operation_id="models_policy_requests_approve", request=DecideBody, responses=PolicyRequestAnswer)
    def post(self, request: Request, request_id: str) -> Response:
        """Grant it: the settings hold from the next verdict on. Whoever asked is refused (403 `four_eyes`)."""
        body = self.body(DecideBody, request)
        by = named_by(self.principal(request), body, "user_id", "approved_by")
        found, model = policy_changes.approve(
            request_id=find_policy_request(request_id).pk,
            by=by,
            at=timezone.now(),
            reason=body.get("reason", ""),
            if_match=condition(request),
        )
        return answer(model, policy_request_row(found))


class Reject(ApiView):
    """Refusing a request."""

    actions_by_method = {"POST": "policy_request.decide"}
    takes_precondition = True

    @extend_schema(operation_id="models_policy_requests_reject", request=DecideBody, responses=PolicyRequestAnswer)
    def post(self, request: Request, request_id: str) -> Response:
        """Refuse it, with a reason; the policy stays as it is."""
        body = self.body(DecideBody, request)
        by = named_by(self.principal(request), body, "user_id", "approved_by")
        found = policy_changes.reject(
            request_id=find_policy_request(request_id).pk,
            by=by,
            at=timezone.now(),
            reason=body.get("reason", ""),
            if_match=condition(request),
        )
        return answer(found.model, policy_request_row(found))
