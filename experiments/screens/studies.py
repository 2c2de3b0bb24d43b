"""Studies: what is searched, how far each is, what came of it; the form that asks for one, and the one that ends it early."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from experiments.models import Study, Trial
from experiments.queries.studies import moves_of, remaining_seconds, studies, trials_of
from experiments.screens import study_charts
from experiments.screens.study_forms import CancelForm, StudyForm, default_spaces
from experiments.screens.study_words import list_sentence, over, sentence, settings_of, shown
from experiments.services.studies import cancel_study, create_study
from experiments.services.study_rows import find_study, registering
from experiments.states import StudyStatus
from mlops.admin_site import page, principal_of, show, show_refusal
from mlops.errors import DomainError, InvalidField
from mlops.lifecycle.mechanism import IllegalMove
from mlops.waiting import subject
from registry.models import Dataset
from registry.services.lookups import expect_revision

PER_PAGE = 25
FIELDS = {"split_id": "source", "dataset_id": "source", "task": "source", "proposal_id": "proposal", "warm_start_from": "warm_start"}
"""Where the form asks for what the service calls by another name."""
ORDERS = {"latest": "-number", "first": "number"}


@page("training/studies/", name="experiments_studies")
def study_list(request: HttpRequest) -> HttpResponse:
    """All studies, newest first. Two queries."""
    found = Paginator(studies(), PER_PAGE).get_page(request.GET.get("page"))
    rows = list(found)
    return show(
        request,
        "experiments/studies.html",
        title="Studies",
        found=found,
        rows=rows,
        sentence=list_sentence(found.paginator.count, rows),
        may_run=principal_of(request).may("study.run"),
    )


@page("training/studies/create/", name="experiments_study_create", action="study.run")
def new_study(request: HttpRequest) -> HttpResponse:
    """The form that asks for a study. Five queries."""
    principal = principal_of(request)
    principal.authorize("study.run")
    form = StudyForm(request.POST or None, initial=_initial(request))
    if request.method == "POST" and form.is_valid():
        try:
            named = form.dataset_id()
            dataset = Dataset.objects.filter(pk=named).first() if named else None
            made = create_study(by=principal, at=timezone.now(), dataset=dataset, **form.asked())
        except InvalidField as wrong:
            name = _field_of(wrong.field)
            form.add_error(name if name in form.fields else None, str(wrong))
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{made} waits for a worker; its trials appear here as they happen.")
            return redirect("admin:experiments_study", made.pk)
    return show(
        request,
        "experiments/study_create.html",
        title="Search for a model",
        crumbs=[("Studies", reverse("admin:experiments_studies")), ("New", "")],
        form=form,
        spaces=default_spaces(),
    )


@page("training/studies/<uuid:pk>/", name="experiments_study")
def study_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """How far the search is, what matters in it, and every trial. Six queries."""
    principal, study = principal_of(request), find_study(pk)
    parts = _parts(request, study)
    return show(
        request,
        "experiments/study_page.html",
        title=study.name,
        crumbs=[("Studies", reverse("admin:experiments_studies")), (study.name, "")],
        charts=True,
        subject=f"study:{pk}",
        revision=study.revision,
        study=study,
        parts=parts,
        drawn=study_charts.drawn(study),
        seen=study_charts.seen(study),
        settings=settings_of(study),
        space=sorted(study.search_space.items()),
        notes=study.user_attrs.get("notes", []),
        moves=moves_of(study),
        over=over(study),
        may_run=principal.may("study.run"),
    )


@page("training/studies/<uuid:pk>/live/", name="experiments_study_live")
def study_live(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What the page of an open study asks for every few seconds: its parts anew, and its charts where they have changed. Five queries."""
    study = find_study(pk)
    answer: dict[str, Any] = {
        "parts": _parts(request, study),
        "over": over(study),
        "said": sentence(study, at=timezone.now()),
        "revision": study.revision,
    }
    seen = study_charts.seen(study)
    if request.GET.get("seen") != seen:
        answer |= {"seen": seen, "charts": {"source": "study-data", "data": study_charts.drawn(study)}}
    return JsonResponse(answer)


@page("training/studies/<uuid:pk>/cancel/", name="experiments_study_cancel", action="study.run")
def cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Say what cancelling will do; on POST, do it, unless the study changed since the page was opened."""
    principal = principal_of(request)
    if not principal.may("study.run"):
        raise PermissionDenied
    study, refusal = find_study(pk), ""
    form = CancelForm(request.POST or None, initial={"revision": study.revision})
    if request.method == "POST" and form.is_valid():
        seen = expect_revision(form.cleaned_data["revision"], "study")
        try:
            after = cancel_study(study_id=pk, by=principal, at=timezone.now(), if_match=seen)
        except (DomainError, IllegalMove) as why:
            refusal = str(why)
        else:
            stopped = after.status == StudyStatus.CANCELLED
            messages.success(request, f"{after} {'is cancelled.' if stopped else 'stops: its worker ends the trial it is at.'}")
            return redirect("admin:experiments_study", pk)
    elif over(study):
        refusal = f"It is {study.get_status_display().lower()} already; there is nothing to cancel."
    return show(
        request,
        "experiments/study_cancel.html",
        title=f"Cancel {study.name}",
        status=409 if refusal else 200,
        crumbs=[
            ("Studies", reverse("admin:experiments_studies")),
            (study.name, reverse("admin:experiments_study", args=[pk])),
            ("Cancel", ""),
        ],
        subject=f"study:{pk}",
        revision=study.revision,
        study=study,
        sentence=sentence(study, at=timezone.now()),
        form=form,
        refusal=refusal,
    )


@subject("study")
def revision_of_study(pk: UUID) -> int | None:
    """Counts every change people make."""
    return Study.objects.filter(pk=pk).values_list("revision", flat=True).first()


def _field_of(named: str) -> str:
    """The form's name for a field of the service: an option has a field of its own, a parameter of the search space has not."""
    first, _, rest = named.partition(".")
    return rest if first in ("preprocessing", "postprocessing") else FIELDS.get(named, first)


def _initial(request: HttpRequest) -> dict[str, Any]:
    """What the address asks to be filled in: a split, or the study that another begins where it ended."""
    split, earlier = request.GET.get("split", ""), request.GET.get("after", "")
    return {"source": f"split:{split}" if split else "", "warm_start": earlier, "algorithm": request.GET.get("algorithm") or "catboost"}


def _parts(request: HttpRequest, study: Study) -> dict[str, str]:
    """The parts of the page that change while the study runs, by the ids of their places. Three queries."""
    now = timezone.now()
    order = request.GET.get("order", "latest")
    order = order if order in ORDERS else "latest"
    context = {
        "study": study,
        "sentence": sentence(study, at=now),
        "share": study.finished_trials / study.n_trials,
        "left": remaining_seconds(study, at=now),
        "over": over(study),
        "may_run": principal_of(request).may("study.run"),
        "registering": registering(study) if over(study) else {},
        "found": (found := _page_of_trials(request, study, order)),
        "rows": [(trial, [(name, shown(value)) for name, value in sorted(trial.params.items())]) for trial in found],
        "order": order,
        "query": f"order={order}",
    }
    return {
        "study-now": render_to_string("experiments/_study_now.html", context),
        "study-trials": render_to_string("experiments/_study_trials.html", context),
    }


def _page_of_trials(request: HttpRequest, study: Study, order: str) -> Page[Trial]:
    return Paginator(trials_of(study).order_by(ORDERS[order]), PER_PAGE).get_page(request.GET.get("page"))
