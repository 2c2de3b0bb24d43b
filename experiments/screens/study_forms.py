"""The forms that ask for a study and that cancel one."""

import json
from typing import Any, cast
from uuid import UUID

from django import forms

from engine.tabular.options import MOST_CATEGORIES, MOST_CATEGORY_ROWS, PREPROCESSING
from engine.tabular.postprocessing import MAX_DECIMALS, MAX_UNIT
from engine.tuning.limits import KIND, SKLEARN_KINDS
from engine.tuning.samplers import PRUNERS, SAMPLERS
from experiments.models import Experiment, Split, Study
from experiments.services.study_settings import FORECAST, LARGEST_SEED, LONGEST_TIMEOUT, MOST_TRIALS, MOST_WORKERS, metrics_of, space_of
from experiments.states import RUNNABLE, SplitStatus
from mlops.form_fields import ObjectField
from registry.models import Dataset

POSTPROCESSING = ("threshold", "clip", "low", "high", "factor", "decimals", "unit")
SHOWN = 200
"""Entries of a select; older ones are named by the API."""
SAMPLER_WORDS = {
    "tpe": "TPE (learns from earlier trials)",
    "random": "Random",
    "cmaes": "CMA-ES (numbers only)",
    "grid": "Grid (all points)",
}
PRUNER_WORDS = {"none": "None", "median": "Median of the others", "hyperband": "Hyperband"}
_TASKS = {"regression": "Regression", "classification": "Classification", FORECAST: "Forecast"}
_PLAIN = ("algorithm", "metric", "n_trials", "timeout_s", "sampler", "pruner", "seed", "workers", "search_space")


_ANY_NUMBER = forms.NumberInput(attrs={"step": "any"})


class StudyForm(forms.Form):
    """What is searched, on what, how. What does not go together is the service's to say."""

    name = forms.CharField(max_length=200, help_text="For people. Example: Churn, first search")
    source = forms.ChoiceField(label="Learns from", help_text="A ready split; or, for a forecast, a data set of daily demand.")
    model_name = forms.CharField(
        required=False, max_length=128, help_text="The best becomes a candidate of this model. Empty: a model named like the study."
    )
    algorithm = forms.ChoiceField(choices=Study.Algorithm.choices, help_text="A forecast takes LightGBM.")
    metric = forms.ChoiceField(required=False, help_text="Measured on the validation part. Default: ROC AUC, RMSE or MAE by task.")
    n_trials = forms.IntegerField(label="Trials", min_value=1, max_value=MOST_TRIALS, initial=20, help_text="How many sets are tried.")
    timeout_s = forms.IntegerField(
        label="Time-out (seconds)", required=False, min_value=1, max_value=LONGEST_TIMEOUT, help_text="Ends the search, within a trial too."
    )
    sampler = forms.ChoiceField(choices=[(one, SAMPLER_WORDS[one]) for one in SAMPLERS], help_text="How the next set is chosen.")
    pruner = forms.ChoiceField(
        required=False,
        choices=[("", "Default (median)"), *((one, PRUNER_WORDS[one]) for one in PRUNERS)],
        help_text="Which trials are given up early.",
    )
    seed = forms.IntegerField(min_value=0, max_value=LARGEST_SEED, initial=0)
    workers = forms.IntegerField(min_value=1, max_value=MOST_WORKERS, initial=1, help_text="How many jobs share the search.")
    search_space = ObjectField(
        empty_value=None,
        rows=6,
        help_text="JSON: per parameter a range, choices or a fixed value. Empty: the default of algorithm and task, shown below.",
    )
    threshold = forms.CharField(
        required=False,
        max_length=20,
        help_text="Of two classes: the probability from which on the second is answered, or f1 for the best F1 on validation.",
    )
    clip = forms.BooleanField(required=False, label="Clip to the training range", help_text="Of numbers: none beyond what training saw.")
    low = forms.FloatField(required=False, label="At least", help_text="In the target's unit.", widget=_ANY_NUMBER)
    high = forms.FloatField(required=False, label="At most", help_text="In the target's unit.", widget=_ANY_NUMBER)
    factor = forms.FloatField(required=False, help_text="Answers are multiplied by it: 0.001 for thousands.", widget=_ANY_NUMBER)
    decimals = forms.IntegerField(required=False, min_value=0, max_value=MAX_DECIMALS, help_text="Answers are rounded to so many places.")
    unit = forms.CharField(required=False, max_length=MAX_UNIT, help_text="Comes with every prediction. Example: thousand €")
    most_categories = forms.IntegerField(
        required=False, min_value=1, max_value=MOST_CATEGORIES, help_text="The most frequent of a feature are kept. Default: 1,000."
    )
    min_category_rows = forms.IntegerField(
        required=False, min_value=1, max_value=MOST_CATEGORY_ROWS, help_text="Categories of fewer rows are pooled. Default: 1."
    )
    proposal = forms.ChoiceField(required=False, label="Experiment", help_text="The approved experiment it belongs to.")
    warm_start = forms.ChoiceField(required=False, label="Begin with the best of", help_text="An earlier study of the same algorithm.")
    description = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Four queries for what can be chosen."""
        super().__init__(*args, **kwargs)
        splits = (
            Split.objects.filter(deleted_at=None, status=SplitStatus.READY).order_by("-created_at", "pk").only("name", "task", "target")
        )
        datasets = Dataset.objects.order_by("name").only("name")
        earlier = Study.objects.filter(deleted_at=None).exclude(best_value=None).order_by("-created_at", "pk").only("name", "algorithm")
        proposals = Experiment.objects.filter(status__in=RUNNABLE).order_by("-created_at", "pk").only("experiment_name")
        self._choose("source", self._sources(list(splits[:SHOWN]), list(datasets[:SHOWN])))
        metrics = ((label, [(one, one) for one in metrics_of(task)]) for task, label in _TASKS.items())
        self._choose("metric", [("", "Default of the task"), *metrics])
        none = ("", "None")
        self._choose("warm_start", [none, *((str(one.pk), f"{one.name} ({one.algorithm})") for one in earlier[:SHOWN])])
        self._choose("proposal", [none, *((str(one.pk), str(one)) for one in proposals[:SHOWN])])

    @staticmethod
    def _sources(splits: list[Split], datasets: list[Dataset]) -> list[Any]:
        listed: list[Any] = [("", "Choose …")]
        if splits:
            listed.append(("Splits", [(f"split:{one.pk}", f"{one.name}: {one.target} ({one.task})") for one in splits]))
        if datasets:
            listed.append(("Data sets, for a forecast", [(f"dataset:{one.pk}", one.name) for one in datasets]))
        return listed

    def _choose(self, name: str, choices: list[Any]) -> None:
        cast(forms.ChoiceField, self.fields[name]).choices = choices

    @property
    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """Fields under the headings of the form."""
        wanted = (
            ("What", ("name", "source", "model_name", "algorithm", "metric", "n_trials")),
            ("How", ("sampler", "pruner", "timeout_s", "seed", "workers", "warm_start", "proposal")),
            ("Answers", POSTPROCESSING),
            ("Columns", PREPROCESSING),
            ("Search space", ("search_space", "description")),
        )
        return [(heading, [self[name] for name in names]) for heading, names in wanted]

    def clean_threshold(self) -> float | str | None:
        """A number, or f1; None where nothing was written."""
        text: str = self.cleaned_data["threshold"].strip().lower()
        if text in ("", "f1"):
            return text or None
        try:
            return float(text)
        except ValueError:
            raise forms.ValidationError("Must be a number between 0 and 1, or f1.") from None

    def _options(self, names: tuple[str, ...]) -> dict[str, Any]:
        """What was written of these options."""
        given = {name: self.cleaned_data[name] for name in names}
        return {name: value for name, value in given.items() if value is not None and value is not False and value != ""}

    def asked(self) -> dict[str, Any]:
        """The arguments of the service, without the data set's row."""
        given = self.cleaned_data
        kind, _, identifier = given["source"].partition(":")
        return {
            "name": given["name"],
            "description": given["description"],
            "split_id": UUID(identifier) if kind == "split" else None,
            "model_name": given["model_name"],
            "proposal_id": UUID(given["proposal"]) if given["proposal"] else None,
            "warm_start_from": UUID(given["warm_start"]) if given["warm_start"] else None,
            **{name: given[name] for name in _PLAIN},
            "preprocessing": self._options(PREPROCESSING),
            "postprocessing": self._options(POSTPROCESSING),
        }

    def dataset_id(self) -> UUID | None:
        """The data set of a forecast."""
        kind, _, identifier = self.cleaned_data["source"].partition(":")
        return UUID(identifier) if kind == "dataset" else None


def default_spaces() -> list[tuple[str, str]]:
    """What is searched when nobody says otherwise: a heading and its JSON for each algorithm, kind and task."""
    kinds = {"sklearn": [{KIND: kind} for kind in SKLEARN_KINDS]}
    asked = [
        (" ".join([label, *(one or {}).values()]), task, space_of(one, algorithm=value, task=task))
        for value, label in Study.Algorithm.choices
        for one in kinds.get(value, [None])
        for task in ("classification", "regression")
    ]
    asked.append(("LightGBM", FORECAST, space_of(None, algorithm="lightgbm", task=FORECAST)))
    return [(f"{label}, {_TASKS[task].lower()}", json.dumps(space.to_json(), indent=2)) for label, task, space in asked]


class CancelForm(forms.Form):
    """The revision of the study the person looked at."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
