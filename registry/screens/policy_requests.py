"""Looser promotion policies that wait for a second pair of eyes: rows of the approvals, and the page of each."""

from typing import Any
from uuid import UUID

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
from mlops.waiting import Choice, Objection, Waiting, tally, waits
from registry.models import PolicyChangeRequest
from registry.queries.policy_requests import policy_requests, waiting_policy_requests
from registry.screens.approvals import REJECTABLE, AnswerForm, said_against
from registry.screens.models import POLICY_TEXTS
from registry.services import policy_changes
from registry.services.four_eyes import AlreadyDecided, added_by_one_hand, objections
from registry.services.lookups import expect_revision
from registry.states import RequestStatus

MOST_ROWS = 100
WILL = "These settings hold from the next verdict on; verdicts already given keep the policy they were made under."


@tally("approvals")
def policies_waiting_count() -> QuerySet[PolicyChangeRequest]:
    """Wishes that nobody has decided."""
    return waiting_policy_requests()


@waits
def policies_waiting(principal: Principal) -> list[Waiting]:
    """The oldest wishes, each with its settings before and after. Two queries: the rows, and who made what they ask for."""
    rows = list(waiting_policy_requests()[:MOST_ROWS])
    may = principal.may("policy_request.decide")
    said = said_against(rows) if rows and may else {}
    return [_row(one, may=may, said=said.get(one.pk, ())) for one in rows]


def _row(asked: PolicyChangeRequest, *, may: bool, said: tuple[Objection, ...]) -> Waiting:
    url = reverse("admin:registry_policy_request", args=[asked.pk])
    approve, reject = Choice("Approve", "check", url, "approve", needs_other=True), Choice("Reject", "close", url, "reject", dangerous=True)
    return Waiting(
        kind="Policy",
        icon="rule_settings",
        title="Loosen the promotion policy",
        about=str(asked.model),
        url=url,
        asked_by=asked.requested_by,
        asked_at=asked.requested_at,
        reason=asked.reason,
        evidence="; ".join(f"{label}: {before} → {after}" for label, before, after in shown_settings(asked)),
        will=WILL,
        revision=asked.model.revision,
        choices=(approve, reject) if may else (),
        objections=said,
    )


@page("registry/policychangerequest/<uuid:pk>/", name="registry_policy_request")
def policy_request_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One wish with its settings before and after, and the form that answers it."""
    asked, principal = _read(pk), principal_of(request)
    form, refusal = AnswerForm(request.POST or None), ""
    if request.method == "POST":
        if not principal.may("policy_request.decide"):
            raise PermissionDenied
        if form.is_valid():
            said, refusal = _answer(asked, form.cleaned_data, by=principal)
            if said:
                messages.success(request, said)
                return redirect("admin:registry_approvals")
            asked = _read(pk)
    if not form.errors:
        form = AnswerForm(initial={"revision": asked.model.revision, "reason": request.POST.get("reason", "")})
    pending = asked.status == RequestStatus.PENDING
    may = pending and principal.may("policy_request.decide")
    own = objections([asked], principal).get(asked.pk, "") if may else ""
    return show(
        request,
        "registry/policy_request_page.html",
        title=str(asked),
        status=409 if refusal else 200,
        crumbs=[("Approvals", reverse("admin:registry_approvals")), (str(asked), "")],
        subject=f"model:{asked.model_id}",
        revision=asked.model.revision,
        asked=asked,
        settings=shown_settings(asked),
        form=form,
        refusal=refusal,
        own=f"{own} {REJECTABLE}" if own else "",
        hand=added_by_one_hand(asked, principal) if may and not own else [],
        may_decide=may,
        will=WILL,
        model_url=reverse("admin:registry_model_page", args=[asked.model_id]),
    )


def shown_settings(asked: PolicyChangeRequest) -> list[tuple[str, str, str]]:
    """Label, value before, value after, as people read them."""
    return [(POLICY_TEXTS[name][0], _shown(before), _shown(after)) for name, before, after in asked.settings]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, int | float) else str(value).upper()


def _read(pk: UUID) -> PolicyChangeRequest:
    asked = policy_requests().filter(pk=pk).first()
    if asked is None:
        raise Http404
    return asked


def _answer(asked: PolicyChangeRequest, given: dict[str, Any], *, by: Principal) -> tuple[str, str]:
    """What was done, or why not."""
    common: dict[str, Any] = {"request_id": asked.pk, "by": by, "at": timezone.now(), "reason": given["reason"]}
    try:
        seen = expect_revision(given["revision"])
        if given["answer"] == "approve":
            policy_changes.approve(**common, if_match=seen)
            return f"Approved: the policy of {asked.model} is changed.", ""
        policy_changes.reject(**common, if_match=seen)
        return f"Rejected: the policy of {asked.model} stays as it is.", ""
    except AlreadyDecided as late:
        return "", f"{late} Your answer changed nothing."
    except (Forbidden, DomainError) as refusal:
        return "", str(refusal)
