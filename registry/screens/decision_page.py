"""The page of one decision record: what was decided, by whom, and gate by gate what it rested on."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from mlops.admin_site import page, show
from registry.models import DecisionRecord
from registry.queries.requests import find_decision, request_of
from registry.screens.places import linked, model_page_of
from registry.screens.verdicts import rested_on


@page("registry/decisionrecord/<uuid:pk>/", name="registry_decision")
def decision_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What an auditor asks of one decision."""
    record = find_decision(pk)
    if record is None:
        raise Http404
    return show(
        request,
        "registry/decision_page.html",
        title=str(record),
        crumbs=[("Decisions", reverse("admin:registry_decisionrecord_changelist")), (str(record), "")],
        record=record,
        asked=request_of(record),
        shown=rested_on(record.verdict),
        grounds=_grounds(record),
        model_url=model_page_of(record.version),
    )


def _grounds(record: DecisionRecord) -> list[tuple[str, Any]]:
    """What it rested on: a link where that has a page, the days in shadow in words."""
    return [(name.replace("_", " ").capitalize(), _ground(name, value)) for name, value in record.rests_on.items()]


def _ground(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        return linked(name, value)
    sums = f"MAE {value['mae']:.3f} against {value['champion_mae']:.3f}"
    return f"{len(value['ids'])} days ({value['first_day']} to {value['last_day']}), {value['pairs']:,} pairs; {sums}"
