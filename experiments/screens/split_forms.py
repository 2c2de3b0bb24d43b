"""The form that asks for a split."""

import re
from typing import Any

from django import forms

from experiments.models import Split
from experiments.services.splitting import MAX_NAME_LENGTH

PARTS = ("train", "validation", "test")
_SEPARATORS = re.compile(r"[\n,;]")


class SplitForm(forms.Form):
    """A file and how to cut it. What contradicts itself, or the file, is the service's to say."""

    name = forms.CharField(max_length=MAX_NAME_LENGTH, help_text="For people. Example: Customers, June export")
    file = forms.FileField(help_text="CSV (also gzip), Parquet or JSON: one row per example. Separator, encoding and types are found.")
    target = forms.CharField(max_length=255, help_text="The column to be predicted, as the file's header writes it.")
    task = forms.ChoiceField(choices=[one for one in Split.Task.choices if one[0] != Split.Task.FORECAST])
    strategy = forms.ChoiceField(
        choices=Split.Strategy.choices,
        help_text="By chance; by time, so that the test is later than what was learned from; or by entity, so that nobody is in two parts.",
    )
    time_column = forms.CharField(required=False, max_length=255, help_text="Of a split by time.")
    entity_column = forms.CharField(required=False, max_length=255, help_text="Of a split by entity, for example customer_id.")
    train = forms.FloatField(min_value=0.01, max_value=0.98, initial=0.7, help_text="Share of rows to learn from.")
    validation = forms.FloatField(min_value=0.01, max_value=0.98, initial=0.15, help_text="Share that trials are compared on.")
    test = forms.FloatField(min_value=0.01, max_value=0.98, initial=0.15, help_text="Share that nothing sees before the end.")
    seed = forms.IntegerField(min_value=0, max_value=2**31 - 1, initial=0, help_text="The same seed cuts the same file the same way.")
    features = forms.CharField(
        required=False,
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Names of columns, one a line or with commas between. Empty: every column but target, time and entity.",
    )
    description = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part in PARTS:
            self.fields[part].widget.attrs["step"] = "0.01"

    @property
    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """Fields under the headings of the form."""
        wanted = (
            ("The rows", ("name", "file", "target", "task")),
            ("How they are cut", ("strategy", "time_column", "entity_column", *PARTS, "seed")),
            ("What is learned from", ("features", "description")),
        )
        return [(heading, [self[name] for name in names]) for heading, names in wanted]

    def plan(self) -> dict[str, Any]:
        """The plan as the service takes it."""
        given = self.cleaned_data
        named = [name.strip() for name in _SEPARATORS.split(given["features"])]
        return {
            "target": given["target"],
            "task": given["task"],
            "strategy": given["strategy"],
            "fractions": {part: given[part] for part in PARTS},
            "seed": given["seed"],
            "entity_column": given["entity_column"] or None,
            "time_column": given["time_column"] or None,
            "features": [name for name in named if name],
        }
