"""`/api/v1/subscriptions/channels`: shared receivers, what was sent to them, and sending it again."""

from typing import Any

import django_filters
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from alerts.api.doors import answer, identifier
from alerts.models import Channel, Delivery
from alerts.queries import deliveries_of, shared_channels, target_for
from alerts.services import channels, delivering, reaching
from alerts.services.couriers import message_id
from alerts.states import DeliveryStatus
from mlops.api.bodies import NoBody
from mlops.api.views import ApiView, ListView
from registry.api.doors import condition


class ChannelAnswer(serializers.ModelSerializer[Channel]):
    """A receiver."""

    target = serializers.SerializerMethodField(help_text="In full only for those who manage channels: webhook URLs often carry a secret.")

    class Meta:
        model = Channel
        fields: tuple[str, ...] = (
            "id",
            "kind",
            "name",
            "target",
            "enabled",
            "disabled_reason",
            "failures",
            "paused_until",
            "created_by",
            "created_at",
        )
        read_only_fields = fields

    def get_target(self, row: Channel) -> str:
        """Address or URL."""
        return target_for(row, self.context["request"].user)


class SecretAnswer(ChannelAnswer):
    """A receiver with its signing secret, shown this once."""

    secret = serializers.CharField(required=False, help_text="Standard Webhooks, `whsec_…`. It is not shown again.")

    class Meta(ChannelAnswer.Meta):
        fields = (*ChannelAnswer.Meta.fields, "secret")
        read_only_fields = fields


class ChannelBody(serializers.Serializer[Any]):
    """A shared receiver."""

    kind = serializers.ChoiceField(choices=Channel.Kind.choices)
    name = serializers.CharField(max_length=100)
    target = serializers.CharField(max_length=2000, help_text="An e-mail address, or an https URL on the public internet.")


class ChannelChangeBody(serializers.Serializer[Any]):
    """What to change."""

    name = serializers.CharField(max_length=100, required=False)
    target = serializers.CharField(max_length=2000, required=False)
    enabled = serializers.BooleanField(required=False)


class DeliveryAnswer(serializers.ModelSerializer[Delivery]):
    """One message and what became of it."""

    message_id = serializers.SerializerMethodField(help_text="The `webhook-id` header; the same over all attempts.")
    alert_id = serializers.UUIDField(read_only=True, allow_null=True)

    class Meta:
        model = Delivery
        fields = (
            "id",
            "message_id",
            "kind",
            "alert_id",
            "subject",
            "status",
            "attempts",
            "due_at",
            "give_up_at",
            "last_status",
            "last_error",
            "created_at",
            "ended_at",
        )
        read_only_fields = fields

    def get_message_id(self, row: Delivery) -> str:
        """As sent."""
        return message_id(row)


class DeliveryFilter(django_filters.FilterSet):
    """Filters of what was sent."""

    status = django_filters.ChoiceFilter(choices=DeliveryStatus.choices)
    kind = django_filters.ChoiceFilter(choices=Delivery.Kind.choices)

    class Meta:
        model = Delivery
        fields = ("status", "kind")


class Channels(ListView):
    """Shared receivers."""

    actions_by_method = {"POST": "channel.manage"}
    takes_idempotency_key = False
    ordering_fields = ("name", "created_at")
    search_fields = ("name",)
    row_serializer = ChannelAnswer

    @extend_schema(operation_id="channels_list", responses=ChannelAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List shared channels by name. Two queries."""
        return self.page(request, shared_channels())

    @extend_schema(request=ChannelBody, responses={201: SecretAnswer})
    def post(self, request: Request) -> Response:
        """Add an e-mail address or a webhook. The signing secret is in this answer and in no other one."""
        made = channels.create_channel(by=self.principal(request), at=timezone.now(), **self.body(ChannelBody, request))
        location = reverse("channel", kwargs={"channel_id": str(made.channel.pk)})
        return answer("channel", made.channel, _with_secret(made, request), status=201, location=location)


class ChannelDetail(ApiView):
    """One shared receiver."""

    actions_by_method = {"PATCH": "channel.manage", "DELETE": "channel.manage"}
    takes_precondition = True

    @extend_schema(operation_id="channels_retrieve", responses=ChannelAnswer)
    def get(self, request: Request, channel_id: str) -> Response:
        """The channel."""
        return _shown(reaching.shared_channel(identifier(channel_id, "channel")), request)

    @extend_schema(request=ChannelChangeBody, responses=ChannelAnswer)
    def patch(self, request: Request, channel_id: str) -> Response:
        """Rename it, move it, switch it off or on. Switching on forgets its failures."""
        changed = channels.configure_channel(
            channel_id=identifier(channel_id, "channel"),
            changes=self.body(ChannelChangeBody, request),
            by=self.principal(request),
            at=timezone.now(),
            if_match=condition(request, "channel"),
        )
        return _shown(changed, request)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, channel_id: str) -> Response:
        """End it, with its subscriptions."""
        by, match = self.principal(request), condition(request, "channel")
        channels.delete_channel(channel_id=identifier(channel_id, "channel"), by=by, at=timezone.now(), if_match=match)
        return Response(status=204)


class ChannelSecret(ApiView):
    """The signing secret."""

    actions_by_method = {"POST": "channel.manage"}
    takes_idempotency_key = False
    takes_precondition = True

    @extend_schema(request=None, responses=SecretAnswer)
    def post(self, request: Request, channel_id: str) -> Response:
        """Make a new signing secret; the former one signs nothing any more."""
        self.body(NoBody, request)
        by, match = self.principal(request), condition(request, "channel")
        made = channels.renew_secret(channel_id=identifier(channel_id, "channel"), by=by, at=timezone.now(), if_match=match)
        return answer("channel", made.channel, _with_secret(made, request))


class ChannelTest(ApiView):
    """A test message."""

    actions_by_method = {"POST": "subscription.own"}

    @extend_schema(request=None, responses={202: DeliveryAnswer})
    def post(self, request: Request, channel_id: str) -> Response:
        """Send a test to a shared channel (administrators) or to your own; the delivery shows what became of it."""
        self.body(NoBody, request)
        sent = channels.test_channel(channel_id=identifier(channel_id, "channel"), by=self.principal(request), at=timezone.now())
        location = reverse("channel-deliveries", kwargs={"channel_id": channel_id})
        return Response(DeliveryAnswer(sent).data, status=202, headers={"Location": location})


class Deliveries(ListView):
    """What was sent through a channel."""

    actions_by_method = {"GET": "subscription.own"}
    filterset_class = DeliveryFilter
    ordering_fields = ("created_at", "due_at")
    search_fields = ("subject", "last_error")
    row_serializer = DeliveryAnswer

    @extend_schema(operation_id="channels_deliveries", responses=DeliveryAnswer(many=True))
    def get(self, request: Request, channel_id: str) -> Response:
        """Messages, newest first; `?status=dead` are those that were given up on. Three queries."""
        return self.page(request, deliveries_of(reaching.usable_channel(identifier(channel_id, "channel"), self.principal(request))))


class DeliveryResend(ApiView):
    """Another chance for a dead message."""

    actions_by_method = {"POST": "channel.manage"}

    @extend_schema(request=None, responses={202: DeliveryAnswer})
    def post(self, request: Request, delivery_id: str) -> Response:
        """Send a message again that was given up on; 409 `not_dead` for any other."""
        self.body(NoBody, request)
        again = delivering.resend(delivery_id=identifier(delivery_id, "delivery"), by=self.principal(request), at=timezone.now())
        return Response(DeliveryAnswer(again).data, status=202)


def _shown(channel: Channel, request: Request) -> Response:
    return answer("channel", channel, ChannelAnswer(channel, context={"request": request}).data)


def _with_secret(made: channels.Made, request: Request) -> dict[str, Any]:
    shown = dict(ChannelAnswer(made.channel, context={"request": request}).data)
    return {**shown, "secret": made.secret} if made.secret else shown
