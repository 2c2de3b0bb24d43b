"""Messages that were given up on, and another chance for each."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from alerts.queries import dead_deliveries
from alerts.services import delivering
from mlops.admin_site import page, principal_of, show

PER_PAGE = 25


@page("alerts/dead/", name="alerts_dead")
def dead_list(request: HttpRequest) -> HttpResponse:
    """All of them, newest first, with what the receiver answered last. Two queries."""
    principal = principal_of(request)
    principal.authorize("channel.manage")
    found = Paginator(dead_deliveries(principal), PER_PAGE).get_page(request.GET.get("page"))
    return show(
        request,
        "alerts/dead.html",
        title="Dead messages",
        crumbs=[("Channels", reverse("admin:alerts_channels")), ("Dead messages", "")],
        found=found,
        rows=list(found),
        sentence=_sentence(found.paginator.count),
    )


@page("alerts/dead/<uuid:pk>/resend/", name="alerts_resend")
@require_POST
def resend(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Try a message again; back to where the button was."""
    try:
        again = delivering.resend(delivery_id=pk, by=principal_of(request), at=timezone.now())
    except delivering.NotDead as refusal:
        messages.error(request, str(refusal))
        return redirect("admin:alerts_dead")
    messages.success(request, f"“{again.subject or again}” will be sent again to {again.channel}.")
    if request.POST.get("back") == "channel":
        return redirect("admin:alerts_channel", again.channel_id)
    return redirect("admin:alerts_dead")


def _sentence(count: int) -> str:
    """How many there are, in words."""
    if not count:
        return "No message was given up on."
    return "1 message was given up on: its receiver did not take it." if count == 1 else f"{count} messages were given up on."
