"""The audit trail for people: read, filter, verify, take away."""

import json
from textwrap import shorten
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter, RangeDateTimeFilter
from unfold.decorators import action, display

from mlops.admin_lists import ReadOnlyPlatformAdmin
from mlops.api.exports import csv_attachment
from mlops.audit.models import AuditEvent
from mlops.audit.services import verify

MOST_ROWS, ROWS_AT_ONCE = 20_000, 500
_COLUMNS = (
    "number",
    "occurred_at",
    "actor",
    "actor_kind",
    "on_behalf_of",
    "action",
    "object_type",
    "object_id",
    "object_label",
    "before",
    "after",
    "reason",
    "request_id",
    "digest",
)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyPlatformAdmin):
    """Who did what, when and why."""

    list_display = ("number", "occurred_at", "shown_actor", "shown_action", "gist", "shown_reason")
    list_filter = (
        ("actor", FieldTextFilter),
        ("action", FieldTextFilter),
        ("object_type", FieldTextFilter),
        ("object_id", FieldTextFilter),
        ("occurred_at", RangeDateTimeFilter),
    )
    list_filter_submit = True
    search_fields = ("object_label", "reason", "actor", "action")
    ordering = ("-number",)
    fields = (
        "number",
        "occurred_at",
        "actor",
        "actor_kind",
        "on_behalf_of",
        "action",
        "object_type",
        "object_id",
        "object_label",
        "change",
        "reason",
        "request_id",
        "digest",
    )
    actions = None
    actions_list = ("verify_chain", "export")

    def has_verify_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """For those who may verify."""
        return self.principal(request).may("audit.verify")

    @action(description="Verify the chain", icon="verified", permissions=["verify"])
    def verify_chain(self, request: HttpRequest) -> HttpResponse:
        """Walk the whole chain and say what was found."""
        result = verify()
        if result.intact:
            text = f"Intact: {result.events:,} events, every one where it was written. Head {result.head_digest[:16] or '-'}…"
            self.message_user(request, text, messages.SUCCESS)
        else:
            self.message_user(request, f"Broken at event {result.first_bad_number}: {result.problem}.", messages.ERROR)
        return HttpResponseRedirect(reverse("admin:audit_auditevent_changelist"))

    @action(description="Export as CSV", icon="download", permissions=["view"])
    def export(self, request: HttpRequest) -> HttpResponse:
        """The newest rows as filtered, at most MOST_ROWS."""
        rows = self.get_changelist_instance(request).get_queryset(request).defer("canonical")[:MOST_ROWS].iterator(chunk_size=ROWS_AT_ONCE)
        return csv_attachment("audit.csv", _COLUMNS, ([_cell(getattr(event, name)) for name in _COLUMNS] for event in rows))

    @display(description="Person or key", ordering="actor", header=True)
    def shown_actor(self, event: AuditEvent) -> list[str]:
        """Who acted, and for whom."""
        return [event.actor, f"for {event.on_behalf_of}" if event.on_behalf_of else event.get_actor_kind_display()]

    @display(description="Action", ordering="action", header=True)
    def shown_action(self, event: AuditEvent) -> list[str]:
        """What was done, and to what."""
        return [event.action, event.object_label]

    @display(description="Before → after")
    def gist(self, event: AuditEvent) -> SafeString:
        """The first changes, short enough for a row; the event's page has them whole."""
        return format_html('<div class="ty-gist">{}</div>', self._lines(event, most=3, longest=28))

    @display(description="Reason")
    def shown_reason(self, event: AuditEvent) -> SafeString:
        """The reason's beginning, over a few lines rather than one endless one."""
        return format_html('<div class="ty-reason">{}</div>', shorten(event.reason, 160, placeholder="…") or "–")

    @display(description="Before → after")
    def change(self, event: AuditEvent) -> SafeString:
        """The values that changed, one per line."""
        return self._lines(event, most=100, longest=200)

    def _lines(self, event: AuditEvent, *, most: int, longest: int) -> SafeString:
        names = [*event.before, *(name for name in event.after if name not in event.before)]
        pairs = [(name, _short(event.before.get(name), longest), _short(event.after.get(name), longest)) for name in names[:most]]
        if not pairs:
            return format_html("–")
        return format_html_join("", "<div><span>{}</span>: {} → <strong>{}</strong></div>", pairs)


def _short(value: Any, longest: int) -> str:
    text = "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if hasattr(value, "isoformat") else value
