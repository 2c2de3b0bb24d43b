"""The first page: is anything wrong, and what waits for me?"""

from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.text import capfirst

from mlops.admin_site import home, page, principal_of, show
from mlops.waiting import MOST_COUNTED, everything, open_about_models, revision_now, shown, subject, tallies
from registry.models import RegisteredModel
from registry.queries.overview import Overview, overview, running_jobs

SHOWN_WAITING = 5


@home
def overview_page(request: HttpRequest) -> HttpResponse:
    """A sentence, a card per model, what waits, what runs."""
    seen = overview(at=timezone.now())
    counts = tallies(request)
    waiting, critical = counts.get("approvals", 0), counts.get("critical", 0)
    return show(
        request,
        "registry/overview.html",
        title="Overview",
        overview=seen,
        sentence=sentence(seen, waiting, critical),
        tone="bad" if seen.wrong or critical else "open" if seen.unknown else "",
        waiting=waiting,
        alerts=open_about_models(),
        jobs=seen.running,
    )


@page("fragments/jobs/", name="registry_jobs_fragment")
def jobs_fragment(request: HttpRequest) -> HttpResponse:
    """The open jobs alone; the first page asks for them every few seconds."""
    return render(request, "registry/_jobs.html", {"jobs": running_jobs(), "principal": principal_of(request)})


@page("fragments/waiting/", name="registry_waiting_fragment")
def waiting_fragment(request: HttpRequest) -> HttpResponse:
    """The oldest of what waits for a decision; the first page asks for them by itself."""
    rows = everything(principal_of(request))
    return render(request, "registry/_waiting.html", {"rows": rows[:SHOWN_WAITING], "more": len(rows) - SHOWN_WAITING})


@page("fragments/live/", name="registry_live")
def live(request: HttpRequest) -> HttpResponse:
    """What every open page asks for every few seconds: the navigation's counts, and the present revision of what it shows. Two queries."""
    reference = request.GET.get("subject", "")[:100]
    counts = {name: shown(count) for name, count in tallies(request).items()}
    return JsonResponse({"tallies": counts, "revision": revision_now(reference) if reference else None})


@subject("model")
def revision_of_model(pk: UUID) -> int | None:
    """Counts every change of the model and every move of its versions."""
    return RegisteredModel.objects.filter(pk=pk).values_list("revision", flat=True).first()


def sentence(seen: Overview, waiting: int, critical: int = 0) -> str:
    """Whether anything is wrong, and what waits, in words."""
    if not seen.cards:
        return "Nothing here yet: no model is registered."
    alerts = [f"{_count(critical, 'critical alert')} {'is' if critical == 1 else 'are'} open"] if critical else []
    wrong = [*seen.wrong, *alerts, *seen.unknown]
    said = " and ".join(wrong[:2]) + (f", and {len(wrong) - 2} more" if len(wrong) > 2 else "")
    named = not (seen.failed or alerts) or any(card.problems for card in seen.cards)  # it begins with a model's name, which stays as it is
    state = "Nothing is wrong" if not wrong else said if named else capfirst(said)
    asks = (
        f"{_count(waiting, 'decision')} {'waits' if waiting == 1 else 'wait'} for a person" if waiting else "nothing waits for a decision"
    )
    return f"{state}; {asks}."


def _count(number: int, noun: str) -> str:
    if number >= MOST_COUNTED:
        return f"{shown(number)} {noun}s"
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return f"{words[number] if number < len(words) else number} {noun}{'' if number == 1 else 's'}"
