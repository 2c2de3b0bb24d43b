"""The page of one experiment: what it is about, what came of it, who said what; and the forms behind its buttons."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from experiments.models import Experiment
from experiments.queries.experiments import comments_of, last_move, moves_of, versions_of
from experiments.queries.results import Outcome, outcome_of
from experiments.screens import charts
from experiments.screens.forms import ActForm, CommentForm, EditForm
from experiments.screens.words import ACTS, Act, consequences, headline
from experiments.services import concluding, deciding, proposing, running
from experiments.services.finding import find_experiment
from experiments.states import UNBEGUN, ExperimentStatus
from mlops.admin_site import keep_typed, page, principal_of, show
from mlops.errors import DomainError, InvalidField, Stale
from mlops.lifecycle.mechanism import IllegalMove
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.queries.arena_page import promotions_of
from registry.queries.fates import fate_of
from registry.queries.shadow_plan import ShadowPlan, shadow_plan
from registry.rules.policy import parse
from registry.screens.charts import daily_note, shadow_days
from registry.screens.model_page import shadow_for
from registry.services.lookups import expect_revision

SHOWN_COMMENTS = 200
REFUSALS = (DomainError, IllegalMove)
FIELDS = {"rationale": "reason", "decision_rationale": "reason", "experimental_version": "version"}
"""Where the form asks for what a service calls by another name."""


@page("experiments/experiment/<uuid:pk>/", name="experiments_page")
def experiment_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Hypothesis, results, versions, steps, discussion; a comment is posted here."""
    principal, experiment = principal_of(request), find_experiment(pk)
    form = CommentForm(request.POST or None)
    if request.method == "POST":
        if not principal.may("experiment.comment"):
            raise PermissionDenied
        if form.is_valid():
            proposing.comment(experiment_id=pk, body=form.cleaned_data["body"], by=principal, at=timezone.now())
            return redirect(f"{reverse('admin:experiments_page', args=[pk])}#discussion")
    outcome = outcome_of(experiment)
    policy = parse(experiment.model.policy) if experiment.model else None
    shadow = shadow_for(outcome.experimental, outcome.baseline, policy)
    promotions = promotions_of(experiment.model_id) if experiment.model_id and (outcome.comparison or shadow) else []
    daily = charts.daily(outcome, promotions)
    return show(
        request,
        "experiments/experiment_page.html",
        title=str(experiment),
        crumbs=_crumbs(experiment, ""),
        charts=True,
        subject=f"experiment:{pk}",
        revision=experiment.revision,
        experiment=experiment,
        outcome=outcome,
        sentence=headline(experiment, outcome),
        fate=_fate(experiment),
        skipped=concluding.SKIPPED,
        daily=daily,
        daily_note=daily_note(daily, "both versions on the same days", "lower is better"),
        shadow=shadow,
        shadow_chart=shadow_days(shadow, promotions) if shadow else None,
        acts=_acts(experiment, principal),
        own=_own(experiment, principal),
        may_edit=experiment.status in UNBEGUN and principal.may("experiment.propose"),
        versions=versions_of(experiment),
        moves=moves_of(experiment),
        comments=list(comments_of(experiment)[:SHOWN_COMMENTS]),
        may_comment=principal.may("experiment.comment"),
        form=form,
    )


@page("experiments/experiment/<uuid:pk>/edit/", name="experiments_edit")
def edit(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The proposal's form again."""
    principal, experiment = principal_of(request), find_experiment(pk)
    principal.authorize("experiment.propose")
    shown = ("experiment_name", "hypothesis", "experiment_type", "model", "revision")
    form = EditForm(request.POST or None, initial={name: getattr(experiment, name) for name in shown})
    if request.method == "POST" and form.is_valid():
        changes = dict(form.cleaned_data)
        seen = expect_revision(changes.pop("revision"), "experiment")
        try:
            after = proposing.edit(experiment_id=pk, changes=changes, by=principal, at=timezone.now(), if_match=seen)
        except Stale as stale:
            keep_typed(form, stale, revision=experiment.revision)
        except REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"{after} is changed and stands as {after.get_status_display().lower()}.")
            return redirect("admin:experiments_page", pk)
    text = "Whoever edits a proposal cannot approve it any more."
    if experiment.status == ExperimentStatus.APPROVED:
        text = f"Editing revokes the approval by {experiment.approved_by}: another manager has to approve the new text."
    title = f"Edit {experiment}"
    return show(request, "registry/form.html", title=title, crumbs=_crumbs(experiment, "Edit"), form=form, text=text, button="Save")


@page("experiments/experiment/<uuid:pk>/act/<slug:name>/", name="experiments_act")
def decide(request: HttpRequest, pk: UUID, name: str) -> HttpResponse:
    """Show what the act will do beside the evidence; on POST, do it, unless the experiment changed since the page was opened."""
    act, principal = ACTS.get(name), principal_of(request)
    if act is None:
        raise Http404
    if not principal.may(act.action):
        raise PermissionDenied
    experiment = find_experiment(pk)
    outcome, refusal = outcome_of(experiment), ""
    form = ActForm(request.POST or None, act=act, experiment=experiment, outcome=outcome, initial={"revision": experiment.revision})
    if request.method == "POST" and form.is_valid():
        try:
            said = _do(act, experiment, form, by=principal, at=timezone.now())
        except InvalidField as wrong:
            field = FIELDS.get(wrong.field, wrong.field.removeprefix("results."))
            form.add_error(field if field in form.fields else None, str(wrong))
        except REFUSALS as why:
            refusal = f"{why} {_who_was_first(experiment)}" if isinstance(why, Stale | IllegalMove) else str(why)
            form.data = {**form.data.dict(), "revision": find_experiment(pk).revision}  # type: ignore[attr-defined]  # a POST's
        else:
            messages.success(request, said)
            if request.POST.get("back") == "approvals":
                return redirect("admin:registry_approvals")
            return redirect("admin:experiments_page", pk)
    elif request.method == "GET" and not act.possible(experiment.status):
        refusal = f"It is {experiment.get_status_display().lower()} now. {_who_was_first(experiment)}"
    return show(
        request,
        "experiments/act.html",
        title=f"{act.label}: {experiment}",
        status=409 if refusal else 200,
        crumbs=_crumbs(experiment, act.label),
        subject=f"experiment:{pk}",
        revision=experiment.revision,
        act=act,
        experiment=experiment,
        outcome=outcome,
        sentence=headline(experiment, outcome),
        consequences=consequences(act, experiment),
        own=_own(experiment, principal) if act.name == "approve" else "",
        plan=_plan(act, outcome),
        form=form,
        refusal=refusal,
    )


def _do(act: Act, experiment: Experiment, form: ActForm, *, by: Principal, at: datetime) -> str:
    """Call the act's service; what it did, in one sentence."""
    given = form.cleaned_data
    seen = expect_revision(given["revision"], "experiment")
    common: dict[str, Any] = {"experiment_id": experiment.pk, "by": by, "at": at, "if_match": seen}
    reason = given["reason"]
    match act.name:
        case "approve":
            after = deciding.approve(**common, rationale=reason)
        case "reject":
            after = deciding.reject(**common, rationale=reason)
        case "start":
            after = running.start(**common, reason=reason)
        case "shadow-test":
            after = running.shadow_test(**common, reason=reason, version=_version(given["version"]))
        case "rollback":
            after = running.roll_back(**common, rationale=reason)
        case _:
            version = _version(given["version"])
            ended = concluding.complete(
                **common, decision=given["decision"], decision_rationale=reason, results=form.results, version=version
            )
            return f"{ended.experiment} is completed. {ended.said}".strip()
    return f"{after} is {after.get_status_display().lower()} now."


def _fate(experiment: Experiment) -> str:
    """What became of the version that it was completed with."""
    version, ended = experiment.experimental_version, experiment.closed_at
    if experiment.status != ExperimentStatus.COMPLETED or version is None or ended is None:
        return ""
    return fate_of(version, since=ended)


def _plan(act: Act, outcome: Outcome) -> ShadowPlan | None:
    """Before the shadow test of a version that is known: how small a difference it would notice. At most three queries."""
    if act.target != ExperimentStatus.SHADOW_TESTING or outcome.experimental is None or outcome.baseline is None:
        return None
    return shadow_plan(outcome.experimental, outcome.baseline)


def _version(identifier: str) -> ModelVersion | None:
    return ModelVersion.objects.filter(pk=identifier).first() if identifier else None


def _acts(experiment: Experiment, principal: Principal) -> list[tuple[Act, str, bool]]:
    """What may be done now: the act, its page, and whether it is the page's one primary button."""
    possible = [act for act in ACTS.values() if act.possible(experiment.status) and principal.may(act.action)]
    if _own(experiment, principal):
        possible = [act for act in possible if act.name != "approve"]
    primary = next((act.name for act in possible if not act.dangerous), "")
    return [(act, reverse("admin:experiments_act", args=[experiment.pk, act.name]), act.name == primary) for act in possible]


def _own(experiment: Experiment, principal: Principal) -> str:
    """Why the viewer cannot approve; empty where they could."""
    if experiment.status == ExperimentStatus.PROPOSED and deciding.proposed_by(experiment, principal):
        return "You proposed or edited this yourself: another manager has to approve it."
    return ""


def _who_was_first(experiment: Experiment) -> str:
    made = last_move(experiment)
    return f"{made.actor} made it {made.target.replace('_', ' ')} at {made.occurred_at:%Y-%m-%d %H:%M} UTC." if made else ""


def _crumbs(experiment: Experiment, last: str) -> list[tuple[str, str]]:
    start = [("Experiments", reverse("admin:experiments_board"))]
    if not last:
        return [*start, (str(experiment), "")]
    return [*start, (str(experiment), reverse("admin:experiments_page", args=[experiment.pk])), (last, "")]
