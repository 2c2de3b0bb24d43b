"""One's own e-mails about alerts, from the inbox."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from alerts.models import Subscription
from alerts.queries import visible_subscriptions
from alerts.screens.forms import SubscribeForm
from alerts.services import channels
from mlops.admin_site import page, principal_of
from mlops.errors import DomainError
from mlops.tenancy.roles import Principal


def subscriptions_of(principal: Principal) -> list[Subscription]:
    """The person's own. One query."""
    return list(visible_subscriptions(principal).filter(channel__owner_id=principal.user_id))


@page("alerts/subscribe/", name="alerts_subscribe")
@require_POST
def subscribe(request: HttpRequest) -> HttpResponse:
    """Tell the person of alerts by e-mail from now on."""
    principal = principal_of(request)
    form = SubscribeForm(request.POST)
    if form.is_valid():
        try:
            channels.subscribe(channel_id=None, by=principal, at=timezone.now(), **form.cleaned_data)
        except DomainError as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(request, f"{principal.name} hears of alerts from {form.cleaned_data['min_severity']} on.")
    else:
        messages.error(request, "Choose one of the severities.")
    return redirect("admin:alerts_inbox")


@page("alerts/unsubscribe/<uuid:pk>/", name="alerts_unsubscribe")
@require_POST
def unsubscribe(request: HttpRequest, pk: UUID) -> HttpResponse:
    """End one of the person's subscriptions."""
    try:
        channels.unsubscribe(subscription_id=pk, by=principal_of(request), at=timezone.now())
    except DomainError as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "You are no longer told of these alerts.")
    return redirect("admin:alerts_inbox")
