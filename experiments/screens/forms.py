"""The forms of experiments."""

from typing import Any

from django import forms

from experiments.models import Experiment
from experiments.queries.results import Outcome
from experiments.screens.words import Act
from experiments.states import Decision, ExperimentType
from registry.models import ModelVersion, RegisteredModel

SHOWN_VERSIONS = 50


class ProposalForm(forms.Form):
    """What is to be tried, and why it should help."""

    experiment_name = forms.CharField(max_length=200, label="Name")
    hypothesis = forms.CharField(
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="What will change, why it should help, and by how much: “A dedicated model will improve MAE by 12 %.”",
    )
    experiment_type = forms.ChoiceField(choices=ExperimentType.choices, label="Type")
    model = forms.ModelChoiceField(queryset=RegisteredModel.objects.none(), required=False, empty_label="None in particular")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"].queryset = RegisteredModel.objects.order_by("name")  # type: ignore[attr-defined]  # it is that field


class EditForm(ProposalForm):
    """The same, on the revision the person looked at."""

    revision = forms.IntegerField(widget=forms.HiddenInput)


class CommentForm(forms.Form):
    """A contribution to the discussion."""

    body = forms.CharField(max_length=10_000, widget=forms.Textarea(attrs={"rows": 2}), label="Comment")


class ActForm(forms.Form):
    """The reason, the revision the person looked at, and what the act asks for besides."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    decision = forms.ChoiceField(choices=[("", "Choose…"), *Decision.choices])
    version = forms.ChoiceField(required=False, label="Experimental version")
    baseline_mae = forms.FloatField(required=False, label="Baseline MAE (units)", min_value=0)
    experimental_mae = forms.FloatField(required=False, label="Experimental MAE (units)", min_value=0)
    improvement_pct = forms.FloatField(required=False, label="Improvement (%)", help_text="Recomputed from the two; it may differ by 0.1.")
    reason = forms.CharField(
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "Whoever asks in a year reads this."}),
        help_text="It goes into the audit trail.",
    )

    def __init__(self, *args: Any, act: Act, experiment: Experiment, outcome: Outcome, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if act.name != "complete":
            for name in ("decision", "baseline_mae", "experimental_mae", "improvement_pct"):
                del self.fields[name]
        if act.name in ("complete", "shadow-test"):
            self._offer_versions(experiment)
        else:
            del self.fields["version"]
        self.fields["reason"].required = act.needs_reason
        found = outcome.comparison
        if act.name == "complete" and found and found.improvement_pct is not None:
            measured = {"baseline_mae": found.baseline_mae, "experimental_mae": found.experimental_mae}
            self.initial = {**{name: round(value or 0, 4) for name, value in measured.items()}, **self.initial}

    @property
    def results(self) -> dict[str, Any] | None:
        """The numbers as they were given; None where none was."""
        names = ("baseline_mae", "experimental_mae", "improvement_pct")
        given = {name: value for name in names if (value := self.cleaned_data.get(name)) is not None}
        return given or None

    def _offer_versions(self, experiment: Experiment) -> None:
        rows = ModelVersion.objects.exclude(status="archived").order_by("-created_at", "pk")
        mine = rows.filter(model=experiment.model_id) if experiment.model_id else rows
        offered = [(str(pk), f"{name} {label} · {status}") for pk, name, label, status in mine.values_list(*_SHOWN)[:SHOWN_VERSIONS]]
        self.fields["version"].choices = [("", "None"), *offered]  # type: ignore[attr-defined]  # it is a choice
        if experiment.experimental_version_id:
            self.initial = {"version": str(experiment.experimental_version_id), **self.initial}


_SHOWN = ("pk", "model_name", "version", "status")
