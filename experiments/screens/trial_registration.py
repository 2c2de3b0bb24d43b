"""The page that asks whether a chosen trial should become a candidate."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from experiments.screens.study_words import shown, value
from experiments.services.study_rows import find_study
from experiments.services.trial_registration import find_trial, register_trial
from mlops.admin_site import page, principal_of, show
from mlops.errors import DomainError
from registry.models import ModelVersion


@page("training/studies/<uuid:pk>/trials/<int:number>/register/", name="experiments_trial_register", action="study.run")
def register(request: HttpRequest, pk: UUID, number: int) -> HttpResponse:
    """Say what will happen; on POST, ask for it. A trial that has its version already is told so. At most four queries."""
    principal = principal_of(request)
    if not principal.may("study.run"):
        raise PermissionDenied
    study, refusal = find_study(pk), ""
    trial = find_trial(study, number)
    if trial.registered:
        messages.info(request, _is_there(trial.registered, number))
        return redirect("admin:experiments_study", pk)
    if request.method == "POST":
        try:
            made = register_trial(study_id=pk, number=number, by=principal, at=timezone.now())
        except DomainError as why:
            refusal = str(why)
        else:
            is_asked = f"A job makes a version of {study.model.name} of trial {number}."
            messages.success(request, _is_there(made.version, number) if made.version else is_asked)
            return redirect("admin:experiments_study", pk)
    title = f"Register trial {number} of {study.name}"
    return show(
        request,
        "experiments/trial_register.html",
        title=title,
        status=409 if refusal else 200,
        crumbs=[
            ("Studies", reverse("admin:experiments_studies")),
            (study.name, reverse("admin:experiments_study", args=[pk])),
            (f"Register trial {number}", ""),
        ],
        study=study,
        trial=trial,
        value="none" if trial.value is None else value(trial.value),
        params=[(name, shown(given)) for name, given in sorted(trial.params.items())],
        refusal=refusal,
    )


def _is_there(version: ModelVersion, number: int) -> str:
    return f"{version} was made of trial {number} already."
