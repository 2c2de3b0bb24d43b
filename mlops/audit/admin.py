"""The audit trail for people: read, filter, verify, take away."""

import json
from textwrap import shorten
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter, RangeDateTimeFilter, TextFilter
from unfold.decorators import action, display

from mlops.admin_lists import ReadOnlyPlatformAdmin
from mlops.api.exports import csv_attachment
from mlops.audit.models import AuditEvent
from mlops.audit.verifying import ChainState, chain_state, verify_and_keep
from mlops.moments import when
from mlops.storable import LONGEST_SEARCH

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


class PersonFilter(TextFilter):
    """Who did it, and for whom: a person whom a key acted for is found as well as the key."""

    title, parameter_name = "person or key", "person"

    def queryset(self, request: HttpRequest, events: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        """The events whose names hold these letters. As the search, one pass over the customer's chain."""
        letters = self.value()
        return events.filter(Q(actor__icontains=letters) | Q(on_behalf_of__icontains=letters)) if letters else events


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyPlatformAdmin):
    """Who did what, when and why."""

    list_display = ("number", "occurred_at", "shown_actor", "shown_action", "gist", "shown_reason")
    list_before_template = "audit/_list_head.html"
    list_filter = (
        PersonFilter,
        ("action", FieldTextFilter),
        ("object_type", FieldTextFilter),
        ("object_id", FieldTextFilter),
        ("occurred_at", RangeDateTimeFilter),
    )
    list_filter_submit = True
    search_fields = ("object_label", "reason", "actor", "on_behalf_of", "action")
    ordering = ("-number",)
    fields = (
        "number",
        "occurred_at",
        "who",
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

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list below a sentence that answers, whatever the list is filtered by."""
        others = request.GET.copy()
        for name in ("person", "p"):
            others.pop(name, None)
        head = {
            "chain": _told(chain_state()),
            "person": request.GET.get("person", ""),
            "other_filters": [(name, value) for name in others for value in others.getlist(name)],
            "without_person": others.urlencode(),
            "longest_search": LONGEST_SEARCH,
            "may_verify": self.has_verify_permission(request),
        }
        return super().changelist_view(request, {**head, **(extra_context or {})})

    def get_actions_list(self, request: HttpRequest) -> list[Any]:
        """Without the verification, which has its button beside the sentence."""
        return [one for one in super().get_actions_list(request) if one.action_name != "audit_auditevent_verify_chain"]

    @action(description="Verify the chain", icon="verified", permissions=["verify"])
    def verify_chain(self, request: HttpRequest) -> HttpResponse:
        """Walk the whole chain, say what was found, and keep it for the list's sentence."""
        result = verify_and_keep(at=timezone.now())
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
        return list(event.who)

    @display(description="Person or key")
    def who(self, event: AuditEvent) -> str:
        """The same in one line."""
        return ", ".join(event.who)

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
            return SafeString("–")
        return format_html_join("", "<div><span>{}</span>: {} → <strong>{}</strong></div>", pairs)


def _told(state: ChainState) -> dict[str, Any]:
    """The sentence above the list, with the tone and the icon it is said in."""
    latest = state.latest
    if not state.events:
        return {
            "tone": "open",
            "icon": "history_edu",
            "sentence": "Nothing has been done here yet. Every act will stand here, with who, when and why.",
        }
    events = format_html("{} since {}.", _count(state.events), when(state.since, "day"))
    if latest is None:
        unknown = "Nobody has verified yet that the chain is whole; the daily job will."
        return {"tone": "open", "icon": "help", "sentence": format_html("{} {}", events, unknown)}
    moment = when(latest.verified_at)
    if not latest.intact:
        broken = format_html("When verified {}, the chain was broken: {}.", moment, latest.problem)
        return {"tone": "bad", "icon": "gpp_bad", "sentence": format_html("{} {}", events, broken)}
    if state.appended < 0:
        shorter = format_html("The chain is shorter than when it was last verified, {}: it had {}.", moment, _count(latest.events))
        return {"tone": "bad", "icon": "gpp_bad", "sentence": format_html("{} {}", events, shorter)}
    whole = format_html("The chain was whole when last verified, {}", moment)
    later = f"; {_count(state.appended)} came since." if state.appended else "."
    return {"tone": "", "icon": "verified", "sentence": format_html("{} {}{}", events, whole, later)}


def _count(events: int) -> str:
    return f"{events:,} event{'s' * (events != 1)}"


def _short(value: Any, longest: int) -> str:
    text = "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if hasattr(value, "isoformat") else value
