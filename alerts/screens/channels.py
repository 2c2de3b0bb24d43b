"""Channels: shared receivers, what each hears of, and what became of the messages to it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from alerts.models import Channel
from alerts.queries import counted_channels, deliveries_of, target_for, visible_subscriptions
from alerts.screens.forms import ChannelForm, NewChannelForm, TypedForm
from alerts.screens.subscribing import in_words
from alerts.services import channels, reaching
from mlops.admin_site import keep_typed, page, principal_of, show, show_refusal
from mlops.errors import DomainError, NotFound, Stale
from mlops.waiting import subject
from registry.services.lookups import expect_revision

SHOWN_CHANNELS = 200
SHOWN_DELIVERIES = 20
Crumbs = list[tuple[str, str]]


@page("alerts/channels/", name="alerts_channels")
def channel_list(request: HttpRequest) -> HttpResponse:
    """All shared channels by name, with what is wrong. One query."""
    principal = principal_of(request)
    rows: list[Any] = list(counted_channels()[:SHOWN_CHANNELS])
    return show(
        request,
        "alerts/channels.html",
        title="Channels",
        rows=[(one, _standing(one), target_for(one, principal)) for one in rows],
        sentence=_sentence_of_list(rows),
        wrong=any(not one.enabled or one.dead for one in rows),
        may_manage=principal.may("channel.manage"),
    )


@page("alerts/channels/create/", name="alerts_channel_create")
def create(request: HttpRequest) -> HttpResponse:
    """Add a channel. The answer shows a webhook's signing secret, and no other page does."""
    principal = principal_of(request)
    principal.authorize("channel.manage")
    form = NewChannelForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = channels.create_channel(by=principal, at=timezone.now(), **form.cleaned_data)
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            if made.secret:
                return _show_secret(request, made, title=f"{made.channel} is added")
            messages.success(request, f"{made.channel} is added. Send it a test, and choose what it hears of.")
            return redirect("admin:alerts_channel", made.channel.pk)
    return show(
        request,
        "registry/form.html",
        title="Add a channel",
        crumbs=[*_list(), ("Add", "")],
        form=form,
        text="The address is checked now, and a webhook's again at each sending. The channel hears of nothing until you subscribe it.",
        button="Add it",
    )


@page("alerts/channels/<uuid:pk>/", name="alerts_channel")
def channel_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A shared channel, or the viewer's own: what it hears of, and its latest messages. Three queries."""
    principal = principal_of(request)
    channel = reaching.usable_channel(pk, principal)
    return show(
        request,
        "alerts/channel.html",
        title=channel.name,
        crumbs=[*_crumbs(channel)[:-1], (channel.name, "")],
        subject=f"channel:{pk}",
        revision=channel.revision,
        channel=channel,
        standing=_standing(channel),
        sentence=_sentence(channel),
        target=channel.owner.email if channel.owner else channel.target,
        subscriptions=[(one, in_words(one)) for one in visible_subscriptions(principal).filter(channel=channel)],
        deliveries=list(deliveries_of(channel).select_related("channel")[:SHOWN_DELIVERIES]),
        may_manage=channel.owner_id is None,
        may_resend=principal.may("channel.manage"),
    )


@page("alerts/channels/<uuid:pk>/edit/", name="alerts_channel_edit")
def edit(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Rename it, move it, switch it off or on, unless it changed since the page was opened."""
    principal = principal_of(request)
    principal.authorize("channel.manage")
    channel = reaching.shared_channel(pk)
    form = ChannelForm(request.POST or None, channel=channel)
    if request.method == "POST" and form.is_valid():
        if not form.changes():
            messages.info(request, "Nothing was different, so nothing was saved.")
            return redirect("admin:alerts_channel", pk)
        seen = expect_revision(form.cleaned_data["revision"], "channel")
        try:
            changed = channels.configure_channel(channel_id=pk, changes=form.changes(), by=principal, at=timezone.now(), if_match=seen)
        except Stale as stale:
            keep_typed(form, stale, revision=channel.revision)
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{changed} is changed.")
            return redirect("admin:alerts_channel", pk)
    return show(
        request,
        "registry/form.html",
        title=f"Change {channel}",
        crumbs=[*_crumbs(channel), ("Change", "")],
        form=form,
        text="It applies to every message that has not been sent yet.",
        button="Save",
    )


@page("alerts/channels/<uuid:pk>/secret/", name="alerts_channel_secret")
def renew_secret(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Say what a new signing secret means; on POST make it and show it, this once."""
    principal = principal_of(request)
    principal.authorize("channel.manage")
    channel = reaching.shared_channel(pk)
    form, refused = TypedForm(request.POST or None, channel=channel), ""
    if request.method == "POST" and form.is_valid():
        seen = expect_revision(form.cleaned_data["revision"], "channel")
        try:
            made = channels.renew_secret(channel_id=pk, by=principal, at=timezone.now(), if_match=seen)
        except DomainError as refusal:
            form, refused = TypedForm(channel=channel), f"{refusal} Nothing was done."
        else:
            return _show_secret(request, made, title=f"{channel} has a new secret")
    consequences = (
        "The next page shows a new secret, once.",
        "The present one signs nothing any more, from the next attempt on: the receiver has to learn the new one.",
        "What the receiver refuses until then is tried again, for three days.",
    )
    return _ask(
        request,
        channel,
        form,
        refused,
        title=f"New signing secret for {channel}",
        consequences=consequences,
        button="Make a new secret",
        icon="key",
    )


@page("alerts/channels/<uuid:pk>/delete/", name="alerts_channel_end")
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Say what ends with the channel; on POST end it."""
    principal = principal_of(request)
    principal.authorize("channel.manage")
    channel: Any = counted_channels().filter(pk=pk).first()  # with its counts, which are annotations
    if channel is None:
        raise NotFound("There is no such channel.")
    form, refused = TypedForm(request.POST or None, channel=channel), ""
    if request.method == "POST" and form.is_valid():
        seen = expect_revision(form.cleaned_data["revision"], "channel")
        try:
            channels.delete_channel(channel_id=pk, by=principal, at=timezone.now(), if_match=seen)
        except DomainError as refusal:
            form, refused = TypedForm(channel=channel), f"{refusal} Nothing was done."
        else:
            messages.success(request, f"{channel} is deleted.")
            return redirect("admin:alerts_channels")
    consequences = (
        f"{_many(channel.wishes, 'subscription ends', 'subscriptions end')} with it.",
        f"{_many(channel.waiting, 'message that waits is given up on', 'messages that wait are given up on')}.",
        "What was sent stays on record, and in the audit trail. The name is free again.",
    )
    return _ask(request, channel, form, refused, title=f"Delete {channel}", consequences=consequences, button="Delete it", icon="delete")


@page("alerts/channels/<uuid:pk>/test/", name="alerts_channel_test")
@require_POST
def send_test(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Send a test message to a shared channel, or to one's own."""
    try:
        sent = channels.test_channel(channel_id=pk, by=principal_of(request), at=timezone.now())
    except channels.NotReceiving as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"A test is on its way to {sent.channel}; what becomes of it stands under its messages.")
    return redirect("admin:alerts_channel", pk)


@subject("channel")
def revision_of_channel(pk: UUID) -> int | None:
    """Counts what people change of it."""
    return Channel.objects.filter(pk=pk).values_list("revision", flat=True).first()


def _show_secret(request: HttpRequest, made: channels.Made, *, title: str) -> HttpResponse:
    return show(request, "alerts/channel_secret.html", title=title, channel=made.channel, secret=made.secret)


def _ask(request: HttpRequest, channel: Channel, form: TypedForm, refusal: str, *, title: str, **texts: Any) -> HttpResponse:
    return show(
        request,
        "alerts/channel_act.html",
        title=title,
        status=409 if refusal else 200,
        refusal=refusal,
        crumbs=[*_crumbs(channel), (title, "")],
        subject=f"channel:{channel.pk}",
        revision=channel.revision,
        channel=channel,
        form=form,
        standing=_standing(channel),
        **texts,
    )


def _standing(channel: Channel) -> tuple[str, str]:
    """Its status for the eye: the name of an icon and color, and the word."""
    if not channel.enabled:
        return "cancelled", "Off"
    return ("no input", "Failing") if channel.failures else ("ready", "On")


def _sentence(channel: Channel) -> str:
    """Whether it receives, in words."""
    if not channel.enabled:
        return f"{channel.name} is switched off: nothing is written to it. {channel.disabled_reason}".strip()
    if channel.failures:
        return f"{channel.name} has failed {_many(channel.failures, 'time', 'times')} in a row; what waits is tried again by itself."
    return f"{channel.name} is on."


def _sentence_of_list(rows: list[Any]) -> str:
    """How many there are and what is wrong, in words."""
    if not rows:
        return "No channel yet: alerts reach people by their own e-mail alone."
    off, failing = sum(not one.enabled for one in rows), sum(one.enabled and one.failures > 0 for one in rows)
    wrong = [f"{off} {'is' if off == 1 else 'are'} switched off"] * bool(off) + [f"{failing} failing"] * bool(failing)
    dead = sum(one.dead for one in rows)
    given_up = f" {_many(dead, 'message was', 'messages were')} given up on." if dead else ""
    return f"{_many(len(rows), 'channel', 'channels')}{': ' if wrong else ''}{', '.join(wrong)}.{given_up}"


def _many(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _list() -> Crumbs:
    return [("Channels", reverse("admin:alerts_channels"))]


def _crumbs(channel: Channel) -> Crumbs:
    """The way to the channel's page; one's own is reached from the inbox."""
    before = [("Alerts", reverse("admin:alerts_inbox"))] if channel.owner_id else _list()
    return [*before, (channel.name, reverse("admin:alerts_channel", args=[channel.pk]))]
