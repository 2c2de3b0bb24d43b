"""The inbox: what needs a person, the most urgent first, with the chosen alert's evidence and answers beside the list."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from alerts.models import MLAlert
from alerts.queries import InboxPage, inbox
from alerts.screens.alert_page import alert_parts
from alerts.screens.forms import FilterForm
from alerts.screens.subscribing import subscribe_form, subscriptions_of
from alerts.states import OPEN, AlertStatus
from mlops.admin_site import page, principal_of, show
from mlops.waiting import shown, tallies

STATUSES = {
    "open": tuple(OPEN),
    "unread": (AlertStatus.UNREAD,),
    "decided": (AlertStatus.ACTIONED, AlertStatus.DISMISSED),
    "all": tuple(AlertStatus),
}
LAST_PAGE = 5000


@page("alerts/inbox/", name="alerts_inbox")
def inbox_page(request: HttpRequest) -> HttpResponse:
    """The list, and beside it the alert that `alert` names, else the first one. At most twelve queries, the frame's among them."""
    principal = principal_of(request)
    principal.authorize("alert.read")
    form = FilterForm(request.GET)
    filters = form.chosen()
    found = inbox(
        statuses=STATUSES[filters["status"]],
        severity=filters["severity"],
        alert_type=filters["type"],
        model_name=filters["model"],
        search=filters["q"],
        order=filters["order"],
        page=_number(request.GET.get("page", "")),
    )
    if found.number > found.pages:  # what stood there was decided meanwhile
        return redirect(f"{reverse('admin:alerts_inbox')}?{urlencode({**filters, 'page': found.pages})}")
    chosen = _chosen(found, request.GET.get("alert", ""))
    counts = tallies(request)
    kept = {name: value for name, value in filters.items() if value and value != form.fields[name].initial}
    query = urlencode(kept)
    return show(
        request,
        "alerts/inbox.html",
        title="Alerts",
        subject=f"alert:{chosen.pk}" if chosen else "",
        revision=chosen.revision if chosen else "",
        found=found,
        urgent=counts.get("critical", 0),
        any_open=counts.get("critical", 0) + counts.get("warning", 0) + counts.get("info", 0),
        sentence=sentence(counts),
        form=form,
        filtered=bool(set(kept) - {"status", "order"}),
        status_chosen=filters["status"],
        pages=_pages(found, query),
        subscriptions=subscriptions_of(principal),
        subscribe=subscribe_form(request, principal),
        **(alert_parts(chosen, principal, query=query, beside=True) if chosen else {"alert": None, "query": query}),
    )


def sentence(counts: dict[str, int]) -> str:
    """How much waits, and how urgent it is, in words; from the counts of the navigation, which stop at 999+."""
    by_severity = {severity: counts.get(severity, 0) for severity in ("critical", "warning", "info")}
    total, unread = sum(by_severity.values()), counts.get("alerts", 0)
    if not total:
        return "No alert is open: nothing needs a person."
    told = ", ".join(
        f"{shown(number)} {name}{'s' if name == 'warning' and number > 1 else ''}" for name, number in by_severity.items() if number
    )
    start = "1 alert needs" if total == 1 else f"{shown(total)} alerts need"
    everything = "it" if total == 1 else "any of them"
    read = f"nobody has read {everything}" if unread == total else f"{shown(unread) or 'none'} unread"
    return f"{start} a person: {told}; {read}."


def _chosen(found: InboxPage, named: str) -> MLAlert | None:
    """The alert to show beside the list; one that has left the list, because it was decided, is shown where somebody names it."""
    beside = next((one for one in found.alerts if str(one.pk) == named), None)
    if beside is None and named:
        try:
            beside = MLAlert.objects.filter(pk=UUID(named)).first()
        except ValueError:
            raise Http404 from None
    return beside or next(iter(found.alerts), None)


def _pages(found: InboxPage, query: str) -> dict[str, Any]:
    start = f"?{query}&" if query else "?"
    return {
        "before": f"{start}page={found.number - 1}" if found.number > 1 else "",
        "after": f"{start}page={found.number + 1}" if found.number < found.pages else "",
    }


def _number(text: str) -> int:
    return min(max(int(text), 1), LAST_PAGE) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
