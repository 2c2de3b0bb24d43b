"""`/api/v1/subscriptions`: who hears of which alerts."""

from typing import Any

from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from alerts.api.doors import answer, identifier
from alerts.models import Subscription
from alerts.queries import find_subscription, visible_subscriptions
from alerts.services import channels
from alerts.states import AlertType, Severity
from mlops.api.views import ApiView, ListView
from registry.api.doors import condition


class SubscriptionAnswer(serializers.ModelSerializer[Subscription]):
    """Which alerts a channel hears of."""

    channel_id = serializers.UUIDField(read_only=True)
    channel = serializers.CharField(source="channel.name", read_only=True)
    own = serializers.SerializerMethodField(help_text="Whether it is yours: your own e-mail.")

    class Meta:
        model = Subscription
        fields = (
            "id",
            "channel_id",
            "channel",
            "own",
            "alert_types",
            "min_severity",
            "immediate",
            "digest",
            "approvals",
            "enabled",
            "created_by",
            "created_at",
        )
        read_only_fields = fields

    def get_own(self, row: Subscription) -> bool:
        """Nobody sees another person's."""
        return row.channel.owner_id is not None


class ChangeBody(serializers.Serializer[Any]):
    """What to hear of."""

    alert_types = serializers.ListField(
        child=serializers.ChoiceField(choices=AlertType.choices), required=False, max_length=20, help_text="Empty: all of them."
    )
    min_severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    immediate = serializers.BooleanField(required=False, help_text="A message for each alert.")
    digest = serializers.BooleanField(required=False, help_text="One message a day with what is open.")
    approvals = serializers.BooleanField(
        required=False,
        help_text="A message for each experiment or looser policy that waits for a manager, whatever the types and severity.",
    )
    enabled = serializers.BooleanField(required=False)


class SubscribeBody(ChangeBody):
    """Who should hear of what."""

    channel_id = serializers.UUIDField(required=False, allow_null=True, help_text="A shared channel; without one it is your own e-mail.")


class Subscriptions(ListView):
    """Subscriptions."""

    actions_by_method = {"POST": "subscription.own"}
    ordering_fields = ("created_at",)
    search_fields = ("channel__name", "created_by")
    row_serializer = SubscriptionAnswer

    @extend_schema(operation_id="subscriptions_list", responses=SubscriptionAnswer(many=True))
    def get(self, request: Request) -> Response:
        """Your own subscriptions, and those of shared channels. Two queries."""
        return self.page(request, visible_subscriptions(self.principal(request)))

    @extend_schema(request=SubscribeBody, responses={201: SubscriptionAnswer})
    def post(self, request: Request) -> Response:
        """Hear of alerts by your own e-mail, or let a shared channel hear of them (administrators)."""
        body = self.body(SubscribeBody, request)
        made = channels.subscribe(channel_id=body.pop("channel_id", None), by=self.principal(request), at=timezone.now(), **body)
        location = reverse("subscription", kwargs={"subscription_id": str(made.pk)})
        return answer("subscription", made, SubscriptionAnswer(made).data, status=201, location=location)


class SubscriptionDetail(ApiView):
    """One subscription."""

    actions_by_method = {"PATCH": "subscription.own", "DELETE": "subscription.own"}
    takes_precondition = True

    @extend_schema(operation_id="subscriptions_retrieve", responses=SubscriptionAnswer)
    def get(self, request: Request, subscription_id: str) -> Response:
        """The subscription."""
        found = find_subscription(identifier(subscription_id, "subscription"), self.principal(request))
        return answer("subscription", found, SubscriptionAnswer(found).data)

    @extend_schema(request=ChangeBody, responses=SubscriptionAnswer)
    def patch(self, request: Request, subscription_id: str) -> Response:
        """Change what is heard."""
        changed = channels.configure_subscription(
            subscription_id=identifier(subscription_id, "subscription"),
            changes=self.body(ChangeBody, request),
            by=self.principal(request),
            at=timezone.now(),
            if_match=condition(request, "subscription"),
        )
        return answer("subscription", changed, SubscriptionAnswer(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, subscription_id: str) -> Response:
        """End it."""
        channels.unsubscribe(
            subscription_id=identifier(subscription_id, "subscription"),
            by=self.principal(request),
            at=timezone.now(),
            if_match=condition(request, "subscription"),
        )
        return Response(status=204)
