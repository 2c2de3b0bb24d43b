"""Why a version answers as it does: the features it goes by, and for one row what each of them adds."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from experiments.screens.row_form import RowForm
from experiments.services.predicting import Answered, Selector, explain, predict
from mlops.admin_site import page, principal_of, show
from mlops.database.reading import reading
from mlops.errors import DomainError, InvalidFields
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.screens.places import model_page_of

SHOWN_FEATURES = 30
SHOWN_STEPS = 12
METHODS = {
    "shap_native": "TreeSHAP by the booster itself",
    "shap_tree": "TreeSHAP",
    "linear_exact": "the exact contributions of a linear model",
    "native": "the library's own measure",
}
LINKS = {
    "identity": "in the unit of the target",
    "log": "logarithm of the prediction",
    "logit": "log-odds",
    "softmax": "score before the softmax",
    "share": "probability",
}


@transaction.non_atomic_requests
@page("training/importance/<uuid:pk>/", name="experiments_importance", action="model.predict")
def importance(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The features by their weight; a posted row is predicted and explained beside them. A model may be loaded for it, so no transaction
    is open meanwhile."""
    principal = principal_of(request)
    principal.authorize("model.predict")
    with reading():
        version = ModelVersion.objects.select_related("model").filter(pk=pk, deleted_at=None).first()
    if version is None or version.artifact_format != "tabular":
        raise Http404("Only models of tables explain their answers.")
    form = RowForm(request.POST or None, version=version)
    overall, refusal = _overall(pk, principal)
    row = _explained(pk, form, principal) if request.method == "POST" and form.is_valid() and overall else None
    with reading():
        return show(
            request,
            "experiments/importance.html",
            title=f"Why {version.model_name} {version.version} answers so",
            crumbs=_crumbs(version),
            charts=True,
            version=version,
            sentence=_sentence(version, overall) if overall else refusal,
            refusal=refusal,
            method=METHODS.get(overall.answer["method"], "") if overall else "",
            importances=_bars(overall) if overall else None,
            form=form,
            row=row,
        )


def _overall(pk: UUID, by: Principal) -> tuple[Answered | None, str]:
    """What the model goes by, or why it does not say."""
    try:
        return explain(selector=Selector(model_id=pk), instances=[], by=by), ""
    except DomainError as refusal:
        return None, str(refusal)


def _explained(pk: UUID, form: RowForm, by: Principal) -> dict[str, Any] | None:
    """The answer for the row of the form, and its waterfall; None where the row was refused, which the form then says."""
    record = form.record()
    try:
        asked: dict[str, Any] = {"selector": Selector(model_id=pk), "instances": [record], "by": by}
        found, told = explain(**asked), predict(**asked)
    except InvalidFields as refused:
        for error in refused.errors:
            form.refuse(error["field"].removeprefix("instances[0].").removeprefix("instances."), error["message"])
        return None
    except DomainError as refusal:
        form.add_error(None, str(refusal))
        return None
    return _row(found, told, record)


def _row(found: Answered, told: Answered, record: dict[str, Any]) -> dict[str, Any]:
    one = found.answer["explanations"][0]
    probabilities = told.answer["probabilities"]
    ordered = sorted(one["values"].items(), key=lambda entry: -abs(entry[1]))
    unit = LINKS.get(one["link"], one["link"])
    told_unit = f"{unit} of {one['label']}" if one["label"] is not None else unit
    return {
        "prediction": f"{_said(told.answer['predictions'][0])} {told.answer.get('unit', '')}".strip(),
        "probabilities": sorted(probabilities[0].items(), key=lambda entry: -entry[1])[:5] if probabilities else [],
        "notes": told.answer["notes"],
        "raw": one["raw"],
        "unit": told_unit,
        "largest": ordered[0] if ordered else None,
        "chart": {"unit": told_unit, "steps": _steps(one["base_value"], ordered, one["raw"], record)},
    }


def _steps(base: float, ordered: list[tuple[str, float]], raw: float, record: dict[str, Any]) -> list[dict[str, Any]]:
    """From the average answer to this one, the largest contributions first, the small rest together."""
    steps: list[dict[str, Any]] = [{"label": "average answer", "from": base, "to": base, "total": True}]
    at = base
    shown = ordered if len(ordered) <= SHOWN_STEPS else ordered[: SHOWN_STEPS - 1]
    for name, value in shown:
        steps.append({"label": f"{name} = {_said(record.get(name))}", "from": at, "to": at + value, "total": False})
        at += value
    if len(shown) < len(ordered):
        rest = sum(value for _, value in ordered[len(shown) :])
        steps.append({"label": f"{len(ordered) - len(shown)} other features", "from": at, "to": at + rest, "total": False})
    steps.append({"label": "this row", "from": raw, "to": raw, "total": True})
    return steps


def _said(value: Any) -> str:
    """A feature's value or an answer, with six digits that count."""
    if value is None:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _bars(overall: Answered) -> dict[str, Any]:
    found = overall.answer["importances"]
    unit = (
        "share of the library's own importance (%)"
        if overall.answer["method"] == "native"
        else "share of the mean absolute contribution (%)"
    )
    return {"shown": found[:SHOWN_FEATURES], "all": found, "unit": unit}


def _sentence(version: ModelVersion, overall: Answered) -> str:
    found = [one for one in overall.answer["importances"] if one["importance"] > 0]
    if not found:
        return f"{version.version} goes by none of its features: it answers everybody the same."
    first = f"{version.version} goes by {found[0]['feature']} most ({100 * found[0]['importance']:.0f} %)"
    rest = " and ".join(f"{one['feature']} ({100 * one['importance']:.0f} %)" for one in found[1:3])
    unused = len(overall.answer["importances"]) - len(found)
    left = f"; it does not use {unused} of its {len(overall.answer['importances'])} features" if unused else ""
    return first + (f", then {rest}" if rest else "") + left + "."


def _crumbs(version: ModelVersion) -> list[tuple[str, str]]:
    return [
        ("Models", reverse("admin:registry_registeredmodel_changelist")),
        (str(version.model), model_page_of(version)),
        (f"Why {version.version} answers so", ""),
    ]
