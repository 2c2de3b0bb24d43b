"""Messages that could not be delivered, for operators."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display

from mlops.admin_lists import ReadOnlyPlatformAdmin
from mlops.outbox import services
from mlops.outbox.models import Message
from mlops.tenancy.context import required


class StateFilter(admin.SimpleListFilter):
    """Dead ones first: they wait for a person."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states."""
        return [("dead", "Dead"), ("waiting", "Waiting"), ("handled", "Handled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        """The messages in the chosen state; without a choice those that are not handled."""
        match self.value():
            case "dead":
                return queryset.exclude(dead_at=None)
            case "waiting":
                return queryset.filter(dead_at=None, handled_at=None)
            case "handled":
                return queryset.exclude(handled_at=None)
        return queryset.filter(handled_at=None)


@admin.register(Message)
class MessageAdmin(ReadOnlyPlatformAdmin):
    """News on its way."""

    list_display = ("topic", "state", "attempts", "last_error", "created_at", "due_at")
    list_filter = (StateFilter, "topic")
    ordering = ("created_at", "id")
    actions = ("resend",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """For platform operators."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """For platform operators."""
        return bool(getattr(request.user, "is_superuser", False)) and super().has_view_permission(request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """The customer's messages: a platform table, so the list names the customer itself."""
        rows: QuerySet[Message] = super().get_queryset(request).filter(customer_id=required())
        return rows

    @admin.action(description="Send again", permissions=["view"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        """Bring dead messages back."""
        sent = sum(services.resend(message_id=message.pk, at=timezone.now(), by=self.principal(request)) for message in queryset)
        self.message_user(request, f"{sent} of {len(queryset)} messages will be sent again; the others are not dead.", messages.SUCCESS)

    @display(description="State", label={"dead": "danger", "handled": "success", "waiting": "info"})
    def state(self, row: Message) -> str:
        """Where it is."""
        if row.dead_at:
            return "dead"
        return "handled" if row.handled_at else "waiting"
