"""A model's settings beside policy and data set: what it is called, what works on it, what a retraining fits."""

import json
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from mlops.admin_site import page, principal_of, show
from mlops.form_fields import ObjectField
from registry.models import RegisteredModel
from registry.screens.models import configure, model_crumbs, model_of

WORDS = ("display_name", "description", "model_type", "domain")
WORK = ("scheduled", "retention_days")
LEARNING = ("data_dir", "recipe")
"""Of forecasts alone: other models learn from splits, in studies."""
GROUPS = (("What it is", WORDS), ("What works on it", WORK), ("What a retraining reads and fits", LEARNING), ("Why", ("reason",)))


class SettingsForm(forms.Form):
    """The settings as they are, on the revision the person looked at."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    display_name = forms.CharField(required=False, max_length=200, help_text="For people. Programs go on using the name.")
    description = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}))
    model_type = forms.ChoiceField(choices=RegisteredModel.Type.choices)
    domain = forms.CharField(required=False, max_length=64, help_text="A free label to filter by, e.g. retail.")
    scheduled = forms.BooleanField(
        required=False,
        label="Scheduled jobs work on it",
        help_text="Off, nothing retrains, validates or checks it by itself; people and programs still can.",
    )
    retention_days = forms.IntegerField(
        min_value=1,
        max_value=36_500,
        help_text="Days that pairs in shadow and errors of single segments are kept; their sums and all evidence stay.",
    )
    data_dir = forms.CharField(
        required=False,
        max_length=500,
        label="File or folder",
        help_text="Below an allowed root (DATA_ROOTS); read anew at each retraining, in place of the data set.",
    )
    recipe = ObjectField(
        empty_value={},
        help_text='What a retraining fits, as JSON; it replaces the present one. Empty: the defaults. {"kind": "lightgbm", "rounds": 300}',
    )
    reason = forms.CharField(
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "It goes into the audit trail."}),
    )

    def __init__(self, *args: Any, model: RegisteredModel, **kwargs: Any) -> None:
        names = (*WORDS, *WORK, *LEARNING, "revision")
        super().__init__(*args, **kwargs | {"initial": {name: getattr(model, name) for name in names}})
        if model.task != RegisteredModel.Task.FORECAST:
            for name in LEARNING:
                del self.fields[name]

    @property
    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The fields under their headings."""
        found = [(heading, [self[name] for name in names if name in self.fields]) for heading, names in GROUPS]
        return [(heading, fields) for heading, fields in found if fields]

    def clean_description(self) -> str:
        """With the line ends it was stored with: browsers send others."""
        text: str = self.cleaned_data["description"]
        return text.replace("\r\n", "\n")

    def changes(self) -> dict[str, Any]:
        """What differs from the model as it is, as the service takes it."""
        given = {name: self.cleaned_data[name] for name in (*WORDS, *WORK, *LEARNING) if name in self.fields}
        return {name: value for name, value in given.items() if _text(value) != _text(self.initial[name])}


@page("registry/registeredmodel/<uuid:pk>/settings/", name="registry_settings")
def settings(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Change settings, unless the model changed since the page was opened."""
    principal = principal_of(request)
    principal.authorize("model.configure")
    model = model_of(pk)
    form = SettingsForm(request.POST or None, model=model)
    if request.method == "POST" and form.is_valid():
        changes = form.changes()
        if not changes:
            messages.info(request, "Nothing was different, so nothing was saved.")
            return redirect("admin:registry_model_page", pk)
        if made := configure(request, form, model, changes, reason=form.cleaned_data["reason"]):
            messages.success(request, f"The settings of {made.model} are changed.")
            return redirect("admin:registry_model_page", pk)
    return show(
        request,
        "registry/form.html",
        title=f"Settings of {model}",
        crumbs=[*model_crumbs(model), ("Settings", "")],
        form=form,
        text="They apply from the next job on; versions that exist, and what serves, stay as they are. Policy and data set have forms of "
        "their own.",
        button="Save",
    )


def _text(value: Any) -> str:
    """Comparable: 1, 1.0 and true are three values."""
    return json.dumps(value, sort_keys=True)
