"""What waits for a manager, whichever app asks; and promotions that need a second pair of eyes."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from mlops.admin_site import page, principal_of, show
from mlops.errors import DomainError
from mlops.tenancy.roles import Forbidden, Principal
from mlops.waiting import Choice, Objection, Waiting, everything, tallies, tally, waits
from registry.models import PolicyChangeRequest, PromotionRequest
from registry.queries.arena_page import Arena, arena_of
from registry.queries.requests import decision_of, pending_requests
from registry.screens.places import model_page_of
from registry.screens.verdicts import evidence_sentence, rested_on, shown_verdict
from registry.screens.words import ACTS, consequences, short
from registry.services import promotion
from registry.services.four_eyes import ASKED, TRAINED, AlreadyDecided, added_by_one_hand, doers, objections
from registry.services.lookups import expect_revision
from registry.states import RequestStatus

RECENT = 10
REJECTABLE = "You may reject it."
UNJUDGED = "It was not judged against the champion of then."


class AnswerForm(forms.Form):
    """Approve or reject, and why."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    reason = forms.CharField(
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "A rejection needs a reason; an approval is better with one."}),
        help_text="It goes into the evidence record.",
    )
    answer = forms.ChoiceField(choices=[("approve", "Approve"), ("reject", "Reject")])

    def clean(self) -> dict[str, Any]:
        """A rejection without a reason is none."""
        given: dict[str, Any] = super().clean() or {}
        if given.get("answer") == "reject" and not given.get("reason", "").strip():
            self.add_error("reason", "Say why the request is rejected; it goes into the record.")
        return given


@page("approvals/", name="registry_approvals")
def approvals(request: HttpRequest) -> HttpResponse:
    """Pending requests, oldest first, then what was decided lately."""
    principal = principal_of(request)
    pending = everything(principal)
    decided = (
        PromotionRequest.objects.exclude(status=RequestStatus.PENDING).select_related("version", "model").order_by("-decided_at", "id")
    )
    return show(
        request,
        "registry/approvals.html",
        title="Approvals",
        pending=pending,
        more=max(tallies(request).get("approvals", 0) - len(pending), 0),
        decided=list(decided[:RECENT]),
        may_decide=principal.may("promotion_request.decide"),
    )


@tally("approvals")
def pending_count() -> QuerySet[PromotionRequest]:
    """Promotions and rollbacks that wait."""
    return PromotionRequest.objects.filter(status=RequestStatus.PENDING)


@waits
def promotions_waiting(principal: Principal) -> list[Waiting]:
    """Promotions and rollbacks that somebody asked for. Two queries: the rows, and who made what they ask for."""
    asked, may = pending_requests(), principal.may("promotion_request.decide")
    said = said_against(asked) if asked and may else {}
    return [_row(one, may=may, said=said.get(one.pk, ())) for one in asked]


def said_against(requests: Sequence[PromotionRequest | PolicyChangeRequest]) -> dict[UUID, tuple[Objection, ...]]:
    """Per request, what keeps whom from approving it: that one asked is said before that one trained. One query."""
    made = doers(requests)
    return {
        one.pk: tuple(Objection(f"{text} {REJECTABLE}", made[one.pk, text]) for text in (ASKED, TRAINED) if (one.pk, text) in made)
        for one in requests
    }


def _row(asked: PromotionRequest, *, may: bool, said: tuple[Objection, ...]) -> Waiting:
    url = reverse("admin:registry_request_page", args=[asked.pk])
    approve, reject = Choice("Approve", "check", url, "approve", needs_other=True), Choice("Reject", "close", url, "reject", dangerous=True)
    return Waiting(
        kind=asked.get_kind_display(),
        icon=ACTS[asked.kind].icon,
        title=f"{asked.get_kind_display()} {asked.version.version}",
        about=str(asked.model),
        url=url,
        asked_by=asked.requested_by,
        asked_at=asked.requested_at,
        reason=asked.reason,
        evidence=short(asked.verdict),
        will=f"{asked.version.version} becomes champion of {asked.model.name} and serves by default, at once.",
        revision=asked.model.revision,
        choices=(approve, reject) if may else (),
        objections=said,
    )


@page("registry/promotionrequest/<uuid:pk>/", name="registry_request_page")
def request_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One request with its evidence, and the form that answers it."""
    asked = _read(pk)
    principal = principal_of(request)
    form, refusal = AnswerForm(request.POST or None), ""
    if request.method == "POST":
        if not principal.may("promotion_request.decide"):
            raise PermissionDenied
        if form.is_valid():
            said, refusal = _answer(asked, form.cleaned_data, by=principal)
            if said:
                messages.success(request, said)
                return redirect("admin:registry_approvals")
            asked = _read(pk)
    arena = arena_of(asked.model_id, asked.version.version)
    if not form.errors:
        form = AnswerForm(initial={"revision": arena.model.revision, "reason": request.POST.get("reason", "")})
    return _request_page(request, asked, arena, form, refusal=refusal, principal=principal)


def _request_page(
    request: HttpRequest, asked: PromotionRequest, arena: Arena, form: AnswerForm, *, refusal: str, principal: Principal
) -> HttpResponse:
    pending = asked.status == RequestStatus.PENDING
    may = pending and principal.may("promotion_request.decide")
    own = objections([asked], principal).get(asked.pk, "") if may else ""
    act = ACTS[asked.kind]
    decision = None if pending else decision_of(asked)
    shown = shown_verdict(arena) if pending else rested_on(decision.verdict if decision else asked.verdict)
    urgent = may and asked.kind == PromotionRequest.Kind.ROLLBACK and arena.barred
    way_past = f"{reverse('admin:registry_decide', args=[asked.version_id, act.name])}?seen={arena.model.revision}"
    return show(
        request,
        "registry/request_page.html",
        title=str(asked),
        status=409 if refusal else 200,
        crumbs=[("Approvals", reverse("admin:registry_approvals")), (str(asked), "")],
        subject=f"model:{asked.model_id}",
        revision=arena.model.revision,
        asked=asked,
        arena=arena,
        form=form,
        refusal=refusal,
        own=f"{own} {REJECTABLE}" if own else "",
        hand=added_by_one_hand(asked, principal) if may and not own else [],
        may_decide=may,
        sentence=evidence_sentence(arena, shown) if pending else shown.sentence if shown else UNJUDGED,
        decision=decision,
        consequences=consequences(act, arena, approving=True) if pending else [],
        shown=shown,
        emergency_url=way_past if urgent else "",
        model_url=model_page_of(asked.version),
    )


def _read(pk: UUID) -> PromotionRequest:
    asked = PromotionRequest.objects.select_related("version", "model", "verdict__version", "verdict__against").filter(pk=pk).first()
    if asked is None:
        raise Http404
    return asked


def _answer(asked: PromotionRequest, given: dict[str, Any], *, by: Principal) -> tuple[str, str]:
    """What was done, or why not. A request that somebody else decided first says so, whatever the revision."""
    common: dict[str, Any] = {"request_id": asked.pk, "by": by, "at": timezone.now(), "reason": given["reason"]}
    try:
        seen = expect_revision(given["revision"])
        if given["answer"] == "approve":
            promotion.approve(**common, if_match=seen)
            return f"Approved: {asked.version} is champion now.", ""
        promotion.reject(**common, if_match=seen)
        return f"Rejected: {asked.version} stays what it is.", ""
    except AlreadyDecided as late:
        decided_at = late.request.decided_at
        return "", f"{late} Your answer changed nothing.{f' That was at {decided_at:%Y-%m-%d %H:%M} UTC.' if decided_at else ''}"
    except (Forbidden, DomainError) as refusal:
        return "", str(refusal)
