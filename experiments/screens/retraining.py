"""The page behind a model's Retrain button."""

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from experiments.services.retraining import request_retrain
from mlops.admin_site import page, principal_of, show, show_refusal
from mlops.errors import DomainError, NotFound
from registry.models import RegisteredModel
from registry.rules.policy import parse
from registry.screens.models import model_crumbs
from registry.states import Trigger


class RetrainForm(forms.Form):
    """Why now."""

    reason = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 3}), help_text="It goes into the retraining log.")


@page("registry/registeredmodel/<uuid:pk>/retrain/", name="experiments_retrain")
def retrain(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Say what a retraining will do; on POST ask for it."""
    principal = principal_of(request)
    principal.authorize("model.retrain")
    model = RegisteredModel.objects.select_related("dataset").filter(pk=pk).first()
    if model is None:
        raise NotFound("There is no such model.")
    form = RetrainForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data["reason"]
        try:
            request_retrain(model=model, trigger=Trigger.MANUAL, by=principal, at=timezone.now(), reason=given)
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{model} is being retrained; the overview shows the progress.")
            return redirect("admin:registry_model_page", pk)
    crumbs = [*model_crumbs(model), ("Retrain", "")]
    return show(
        request, "registry/form.html", title=f"Retrain {model}", crumbs=crumbs, form=form, text=_what_happens(model), button="Retrain"
    )


def _what_happens(model: RegisteredModel) -> str:
    source = model.dataset.name if model.dataset else model.data_dir
    if not source:
        return "The model has no data source yet: choose one on its page first."
    policy = parse(model.policy)
    crowned = (
        "a winner takes the throne by itself"
        if policy.auto_promote and not policy.four_eyes
        else "a winner waits as challenger for a manager"
    )
    return (
        f"A job trains a version on the newest data of {source}, backtests it over {policy.backtest_days} days beside the champion, "
        f"and judges it gate by gate: {crowned}, any other competes as challenger. One retraining of a model runs at a time."
    )
