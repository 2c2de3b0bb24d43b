"""Who hears of which alerts: one's own e-mail from the inbox, shared channels for those who manage them."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from alerts.models import Channel, Subscription
from alerts.queries import find_subscription, shared_channels, visible_subscriptions
from alerts.screens.forms import SubscribeForm, SubscriptionForm
from alerts.services import channels, reaching
from alerts.states import AlertType
from mlops.admin_site import keep_typed, page, principal_of, show, show_refusal
from mlops.errors import DomainError, Stale
from mlops.tenancy.roles import Principal
from registry.services.lookups import expect_revision

SHOWN_CHANNELS = 200
"""Of the select; others are named by the API."""
Crumbs = list[tuple[str, str]]


def subscriptions_of(principal: Principal) -> list[tuple[Subscription, str]]:
    """The person's own, each in words. One query."""
    return [(one, in_words(one)) for one in visible_subscriptions(principal).filter(channel__owner_id=principal.user_id)]


def in_words(subscription: Subscription) -> str:
    """What it tells of and when, after the severity."""
    types = [str(AlertType(name).label) for name in subscription.alert_types]
    ways = {"at once": subscription.immediate, "once a day what is open": subscription.digest, "and approvals": subscription.approvals}
    told = [way for way, wanted in ways.items() if wanted] or ["but nothing is told"]
    of = f"only {', '.join(types)}" if types else "every type"
    return "; ".join([of, ", ".join(told), *(["switched off"] if not subscription.enabled else [])])


@page("alerts/subscribe/", name="alerts_subscribe")
def subscribe(request: HttpRequest) -> HttpResponse:
    """Ask for what to be told of; on POST tell it from now on."""
    principal = principal_of(request)
    principal.authorize("subscription.own")
    form = subscribe_form(request, principal)
    if request.method == "POST" and form.is_valid():
        try:
            made = channels.subscribe(channel_id=form.channel_id, by=principal, at=timezone.now(), **form.wishes())
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{_receiver(made)} hears of alerts from {made.min_severity} on.")
            return redirect(_home(made))
    return show(
        request,
        "registry/form.html",
        title="Be told of alerts",
        crumbs=[*_inbox(), ("Be told", "")],
        form=form,
        text="Each subscription is a wish of its own: what any of them asks for is told, and the same thing only once.",
        button="Subscribe",
    )


@page("alerts/subscribe/<uuid:pk>/", name="alerts_subscription_edit")
def edit(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Change what is told, unless it changed since the page was opened."""
    principal = principal_of(request)
    subscription = find_subscription(pk, principal)
    reaching.usable_channel(subscription.channel_id, principal)
    form = SubscriptionForm(request.POST or None, subscription=subscription)
    if request.method == "POST" and form.is_valid():
        seen = expect_revision(form.cleaned_data["revision"], "subscription")
        try:
            channels.configure_subscription(subscription_id=pk, changes=form.wishes(), by=principal, at=timezone.now(), if_match=seen)
        except Stale as stale:
            keep_typed(form, stale, revision=subscription.revision)
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{_receiver(subscription)} hears of what you chose from now on.")
            return redirect(_home(subscription))
    return show(
        request,
        "registry/form.html",
        title=f"What {_receiver(subscription)} hears of",
        crumbs=[*_crumbs(subscription), ("Change", "")],
        form=form,
        text="It applies to the next alert; messages that were written already are sent.",
        button="Save",
    )


@page("alerts/unsubscribe/<uuid:pk>/", name="alerts_unsubscribe")
@require_POST
def unsubscribe(request: HttpRequest, pk: UUID) -> HttpResponse:
    """End a subscription."""
    principal = principal_of(request)
    subscription = find_subscription(pk, principal)
    channels.unsubscribe(subscription_id=pk, by=principal, at=timezone.now())
    messages.success(request, f"{_receiver(subscription)} is no longer told of these alerts.")
    return redirect(_home(subscription))


def subscribe_form(request: HttpRequest, principal: Principal) -> SubscribeForm:
    """The form; who manages channels can choose one. At most one query."""
    shared: list[Channel] = list(shared_channels()[:SHOWN_CHANNELS]) if principal.may("channel.manage") else []
    given: dict[str, Any] = {"channel": request.GET.get("channel", "")}
    return SubscribeForm(request.POST or None, own=principal.name, channels=shared, initial=given)


def _receiver(subscription: Subscription) -> str:
    owner = subscription.channel.owner
    return owner.email if owner else subscription.channel.name


def _home(subscription: Subscription) -> str:
    """Where it is listed."""
    if subscription.channel.owner_id:
        return reverse("admin:alerts_inbox")
    return reverse("admin:alerts_channel", args=[subscription.channel_id])


def _crumbs(subscription: Subscription) -> Crumbs:
    if subscription.channel.owner_id:
        return _inbox()
    return [("Channels", reverse("admin:alerts_channels")), (subscription.channel.name, _home(subscription))]


def _inbox() -> Crumbs:
    return [("Alerts", reverse("admin:alerts_inbox"))]
