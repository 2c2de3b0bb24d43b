"""`/api/v1/ml-alerts`: what asks a person, and the answers."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from alerts.api.doors import answer, identifier
from alerts.models import MLAlert
from alerts.queries import alerts, find_alert, matching, open_counts, page_of
from alerts.services import inbox
from alerts.services.deeds import deed_of, preview
from alerts.states import AlertStatus, AlertType, Decision, Severity
from mlops.api.bodies import NoBody
from mlops.api.pagination import PageNumberPagination
from mlops.api.views import ApiView, ListView
from registry.api.bodies import LONGEST_REASON
from registry.api.doors import condition, job_address, named_by
from registry.services.lookups import as_uuid

BY_RANK = {"severity": ("severity_rank", "created_at", "-pk"), "-severity": ("-severity_rank", "-created_at", "pk")}


class AlertAnswer(serializers.ModelSerializer[MLAlert]):
    """An alert."""

    deed = serializers.SerializerMethodField(help_text="What approving does.")

    class Meta:
        model = MLAlert
        fields: tuple[str, ...] = (
            "id",
            "alert_type",
            "severity",
            "status",
            "title",
            "message",
            "action_url",
            "model_name",
            "version",
            "repeat_count",
            "created_at",
            "last_seen_at",
            "read_at",
            "read_by",
            "decision",
            "decided_at",
            "decided_by",
            "notes",
            "outcome",
            "deed",
        )
        read_only_fields = fields

    def get_deed(self, row: MLAlert) -> str:
        """Its name."""
        return deed_of(row).name


class AlertDetailAnswer(AlertAnswer):
    """An alert with its evidence, and what approving it would do now."""

    details = serializers.JSONField(read_only=True)
    preview = serializers.SerializerMethodField(help_text="What approving would do now, or why it could not.")
    location = serializers.SerializerMethodField(help_text="Where the work that approving started can be watched.")

    class Meta(AlertAnswer.Meta):
        fields = (*AlertAnswer.Meta.fields, "details", "preview", "location")
        read_only_fields = fields

    def get_preview(self, row: MLAlert) -> str:
        """Nothing any more once it was decided."""
        return preview(row) if row.is_open else ""

    def get_location(self, row: MLAlert) -> str:
        """The job's address."""
        return job_address(as_uuid(str(row.outcome.get("job_id") or "")))


@extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
class _Counts(serializers.Field[Any, Any, Any, Any]):
    def to_representation(self, value: Any) -> Any:
        """As it is."""
        return value


class StatsAnswer(serializers.Serializer[Any]):
    """How many alerts nobody has read."""

    total_unread = serializers.IntegerField()
    unread = _Counts()


class ActionBody(serializers.Serializer[Any]):
    """The answer to an alert."""

    action = serializers.ChoiceField(choices=Decision.choices)
    notes = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_REASON, help_text="Why. Dismissing needs it.")
    user_id = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text="The person acting; see `promote`.")


class AlertFilter(django_filters.FilterSet):
    """Filters of the inbox."""

    status = django_filters.ChoiceFilter(choices=AlertStatus.choices)
    severity = django_filters.ChoiceFilter(choices=Severity.choices, method="of_severity")
    alert_type = django_filters.ChoiceFilter(choices=AlertType.choices)
    model_name = django_filters.CharFilter()

    class Meta:
        model = MLAlert
        fields = ("status", "severity", "alert_type", "model_name")

    def of_severity(self, queryset: QuerySet[MLAlert], name: str, value: str) -> QuerySet[MLAlert]:
        """By rank, which is what the indexes have."""
        return queryset.filter(severity_rank=Severity(value).rank)


class InboxPagination(PageNumberPagination):
    """Pages as everywhere, read as the inbox's indexes want it."""

    def read(self, queryset: Any) -> tuple[list[Any], int]:
        """One page and the count. At most three queries."""
        searched = bool(self.request.query_params.get("search", "").strip())
        found = page_of(queryset, number=self.number, size=self.size, searched=searched)
        return found.alerts, found.count


class Alerts(ListView):
    """The inbox."""

    pagination_class = InboxPagination

    filterset_class = AlertFilter
    ordering_fields = ("severity", "created_at", "last_seen_at")
    search_fields = ("title", "message")
    row_serializer = AlertAnswer

    @extend_schema(operation_id="ml_alerts_list", responses=AlertAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List alerts, the most urgent first, then the newest. `severity` orders by urgency, not by letters. At most three queries."""
        return self.page(request, alerts())

    def _search(self, request: Request, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return matching(queryset, request.query_params.get("search", ""))

    def _order(self, request: Request, queryset: QuerySet[Any]) -> QuerySet[Any]:
        by_rank = BY_RANK.get(request.query_params.get("ordering", ""))
        return queryset.order_by(*by_rank) if by_rank else super()._order(request, queryset)


class AlertStats(ApiView):
    """The number in the navigation."""

    @extend_schema(operation_id="ml_alerts_stats", responses=StatsAnswer)
    def get(self, request: Request) -> Response:
        """Unread alerts by severity. One query."""
        counts = open_counts()
        return Response({"total_unread": counts.total_unread, "unread": counts.unread})


class AlertDetail(ApiView):
    """One alert."""

    @extend_schema(operation_id="ml_alerts_retrieve", responses=AlertDetailAnswer)
    def get(self, request: Request, alert_id: str) -> Response:
        """The alert, its evidence, and what approving it would do now."""
        return _shown(find_alert(identifier(alert_id, "alert")))


class AlertRead(ApiView):
    """Seeing an alert."""

    actions_by_method = {"PATCH": "alert.read"}
    takes_precondition = True

    @extend_schema(request=None, responses=AlertDetailAnswer)
    def patch(self, request: Request, alert_id: str) -> Response:
        """Mark it as read. Once is as good as twice."""
        self.body(NoBody, request)
        by = self.principal(request)
        return _shown(
            inbox.mark_read(alert_id=identifier(alert_id, "alert"), by=by, at=timezone.now(), if_match=condition(request, "alert"))
        )


class AlertAction(ApiView):
    """Answering an alert."""

    actions_by_method = {"PATCH": "alert.act"}
    takes_precondition = True

    @extend_schema(request=ActionBody, responses=AlertDetailAnswer)
    def patch(self, request: Request, alert_id: str) -> Response:
        """Approve: what the alert asks for is done, once. Dismiss: it is not, and `notes` say why. 409 `already_decided`: by whom."""
        body = self.body(ActionBody, request)
        given: dict[str, Any] = {
            "alert_id": identifier(alert_id, "alert"),
            "by": named_by(self.principal(request), body, "user_id"),
            "at": timezone.now(),
            "notes": body.get("notes", ""),
            "if_match": condition(request, "alert"),
        }
        return _shown(inbox.approve(**given) if body["action"] == Decision.APPROVE else inbox.dismiss(**given))


def _shown(alert: MLAlert) -> Response:
    return answer("alert", alert, AlertDetailAnswer(alert).data)
