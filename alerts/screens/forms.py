"""The forms of alerts: filters, the answer, subscriptions, channels."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django import forms

from alerts.models import Channel, Subscription
from alerts.states import AlertType, Decision, Severity

LONGEST_NOTES = 4000
STATUS_CHOICES = [("open", "Open"), ("unread", "Unread"), ("decided", "Decided"), ("all", "All")]
ORDER_CHOICES = [("urgency", "Most urgent"), ("newest", "Newest"), ("oldest", "Oldest")]


class FilterForm(forms.Form):
    """What the list shows. What is nonsense counts as not given."""

    status = forms.ChoiceField(choices=STATUS_CHOICES, initial="open", required=False)
    severity = forms.ChoiceField(choices=[("", "Any severity"), *reversed(Severity.choices)], required=False)
    type = forms.ChoiceField(choices=[("", "Any type"), *AlertType.choices], required=False)
    model = forms.CharField(max_length=128, required=False, widget=forms.TextInput(attrs={"placeholder": "Any model"}))
    q = forms.CharField(
        max_length=100, required=False, label="Words", widget=forms.TextInput(attrs={"type": "search", "placeholder": "Words in it"})
    )
    order = forms.ChoiceField(choices=ORDER_CHOICES, initial="urgency", required=False)

    def chosen(self) -> dict[str, Any]:
        """Each filter's value, or its default."""
        self.is_valid()
        return {name: self.cleaned_data.get(name) or field.initial or "" for name, field in self.fields.items()}


class AnswerForm(forms.Form):
    """Approve or dismiss, and why, on the revision the person looked at."""

    answer = forms.ChoiceField(choices=Decision.choices)
    revision = forms.IntegerField()
    reason = forms.CharField(required=False, max_length=LONGEST_NOTES)


class WishesForm(forms.Form):
    """What a channel should hear of."""

    min_severity = forms.ChoiceField(choices=Severity.choices, initial=Severity.WARNING, label="From severity")
    alert_types = forms.MultipleChoiceField(
        choices=AlertType.choices,
        required=False,
        label="Types",
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: every type, those included that come later.",
    )
    immediate = forms.BooleanField(required=False, initial=True, label="At once: a message for each alert")
    digest = forms.BooleanField(required=False, label="Once a day: one message with what is open")
    approvals = forms.BooleanField(
        required=False,
        label="What waits under Approvals",
        help_text="A message for each experiment or looser policy that waits for a manager, whatever the types and severity.",
    )

    def wishes(self) -> dict[str, Any]:
        """As the service takes them."""
        return {name: self.cleaned_data[name] for name in WISHES if name in self.fields}


WISHES = ("min_severity", "alert_types", "immediate", "digest", "approvals", "enabled")


class SubscribeForm(WishesForm):
    """Who should hear of what: the person's own e-mail, or one of the shared channels where some are offered."""

    channel = forms.ChoiceField(required=False)

    def __init__(self, *args: Any, own: str, channels: Iterable[Channel] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shared = [(str(one.pk), f"{one.name} ({one.get_kind_display()})") for one in channels]
        self.order_fields(["channel"])
        self.fields["channel"].choices = [("", f"My own e-mail, {own}"), *shared]  # type: ignore[attr-defined]  # it is a choice
        if not shared:
            del self.fields["channel"]

    @property
    def channel_id(self) -> UUID | None:
        """The shared channel; None for the person's own."""
        chosen = self.cleaned_data.get("channel")
        return UUID(chosen) if chosen else None


class SubscriptionForm(WishesForm):
    """A subscription as it is, on the revision the person looked at."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    enabled = forms.BooleanField(required=False, label="On", help_text="Off, nothing is told until it is on again.")

    def __init__(self, *args: Any, subscription: Subscription, **kwargs: Any) -> None:
        now = {name: getattr(subscription, name) for name in (*WISHES, "revision")}
        super().__init__(*args, **kwargs | {"initial": now})


class NewChannelForm(forms.Form):
    """A shared receiver."""

    kind = forms.ChoiceField(choices=Channel.Kind.choices)
    name = forms.CharField(max_length=100, help_text="For people. Example: Team on call")
    target = forms.CharField(
        max_length=2000, label="Address", help_text="An e-mail address; for a webhook an https:// URL on the public internet."
    )


class ChannelForm(forms.Form):
    """A channel as it is, on the revision the person looked at."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    name = forms.CharField(max_length=100)
    target = forms.CharField(max_length=2000, label="Address", help_text="Messages that wait go to the new one.")
    enabled = forms.BooleanField(
        required=False,
        label="On",
        help_text="Off, nothing is written to it, and what waits stays where it is. Switching it on forgets its failures.",
    )

    def __init__(self, *args: Any, channel: Channel, **kwargs: Any) -> None:
        now = {name: getattr(channel, name) for name in ("name", "target", "enabled", "revision")}
        super().__init__(*args, **kwargs | {"initial": now})

    def changes(self) -> dict[str, Any]:
        """What differs from the channel as it is, as the service takes it."""
        return {name: self.cleaned_data[name] for name in self.changed_data if name != "revision"}


class TypedForm(forms.Form):
    """An act that cannot be taken back: the channel's name, on the revision the person looked at."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    typed = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}))

    def __init__(self, *args: Any, channel: Channel, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"initial": {"revision": channel.revision}})
        self.expected = channel.name
        self.fields["typed"].label = f"Type {channel.name} to confirm"
        self.fields["typed"].widget.attrs["data-confirm"] = channel.name

    def clean_typed(self) -> str:
        """The channel's own name, nothing else."""
        typed: str = self.cleaned_data["typed"]
        if typed != self.expected.strip():
            raise forms.ValidationError(f"Type {self.expected}, the name of the channel.")
        return typed
