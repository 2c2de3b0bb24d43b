"""The forms of alerts: filters, the answer, one's own subscription."""

from typing import Any

from django import forms

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


class SubscribeForm(forms.Form):
    """What to be told of by e-mail."""

    min_severity = forms.ChoiceField(choices=Severity.choices, initial=Severity.WARNING, label="From severity")
    digest = forms.BooleanField(required=False, label="and one message a day with what is open")
