"""The first page: is anything wrong, and what waits for me?"""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from mlops.admin_site import home, page, principal_of, show
from registry.models import PromotionRequest
from registry.queries.overview import Overview, overview, running_jobs
from registry.queries.requests import pending_requests


@home
def overview_page(request: HttpRequest) -> HttpResponse:
    """A sentence, a card per model, what waits, what runs."""
    seen = overview(pending=waiting(request), at=timezone.now())
    mine = [one for one in seen.pending if principal_of(request).may("promotion_request.decide")]
    return show(
        request, "registry/overview.html", title="Overview", overview=seen, sentence=sentence(seen), waiting=mine, jobs=seen.running
    )


@page("fragments/jobs/", name="registry_jobs_fragment")
def jobs_fragment(request: HttpRequest) -> HttpResponse:
    """The open jobs alone; the first page asks for them every few seconds."""
    return render(request, "registry/_jobs.html", {"jobs": running_jobs(), "principal": principal_of(request)})


def sentence(seen: Overview) -> str:
    """Whether anything is wrong, and what waits, in words."""
    if not seen.cards:
        return "Nothing here yet: no model is registered."
    wrong = seen.wrong
    state = (
        "Nothing is wrong" if not wrong else _upper(" and ".join(wrong[:2]) + (f", and {len(wrong) - 2} more" if len(wrong) > 2 else ""))
    )
    count = len(seen.pending)
    asks = (
        "nothing waits for a decision" if not count else f"{_count(count, 'promotion')} {'waits' if count == 1 else 'wait'} for a decision"
    )
    return f"{state}; {asks}."


def waiting(request: HttpRequest) -> list[PromotionRequest]:
    """The pending requests, read once a request: the navigation's badge, the first page and the approvals share them."""
    cached: list[PromotionRequest] | None = getattr(request, "waiting_promotions", None)
    if cached is None:
        cached = pending_requests()
        request.waiting_promotions = cached  # type: ignore[attr-defined]  # a cache for the rest of this request
    return cached


def badge(request: HttpRequest) -> str:
    """How many promotions wait, for the navigation; empty for none."""
    return str(len(waiting(request)) or "")


def _count(number: int, noun: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return f"{words[number] if number < len(words) else number} {noun}{'' if number == 1 else 's'}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
