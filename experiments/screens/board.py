"""What are we trying? All experiments by status, and the form that proposes one."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from experiments.queries.experiments import counts_by_status, experiments
from experiments.screens.forms import ProposalForm
from experiments.services import proposing
from experiments.states import OPEN, ExperimentStatus
from mlops.admin_site import page, principal_of, show
from mlops.errors import DomainError
from mlops.sentences import counted, some

SHOWN = 12
"""Experiments per column; the list has all."""
ENDED = (ExperimentStatus.COMPLETED, ExperimentStatus.REJECTED, ExperimentStatus.ROLLED_BACK)
TEACHING = {
    ExperimentStatus.PROPOSED: "Ideas wait here for a manager.",
    ExperimentStatus.APPROVED: "What was agreed and not begun stands here.",
    ExperimentStatus.IN_PROGRESS: "What somebody works on stands here.",
    ExperimentStatus.SHADOW_TESTING: "What is tried beside the champion stands here.",
}


@page("experiments/", name="experiments_board")
def board(request: HttpRequest) -> HttpResponse:
    """Open experiments in a column per status, and what ended lately. Seven queries."""
    counts = counts_by_status()
    columns = [
        {
            "status": status,
            "count": counts[status],
            "experiments": list(experiments().filter(status=status)[:SHOWN]) if counts[status] else [],
            "teaching": TEACHING[status],
        }
        for status in OPEN
    ]
    ended = list(experiments().filter(status__in=ENDED).order_by("-closed_at", "pk")[:SHOWN])
    return show(
        request,
        "experiments/board.html",
        title="Experiments",
        sentence=_sentence(counts),
        columns=columns,
        ended=ended,
        empty=not any(counts.values()),
        waits=counts[ExperimentStatus.PROPOSED],
        may_propose=principal_of(request).may("experiment.propose"),
    )


@page("experiments/propose/", name="experiments_propose")
def propose(request: HttpRequest) -> HttpResponse:
    """The form of a proposal."""
    principal = principal_of(request)
    principal.authorize("experiment.propose")
    form = ProposalForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = proposing.propose(by=principal, at=timezone.now(), **form.cleaned_data)
        except DomainError as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"{made} is proposed; another manager decides about it.")
            return redirect("admin:experiments_page", made.pk)
    return show(
        request,
        "registry/form.html",
        title="Propose an experiment",
        crumbs=[("Experiments", reverse("admin:experiments_board")), ("Propose", "")],
        form=form,
        text="A manager other than you approves or rejects it. Until work begins you can edit it; editing what was approved asks again.",
        button="Propose",
    )


def _sentence(counts: dict[str, int]) -> str:
    still = sum(counts[status] for status in OPEN)
    waits = counts[ExperimentStatus.PROPOSED]
    if not still:
        return "Nothing is being tried right now."
    start = f"{counted(still, 'experiment')} {'is' if still == 1 else 'are'} open"
    return f"{start}; {some(waits, 'waits', 'wait')} for approval."
