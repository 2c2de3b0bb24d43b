"""Registering a model, its promotion policy, its source of data."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from mlops.admin_site import keep_typed, page, principal_of, show, show_refusal
from mlops.errors import DomainError, NotFound, Stale
from registry.models import Dataset, RegisteredModel
from registry.rules.policy import PRIMARY_METRICS, RANGES, Policy, parse
from registry.services.lookups import expect_revision
from registry.services.model_settings import Configured, configure_model, register_model

FOUR_EYES = "What asks for less, the second pair of eyes included, waits until another manager agrees; what is stricter applies at once."
CHANGES = "It applies from the next verdict on; verdicts already given keep the policy they were made under."
POLICY_TEXTS: dict[str, tuple[str, str]] = {
    "primary_metric": ("Primary metric", "What a challenger has to improve."),
    "min_improvement_pct": ("Improvement", "Least improvement of the primary metric, percent of the champion's value."),
    "accuracy_tolerance_pct": ("MAPE, WAPE, MASE, RMSSE", "May be worse than the champion's by this many percent."),
    "min_value_over_naive_pct": (
        "Value over seasonal naive",
        "By how many percent MAE has to be better than the seasonal naive's on the same days.",
    ),
    "bias_tolerance_pp": ("Bias", "|bias| may be larger by this many percentage points of demand."),
    "coverage_tolerance_pp": ("Coverage", "The intervals may fall further short of their nominal coverage by this many percentage points."),
    "nominal_coverage_pct": ("Nominal coverage", "How many of a hundred days the intervals promise to cover."),
    "stock_tolerance_pp": ("Stock-out and overstock", "Both rates may be higher by this many percentage points."),
    "segment_tolerance_pct": ("Segments", "No store, department or other segment may be worse by more than this many percent."),
    "stability_tolerance_pct": ("Stability", "At its worst origin it may be worse than the champion at its own by this many percent."),
    "max_p_value": ("Significance", "The paired test of daily errors must be below this; 0.05 is usual."),
    "auto_promote": (
        "Promote by itself",
        "After a scheduled or manual retraining, a version that passes every gate takes the throne without a person.",
    ),
    "enforce_gates": (
        "Enforce the gates",
        "A promotion past a failed gate needs the override ticked and a reason, a rollback has to be an emergency. Off, gates advise.",
    ),
    "four_eyes": ("Four eyes", "Every promotion and rollback waits for another manager than the one who trained, proposed or asked."),
    "backtest_days": ("Backtest window", "Days both versions are compared on."),
    "horizon": ("Horizon", "Days ahead that are forecast."),
    "backtest_retrain_days": ("Refits", "Inside a backtest the recipe is fitted again every so many days; 0 fits it once, at its start."),
}
GROUPS = (
    ("Errors", ("primary_metric", "min_improvement_pct", "accuracy_tolerance_pct", "min_value_over_naive_pct", "bias_tolerance_pp")),
    (
        "Guard-rails",
        (
            "nominal_coverage_pct",
            "coverage_tolerance_pp",
            "stock_tolerance_pp",
            "segment_tolerance_pct",
            "stability_tolerance_pct",
            "max_p_value",
        ),
    ),
    ("Who decides", ("auto_promote", "enforce_gates", "four_eyes")),
    ("Comparison", ("backtest_days", "horizon", "backtest_retrain_days")),
)


class ModelForm(forms.Form):
    """A new model."""

    name = forms.CharField(max_length=128, help_text="a–z, 0–9, _ . -, beginning with a letter; programs use it. Example: demand_forecast")
    display_name = forms.CharField(required=False, max_length=200, help_text="For people.")
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
    task = forms.ChoiceField(choices=RegisteredModel.Task.choices)
    model_type = forms.ChoiceField(choices=RegisteredModel.Type.choices, initial=RegisteredModel.Type.ENSEMBLE)
    domain = forms.CharField(required=False, max_length=64, help_text="A free label to filter by, e.g. retail.")
    dataset = forms.ChoiceField(required=False, label="Data set", help_text="What a retraining reads; can be chosen later.")

    def __init__(self, *args: Any, datasets: list[Dataset], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"].choices = [("", "none yet"), *((str(one.pk), one.name) for one in datasets)]  # type: ignore[attr-defined]  # a ChoiceField


class DataSourceForm(forms.Form):
    """Which data set a retraining reads."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    dataset = forms.ChoiceField(required=False, label="Data set", help_text="A retraining reads its newest version that is ready.")

    def __init__(self, *args: Any, datasets: list[Dataset], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"].choices = [("", "none"), *((str(one.pk), one.name) for one in datasets)]  # type: ignore[attr-defined]  # a ChoiceField


class PolicyForm(forms.Form):
    """Every setting of the policy, with what it means."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    reason = forms.CharField(
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "Whoever has to agree reads it; it goes into the audit trail."}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (label, help_text) in POLICY_TEXTS.items():
            self.fields[name] = _policy_field(name, label, help_text)

    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The fields under their headings."""
        return [*((title, [self[name] for name in names]) for title, names in GROUPS), ("Why", [self["reason"]])]


@page("registry/registeredmodel/register/", name="registry_model_register")
def register(request: HttpRequest) -> HttpResponse:
    """Register a model."""
    principal = principal_of(request)
    principal.authorize("model.register")
    datasets = list(Dataset.objects.order_by("name")[:500])
    form = ModelForm(request.POST or None, datasets=datasets)
    if request.method == "POST" and form.is_valid():
        values = dict(form.cleaned_data)
        values["dataset"] = next((one for one in datasets if str(one.pk) == values["dataset"]), None)
        try:
            model = register_model(**values, by=principal, at=timezone.now())
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{model} is registered. Retrain it to get its first versions.")
            return redirect("admin:registry_model_page", model.pk)
    crumbs = [("Models", reverse("admin:registry_registeredmodel_changelist")), ("Register", "")]
    text = "A model is the name under which versions compete. The first trained version has to beat the seasonal naive."
    return show(request, "registry/form.html", title="Register a model", crumbs=crumbs, form=form, text=text, button="Register")


@page("registry/registeredmodel/<uuid:pk>/policy/", name="registry_policy")
def policy(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Edit the promotion policy. What equals the default is not stored, so that the default can be read from the record."""
    principal = principal_of(request)
    principal.authorize("model.configure")
    model = model_of(pk)
    now = parse(model.policy).to_json()
    form = PolicyForm(request.POST or None, initial={**now, "revision": model.revision})
    if request.method == "POST" and form.is_valid():
        given = {name: form.cleaned_data[name] for name in POLICY_TEXTS}
        wanted = {name: value if value != getattr(Policy, name) else None for name, value in given.items()}
        made = configure(request, form, model, {"policy": wanted}, reason=form.cleaned_data["reason"])
        if made and made.request:
            waits = ", ".join(POLICY_TEXTS[name][0] for name in made.request.after)
            messages.warning(request, f"Asked: {waits} would ask for less, so another manager has to agree. The rest is changed.")
            return redirect("admin:registry_policy_request", made.request.pk)
        if made:
            messages.success(request, f"The policy of {model} is changed.")
            return redirect("admin:registry_model_page", pk)
    crumbs = [*model_crumbs(model), ("Policy", "")]
    title = f"Promotion policy of {model}"
    return show(
        request,
        "registry/form.html",
        title=title,
        crumbs=crumbs,
        form=form,
        text=f"What a challenger has to show. {CHANGES}{f' {FOUR_EYES}' if now['four_eyes'] else ''}",
        button="Save",
    )


@page("registry/registeredmodel/<uuid:pk>/data-source/", name="registry_data_source")
def data_source(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Choose the data set a retraining reads."""
    principal = principal_of(request)
    principal.authorize("model.configure")
    model = model_of(pk)
    datasets = list(Dataset.objects.order_by("name")[:500])
    given = {"revision": model.revision, "dataset": request.GET.get("dataset") or str(model.dataset_id or "")}
    form = DataSourceForm(request.POST or None, datasets=datasets, initial=given)
    if request.method == "POST" and form.is_valid():
        chosen = next((one for one in datasets if str(one.pk) == form.cleaned_data["dataset"]), None)
        if configure(request, form, model, {"dataset": chosen}):
            messages.success(request, f"{model} learns from {chosen or 'nothing'} from the next retraining on.")
            return redirect("admin:registry_model_page", pk)
    crumbs = [*model_crumbs(model), ("Data source", "")]
    text = "The present versions keep what they were trained on; only the next retraining changes."
    return show(request, "registry/form.html", title=f"Data source of {model}", crumbs=crumbs, form=form, text=text, button="Save")


def configure(
    request: HttpRequest, form: forms.Form, model: RegisteredModel, changes: dict[str, Any], *, reason: str = ""
) -> Configured | None:
    """What became of the change; None where the form now says why not."""
    try:
        seen = expect_revision(form.cleaned_data["revision"])
        return configure_model(model=model, changes=changes, by=principal_of(request), at=timezone.now(), reason=reason, if_match=seen)
    except Stale as stale:
        keep_typed(form, stale, revision=model_of(model.pk).revision)
    except DomainError as refusal:
        show_refusal(form, refusal)
    return None


def _policy_field(name: str, label: str, help_text: str) -> forms.Field:
    default = getattr(Policy, name)
    if name == "primary_metric":
        return forms.ChoiceField(label=label, help_text=help_text, choices=[(one, one.upper()) for one in PRIMARY_METRICS])
    if isinstance(default, bool):
        return forms.BooleanField(label=label, help_text=help_text, required=False)
    low, high = RANGES[name]
    least = f"{low:f}".rstrip("0").rstrip(".")
    told = f"{help_text} From {least or 0} to {high:g}; normally {default:g}."
    if isinstance(default, int):
        return forms.IntegerField(label=label, help_text=told, min_value=int(low), max_value=int(high))
    return forms.FloatField(label=label, help_text=told, min_value=low, max_value=high, widget=forms.NumberInput(attrs={"step": "any"}))


def model_of(pk: UUID) -> RegisteredModel:
    model = RegisteredModel.objects.filter(pk=pk).first()
    if model is None:
        raise NotFound("There is no such model.")
    return model


def model_crumbs(model: RegisteredModel) -> list[tuple[str, str]]:
    """The way to a page of the model."""
    return [
        ("Models", reverse("admin:registry_registeredmodel_changelist")),
        (str(model), reverse("admin:registry_model_page", args=[model.pk])),
    ]
