"""The lists of alerts. Facts are read-only here; alerts are decided by services."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from alerts.models import Channel, Delivery, MLAlert, Subscription
from alerts.queries import visible_subscriptions
from alerts.screens import channels as channels
from alerts.screens import dead_messages as dead_messages
from alerts.screens import inbox as inbox
from alerts.screens import subscribing as subscribing
from alerts.screens import waiting as waiting
from alerts.services import delivering
from mlops.admin_lists import ReadOnlyPlatformAdmin
from mlops.errors import DomainError
from mlops.tenancy.roles import ACTIONS


class ManagedAdmin(ReadOnlyPlatformAdmin):
    """For those who manage channels: addresses and messages are not everybody's."""

    kept_for = ACTIONS["channel.manage"].role

    def has_module_permission(self, request: HttpRequest) -> bool:
        """As for the list."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Administrators; the login page asks for nobody."""
        principal = getattr(request, "principal", None)
        return principal is not None and principal.may("channel.manage") and super().has_view_permission(request, obj)


@admin.register(MLAlert)
class MLAlertAdmin(ReadOnlyPlatformAdmin):
    """Alerts, the most urgent first."""

    nothing_yet = "Nothing has asked for a person yet. The inbox says what does."

    list_display = ("title", "severity", "status", "alert_type", "model_name", "repeat_count", "created_at", "decided_by")
    list_filter = ("status", "severity", "alert_type")
    search_fields = ("title", "message", "model_name")
    actions = None


@admin.register(Channel)
class ChannelAdmin(ManagedAdmin):
    """Shared receivers."""

    list_display = ("name", "kind", "enabled", "failures", "paused_until", "disabled_reason")
    list_filter = ("kind", "enabled")
    exclude = ("secret_salt", "secret_fingerprint")
    list_before_template = "alerts/_list_channels.html"
    nothing_yet = "A channel is an address or a webhook that hears of alerts. It stands here once somebody has added one."
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Channel]:
        """Nobody's own."""
        rows: QuerySet[Channel] = super().get_queryset(request)
        return rows.filter(owner=None, deleted_at=None)


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyPlatformAdmin):
    """Who hears of what."""

    nothing_yet = "Nobody hears of alerts yet. The form at the foot of the inbox subscribes you by e-mail."

    list_display = ("channel", "min_severity", "alert_types", "immediate", "digest", "approvals", "enabled", "created_by")
    list_select_related = ("channel",)
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        """The viewer's own, and those of shared channels."""
        return visible_subscriptions(self.principal(request))


@admin.register(Delivery)
class DeliveryAdmin(ManagedAdmin):
    """What was sent to shared receivers; dead messages can be sent again."""

    nothing_yet = "Every message to a shared channel stands here, with what became of it. Send a channel a test to see one."

    list_display = ("kind", "channel", "status", "attempts", "last_status", "last_error", "created_at", "due_at")
    list_filter = ("status", "kind", "channel__kind")
    list_select_related = ("channel",)
    actions = ("resend",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Not those to a person."""
        rows: QuerySet[Delivery] = super().get_queryset(request)
        return rows.filter(channel__owner=None)

    @admin.action(description="Send again", permissions=["view"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """Bring dead messages back; a refusal is said row by row."""
        for delivery in queryset:
            try:
                delivering.resend(delivery_id=delivery.pk, by=self.principal(request), at=timezone.now())
            except DomainError as refusal:
                self.message_user(request, f"{delivery}: {refusal}", messages.WARNING)
            else:
                self.message_user(request, f"{delivery} will be sent again.", messages.SUCCESS)
