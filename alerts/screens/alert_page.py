"""One alert: its evidence, what approving would do, and the forms that answer it. Shown beside the list, and on a page of its own."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from alerts.models import MLAlert
from alerts.queries import find_alert, preview
from alerts.screens.forms import AnswerForm
from alerts.services import inbox
from alerts.states import AlertType, Decision
from mlops.admin_site import page, principal_of, show
from mlops.errors import DomainError
from mlops.lifecycle.mechanism import IllegalMove
from mlops.tenancy.roles import Forbidden, Principal
from registry.models import ModelVersion
from registry.queries.fates import fate_of
from registry.services.lookups import expect_revision

LONGEST_FACT = 200
MOST_SEGMENTS = 12


@dataclass(frozen=True)
class SegmentColumn:
    """A number of a segment: its key, heading, unit, the factor to that unit, and how it is written."""

    name: str
    label: str
    unit: str
    factor: int
    digits: int
    signed: bool = False


SEGMENT_COLUMNS = (
    SegmentColumn("mae_reference", "MAE before", "units", 1, 3),
    SegmentColumn("mae_recent", "MAE lately", "units", 1, 3),
    SegmentColumn("mae_change_pct", "Change", "%", 1, 1, signed=True),
    SegmentColumn("wape_recent", "WAPE lately", "%", 100, 1),
    SegmentColumn("p_value", "p", "", 1, 4),
)


@page("alerts/inbox/<uuid:pk>/", name="alerts_alert")
def alert_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The alert on a page of its own; an answer is posted here."""
    principal, alert = principal_of(request), find_alert(pk)
    principal.authorize("alert.read")
    refusal = ""
    if request.method == "POST":
        if not principal.may("alert.act"):
            raise PermissionDenied
        form = AnswerForm(request.POST)
        if form.is_valid():
            said, refusal = _answer(alert, form.cleaned_data, by=principal)
            if said:
                messages.success(request, said)
                return redirect(_back(request.POST))
            alert = find_alert(pk)
        else:
            refusal = " ".join(str(error) for errors in form.errors.values() for error in errors)
    parts = alert_parts(alert, principal, query="")
    parts |= {"refusal": refusal, "answer": request.POST.get("answer", ""), "reason": request.POST.get("reason", "")[:4000]}
    crumbs = [("Alerts", reverse("admin:alerts_inbox")), (alert.title, "")]
    live = {"subject": f"alert:{pk}", "revision": alert.revision}
    return show(request, "alerts/alert.html", title=alert.title, status=409 if refusal else 200, crumbs=crumbs, **live, **parts)


@page("alerts/inbox/<uuid:pk>/beside/", name="alerts_beside")
def beside(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The alert as it stands beside the list. Posted: the same, marked as read."""
    principal, alert = principal_of(request), find_alert(pk)
    principal.authorize("alert.read")
    if request.method == "POST" and alert.is_open:
        try:
            alert = inbox.mark_read(alert_id=pk, by=principal, at=timezone.now())
        except IllegalMove:  # somebody decided it in between: the page says who
            alert = find_alert(pk)
    return render(request, "alerts/_alert.html", alert_parts(alert, principal, query=_filters(request.GET), beside=True))


@page("alerts/inbox/<uuid:pk>/read/", name="alerts_read")
@require_POST
def read(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Mark the alert as read, and back to the list."""
    principal = principal_of(request)
    try:
        inbox.mark_read(alert_id=pk, by=principal, at=timezone.now())
    except IllegalMove:
        messages.info(request, "Somebody has decided this alert meanwhile.")
    return redirect(_back(request.POST, alert=pk))


def alert_parts(alert: MLAlert, principal: Principal, *, query: str, beside: bool = False) -> dict[str, Any]:
    """What the template of an alert shows. At most four queries; of a decided one, and of an experiment's, two more."""
    seen = preview(alert, by=principal)
    return {
        "alert": alert,
        "seen": seen,
        "facts": _facts(alert.details),
        "segments": _segments(alert.details.get("segments")),
        "look": _look_at(alert),
        "job_url": _job_url(alert),
        "fate": _fate(alert),
        "may_act": alert.is_open and principal.may("alert.act"),
        "principal": principal,
        "query": query,
        "beside": beside,
    }


def _answer(alert: MLAlert, given: dict[str, Any], *, by: Principal) -> tuple[str, str]:
    """What was done, or why not."""
    common: dict[str, Any] = {"alert_id": alert.pk, "by": by, "at": timezone.now(), "notes": given["reason"]}
    common["if_match"] = expect_revision(given["revision"], "alert")
    try:
        if given["answer"] == Decision.DISMISS:
            done = inbox.dismiss(**common)
            return f"Dismissed: {done.title}.", ""
        done = inbox.approve(**common)
    except inbox.AlreadyDecided as late:
        at = late.alert.decided_at
        return "", f"{late} Your answer changed nothing.{f' That was at {at:%Y-%m-%d %H:%M} UTC.' if at else ''}"
    except (Forbidden, DomainError) as refusal:
        return "", f"{refusal} Nothing was done."
    return f"Approved: {done.title}. {came_of(done)}".strip(), ""


def came_of(alert: MLAlert) -> str:
    """What approving it did, in one sentence."""
    outcome = alert.outcome
    if outcome.get("retraining_id"):
        return f"{alert.model_name} is being retrained; the overview shows the progress."
    if outcome.get("outcome") == "pending":
        return f"Another manager has to approve {outcome.get('version')}: it waits under Approvals."
    if outcome.get("outcome") == "promoted":
        return f"{outcome.get('version')} is champion now."
    return ""


def _filters(given: QueryDict) -> str:
    """The list's filters as a query, without what names one alert."""
    kept = given.copy()
    for name in ("alert", "csrfmiddlewaretoken"):
        kept.pop(name, None)
    return kept.urlencode()


def _back(posted: QueryDict, alert: UUID | None = None) -> str:
    """The page the answer was given on: the approvals, or the list with its filters."""
    if posted.get("back") == "approvals":
        return reverse("admin:registry_approvals")
    kept = QueryDict(posted.get("query", "")[:1000], mutable=True)
    if alert:
        kept["alert"] = str(alert)
    return f"{reverse('admin:alerts_inbox')}?{kept.urlencode()}"


def _look_at(alert: MLAlert) -> str:
    """Where the evidence is, for people: an experiment's page rather than its results as the API answers them."""
    experiment = alert.details.get("experiment_id")
    if experiment:
        try:
            return reverse("admin:experiments_page", args=[UUID(str(experiment))])
        except ValueError:
            return ""
    return alert.action_url


def _fate(alert: MLAlert) -> str:
    """What became of the version that a decided promotion, or an experiment, is about: the title was written when nobody knew."""
    settled = alert.alert_type == AlertType.EXPERIMENT_COMPLETE or (alert.alert_type == AlertType.PROMOTION_PENDING and not alert.is_open)
    version = ModelVersion.objects.filter(model_name=alert.model_name, version=alert.version).first() if settled else None
    return fate_of(version, since=alert.created_at) if version else ""


def _job_url(alert: MLAlert) -> str:
    job = alert.outcome.get("job_id")
    return reverse("admin:jobs_job_change", args=[job]) if job else ""


def _facts(details: dict[str, Any]) -> list[tuple[str, str]]:
    """The evidence's single values, without ids, which tell people nothing."""
    return [
        (name.replace("_", " ").capitalize(), f"{value:.4g}" if isinstance(value, float) else str(value)[:LONGEST_FACT])
        for name, value in details.items()
        if not name.endswith("_id") and isinstance(value, str | int | float) and value != ""
    ]


def _segments(found: Any) -> dict[str, Any] | None:
    """The segments a drift names, each with the numbers that were measured of it, in the units people read."""
    rows = [row for row in found if isinstance(row, dict)][:MOST_SEGMENTS] if isinstance(found, list) else []
    columns = [column for column in SEGMENT_COLUMNS if any(isinstance(row.get(column.name), int | float) for row in rows)]
    if not columns:
        return None
    return {
        "columns": columns,
        "rows": [
            {
                "name": row.get("value") or "overall",
                "column": row.get("column", "") if row.get("value") else "",
                "cells": [_cell(row, column) for column in columns],
            }
            for row in rows
        ],
        "all": len(found),
    }


def _cell(row: dict[str, Any], column: SegmentColumn) -> tuple[float | None, SegmentColumn]:
    value = row.get(column.name)
    return (value * column.factor if isinstance(value, int | float) else None), column
