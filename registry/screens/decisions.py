"""The forms behind the buttons of a version: what will happen, the evidence beside it, the reason, one button."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from mlops.admin_site import page, principal_of, show
from mlops.errors import DomainError, Stale
from mlops.jobs.models import Job
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.queries.arena_page import Arena, arena_of, last_move
from registry.queries.shadow_plan import ShadowPlan, shadow_plan
from registry.screens.models import model_crumbs
from registry.screens.places import model_page_of
from registry.screens.verdicts import evidence_sentence, shown_verdict
from registry.screens.words import ACTS, Act, consequences, not_possible, possible
from registry.services import moves, promotion
from registry.services.judging_requests import request_judgement
from registry.services.lookups import expect_revision
from registry.states import VersionStatus


class DecisionForm(forms.Form):
    """The reason, the revision of the model the person looked at, and what dangerous acts ask for besides."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    reason = forms.CharField(
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "It goes into the evidence record and the audit trail."}),
        help_text="Why? Whoever asks in a year reads this.",
    )
    override = forms.BooleanField(required=False, label="Promote although gates failed")
    emergency = forms.BooleanField(
        required=False, label="Emergency: do not wait for a second manager", help_text="It is marked in the record and opens a review."
    )
    typed = forms.CharField(required=False, max_length=64, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}))

    def __init__(self, *args: Any, act: Act, arena: Arena, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expected = arena.chosen.version if arena.chosen and _dangerous(act, arena) else ""
        if act.name == "judge":
            self.fields["reason"].required = False
            del self.fields["reason"]
        if not (act.name == "promote" and arena.barred):
            del self.fields["override"]
        if not (act.name == "rollback" and (arena.policy.four_eyes or arena.barred)):
            del self.fields["emergency"]
        elif arena.barred:
            alone = ", without a second manager" if arena.policy.four_eyes else ""
            self.fields["emergency"].label = f"Emergency: roll back although gates failed{alone}"
        if self.expected:
            self.fields["typed"].label = f"Type {self.expected} to confirm"
            self.fields["typed"].widget.attrs["data-confirm"] = self.expected
            self.fields["typed"].required = True
        else:
            del self.fields["typed"]

    def clean_typed(self) -> str:
        """The version's own name, nothing else."""
        typed: str = self.cleaned_data["typed"].strip()
        if typed != self.expected:
            raise forms.ValidationError(f"Type {self.expected}, the name of the version.")
        return typed


@page("registry/modelversion/<uuid:pk>/decide/<slug:name>/", name="registry_decide")
def decide(request: HttpRequest, pk: UUID, name: str) -> HttpResponse:
    """Show what the act will do; on POST, do it, unless the model changed since the page was opened.

    It is about the version in the address and no other: where the act is not open to that one any more, the model's page says so.
    """
    act, version = ACTS.get(name), ModelVersion.objects.filter(pk=pk).first()
    if act is None or version is None:
        raise Http404
    principal = principal_of(request)
    if not principal.may(act.action):
        raise PermissionDenied
    arena = arena_of(version.model_id, version.version)
    version = next((one for one in arena.versions if one.pk == pk), version)  # as it stands in the arena that is shown
    if not possible(act, version):
        messages.warning(request, f"{not_possible(act, version)} {_who_was_first(arena)}".strip())
        return redirect(model_page_of(version))
    form = DecisionForm(request.POST or None, act=act, arena=arena, initial={"revision": arena.model.revision})
    refusal = ""
    if request.method == "POST" and form.is_valid():
        try:
            said = _do(act, version, form.cleaned_data, by=principal, at=timezone.now())
        except Stale as stale:
            refusal = f"{stale} {_who_was_first(arena)}"
        except DomainError as why:
            refusal = str(why)
        else:
            messages.success(request, said)
            return redirect(model_page_of(version))
        form = DecisionForm(act=act, arena=arena, initial={"revision": arena.model.revision, **request.POST.dict(), "typed": ""})
        form.initial["revision"] = arena.model.revision
    return _form_page(request, act, arena, form, refusal=refusal)


def _form_page(request: HttpRequest, act: Act, arena: Arena, form: DecisionForm, *, refusal: str) -> HttpResponse:
    seen = request.GET.get("seen", "")
    changed = request.method == "GET" and seen.isdecimal() and int(seen) != arena.model.revision
    model_url = reverse("admin:registry_model_page", args=[arena.model.pk])
    label = arena.chosen.version if arena.chosen else ""
    asks = act.name == "promote" and arena.policy.four_eyes
    shown = shown_verdict(arena)
    return show(
        request,
        "registry/decide.html",
        title=f"{act.label} {label}",
        status=409 if refusal else 200,
        crumbs=[*model_crumbs(arena.model), (f"{act.label} {label}", "")],
        subject=f"model:{arena.model.pk}",
        revision=arena.model.revision,
        act=act,
        arena=arena,
        form=form,
        refusal=refusal,
        notice=f"The model changed since you opened its page. {_who_was_first(arena)} What stands here is how it is now."
        if changed
        else "",
        consequences=consequences(act, arena),
        dangerous=_dangerous(act, arena),
        button=f"Ask to {act.label.lower()} {label}" if asks else f"{act.label} {label}",
        sentence=evidence_sentence(arena, shown),
        shown=shown,
        plan=_plan(act, arena),
        back=f"{model_url}?version={label}",
    )


def _do(act: Act, version: ModelVersion, given: dict[str, Any], *, by: Principal, at: datetime) -> str:
    """Call the act's service; what it did, in one sentence."""
    if act.name == "judge":
        answer = request_judgement(version_id=version.pk, by=by, at=at)
        return f"{version.version} is being judged; the overview shows the progress." if isinstance(answer, Job) else answer.summary
    common: dict[str, Any] = {"version_id": version.pk, "by": by, "at": at, "reason": given["reason"]}
    common["if_match"] = expect_revision(given["revision"])
    if act.target == "champion":
        if act.name == "rollback":
            outcome = promotion.rollback(**common, emergency=given.get("emergency", False))
        else:
            outcome = promotion.promote(**common, override=given.get("override", False))
        if outcome.kind == "pending":
            return f"Asked: another manager has to approve {version.version}. It waits under Approvals."
        return f"{version.version} is champion now."
    service = {"challenge": moves.challenge, "shadow": moves.shadow, "archive": moves.archive}[act.name]
    moved = service(**common)
    return f"{version.version} is {moved.status} now."


def _plan(act: Act, arena: Arena) -> ShadowPlan | None:
    """Before a shadow starts: how small a difference it would notice. At most three queries."""
    if act.target != VersionStatus.SHADOW or arena.chosen is None or arena.champion is None:
        return None
    return shadow_plan(arena.chosen, arena.champion, policy=arena.policy)


def _dangerous(act: Act, arena: Arena) -> bool:
    return act.dangerous or (act.name == "promote" and arena.gates_failed)


def _who_was_first(arena: Arena) -> str:
    move = last_move(arena.model)
    if move is None:
        return ""
    return f"Last, {move.actor} made {move.object_label} {move.target} at {move.occurred_at:%Y-%m-%d %H:%M} UTC."
