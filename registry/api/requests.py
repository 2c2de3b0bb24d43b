"""`/api/v1/models/promotion-requests`: what waits for a second pair of eyes."""

import django_filters
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.views import ApiView, ListView
from registry.api.bodies import DecideBody
from registry.api.doors import answer, condition, named_by
from registry.api.evidence import RequestAnswer, request_row
from registry.api.moves import PromotionAnswer, promotion_answer
from registry.models import PromotionRequest
from registry.queries.requests import find_request, promotion_requests
from registry.services.promotion import approve, reject
from registry.states import RequestStatus


class RequestFilter(django_filters.FilterSet):
    """Filters of the list of requests."""

    status = django_filters.ChoiceFilter(choices=RequestStatus.choices)
    kind = django_filters.ChoiceFilter(choices=PromotionRequest.Kind.choices)
    model_name = django_filters.CharFilter(field_name="model__name")

    class Meta:
        model = PromotionRequest
        fields = ("status", "kind", "model_name")


class PromotionRequests(ListView):
    """Promotions and rollbacks under four eyes."""

    filterset_class = RequestFilter
    ordering_fields = ("requested_at", "decided_at")
    search_fields = ("model__name", "version__version", "requested_by", "decided_by", "reason")
    row_serializer = RequestAnswer

    @extend_schema(operation_id="models_promotion_requests_list", responses=RequestAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List requests, newest first; `?status=pending` are those that wait. Two queries."""
        return self.page(request, promotion_requests())


class PromotionRequestDetail(ApiView):
    """One request."""

    @extend_schema(operation_id="models_promotion_requests_retrieve", responses=RequestAnswer)
    def get(self, request: Request, request_id: str) -> Response:
        """The request, its verdict, and what was decided, with the `ETag` of its model."""
        found = find_request(request_id)
        return answer(found.version.model, request_row(found))


class Approve(ApiView):
    """Granting a request."""

    actions_by_method = {"POST": "promotion_request.decide"}
    takes_precondition = True

    @extend_schema(request=DecideBody, responses=PromotionAnswer)
    def post(self, request: Request, request_id: str) -> Response:
        """Grant it: the version becomes champion. Whoever trained, proposed or asked is refused (403 `four_eyes`).

        `If-Match` with the request's `ETag` refuses a decision on numbers that have changed since (412 `stale`).
        """
        body = self.body(DecideBody, request)
        by = named_by(self.principal(request), body, "user_id", "approved_by")
        found, reason = find_request(request_id), body.get("reason", "")
        return promotion_answer(approve(request_id=found.pk, by=by, at=timezone.now(), reason=reason, if_match=condition(request)))


class Reject(ApiView):
    """Refusing a request."""

    actions_by_method = {"POST": "promotion_request.decide"}
    takes_precondition = True

    @extend_schema(request=DecideBody, responses=RequestAnswer)
    def post(self, request: Request, request_id: str) -> Response:
        """Refuse it, with a reason; the version stays what it is. `If-Match` as for an approval."""
        body = self.body(DecideBody, request)
        by = named_by(self.principal(request), body, "user_id", "approved_by")
        found, reason = find_request(request_id), body.get("reason", "")
        reject(request_id=found.pk, by=by, at=timezone.now(), reason=reason, if_match=condition(request))
        found = find_request(request_id)
        return answer(found.version.model, request_row(found))
