"""The page of one model: which version should serve?"""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from mlops.admin_site import page, principal_of, show
from mlops.moments import when
from mlops.tenancy.roles import Principal
from registry.models import DatasetVersion, ModelVersion
from registry.queries.arena_page import Arena, arena_of, moves_of, retrainings_of
from registry.queries.shadow import Shadow, shadow_of
from registry.queries.sides import Sides, sides_of
from registry.rules.policy import Policy
from registry.screens import charts
from registry.screens.places import address, linked
from registry.screens.verdicts import shown_verdict
from registry.screens.words import ACTS, Act, headline, possible
from registry.states import SHADOWED

BACKTEST_METRICS = (
    ("mae", "MAE", 1, "units", 3),
    ("wape", "WAPE", 100, "%", 1),
    ("bias_pct", "Bias", 1, "%", 1),
    ("coverage", "Coverage", 100, "%", 1),
    ("stockout_miss_rate", "Stock-out miss rate", 100, "%", 1),
    ("overstock_rate", "Overstock rate", 100, "%", 1),
)
TABLE_METRICS = {
    "regression": (("mae", "MAE", 1, "units of the target", 3), ("rmse", "RMSE", 1, "units of the target", 3), ("r2", "R²", 1, "", 3)),
    "classification": (
        ("log_loss", "Log loss", 1, "", 3),
        ("roc_auc", "ROC AUC", 1, "", 3),
        ("f1", "F1", 1, "", 3),
        ("accuracy", "Accuracy", 100, "%", 1),
    ),
}
"""Name, label, factor, unit and digits."""
FORECASTS_ALONE = ("Retrain", "Data source", "Send actuals")
"""Other models learn from splits, in studies, which measure them."""


@page("registry/registeredmodel/<uuid:pk>/", name="registry_model_page")
def model_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The arena, the evidence, the versions, and what happened so far."""
    principal = principal_of(request)
    arena = arena_of(pk, request.GET.get("version", "")[:64])
    sides = sides_of(arena)
    apart = bool(arena.forecasts and sides.champion and sides.chosen and not sides.comparable)
    moves = moves_of(arena.model)
    daily = charts.daily(sides, moves)
    shadow = shadow_for(arena.chosen, arena.champion, arena.policy)
    return show(
        request,
        "registry/model_page.html",
        title=str(arena.model),
        crumbs=[("Models", reverse("admin:registry_registeredmodel_changelist")), (str(arena.model), "")],
        charts=True,
        subject=f"model:{pk}",
        revision=arena.model.revision,
        arena=arena,
        model=arena.model,
        sentence=headline(arena),
        champion=sides.champion,
        chosen=sides.chosen,
        figures=_figures(arena.model.task, sides),
        run=next((side.run for side in (sides.chosen, sides.champion) if side and side.run), None),
        apart=apart,
        shown=shown_verdict(arena),
        daily=daily,
        daily_note=charts.daily_note(daily, *(["both versions on the same days"] if sides.comparable else [])),
        segments=charts.segments(sides, arena.policy.segment_tolerance_pct),
        errors=charts.errors(sides),
        errors_note=f"Forecast minus actual, one series and day each{', each version over its own backtest' if apart else ''}.",
        worst=charts.worst(sides),
        shadow=shadow,
        shadow_chart=charts.shadow_days(shadow, moves) if shadow else None,
        acts=_acts(arena, principal),
        extras=_extras(arena, principal),
        moves=moves,
        retrainings=retrainings_of(arena.model),
        lineage=_lineage(arena.chosen or arena.champion),
        audit_url=address("admin:audit_auditevent_changelist"),
    )


def shadow_for(version: ModelVersion | None, champion: ModelVersion | None, policy: Policy | None = None) -> Shadow | None:
    """The shadow evidence of a version that stands beside the champion; None without any. Two queries."""
    if version is None or champion is None or version.status not in SHADOWED:
        return None
    found = shadow_of(version, champion, policy=policy)
    return found if found.days else None


def _figures(task: str, sides: Sides) -> list[dict[str, Any]]:
    """Both sides in numbers: of the backtest, or of each version's own test part."""
    rows = []
    for name, label, factor, unit, digits in TABLE_METRICS.get(task, BACKTEST_METRICS):
        values = [side.metrics.get(f"test_{name}", side.metrics.get(name)) if side else None for side in (sides.champion, sides.chosen)]
        if any(value is not None for value in values):
            theirs, mine = (None if value is None else factor * value for value in values)
            rows.append({"label": label, "unit": unit, "digits": digits, "champion": theirs, "chosen": mine})
    return rows


def _acts(arena: Arena, principal: Principal) -> list[tuple[Act, str, bool]]:
    """What may be done with the chosen version: the act, its page, and whether it is the page's one primary button."""
    version = arena.chosen
    if version is None:
        return []
    open_to_it = [act for act in ACTS.values() if possible(act, version) and principal.may(act.action)]
    judged_well = bool(arena.verdict and arena.verdict.passed) or arena.first
    primary = next((act.name for act in open_to_it if act.name in (("promote", "rollback") if judged_well else ("judge", "rollback"))), "")
    return [
        (act, f"{reverse('admin:registry_decide', args=[version.pk, act.name])}?seen={arena.model.revision}", act.name == primary)
        for act in open_to_it
    ]


def _extras(arena: Arena, principal: Principal) -> list[tuple[str, str, str]]:
    """Buttons of the model itself: label, icon, address."""
    wanted = (
        ("Retrain", "model_training", "admin:experiments_retrain", "model.retrain"),
        ("Policy", "rule_settings", "admin:registry_policy", "model.configure"),
        ("Data source", "database", "admin:registry_data_source", "model.configure"),
        ("Settings", "tune", "admin:registry_settings", "model.configure"),
        ("Register a version", "add", "admin:registry_version_register", "version.register"),
        ("Send actuals", "fact_check", "admin:registry_actuals", "model.actuals"),
    )
    fitting = [one for one in wanted if arena.forecasts or one[0] not in FORECASTS_ALONE]
    found = [(label, icon, address(name, arena.model.pk)) for label, icon, name, action in fitting if principal.may(action)]
    shown = arena.chosen or arena.champion
    if shown is not None and shown.artifact_format == "tabular" and principal.may("model.predict"):
        found.insert(0, (f"Why {shown.version} answers so", "waterfall_chart", address("admin:experiments_importance", shown.pk)))
    return [entry for entry in found if entry[2]]


def _lineage(version: ModelVersion | None) -> list[tuple[str, Any]]:
    if version is None:
        return []
    data = version.dataset_version
    rows: list[tuple[str, Any]] = [
        ("Version", f"{version.version} — number {version.number} of the model"),
        ("Algorithm", version.algorithm),
        ("Trained on", _learned_from(data)),
        ("Trained through", when(version.trained_through, "day") if version.trained_through else None),
        ("Parent", version.parent.version if version.parent else None),
        ("Registered by", version.created_by),
        (
            "Artifact",
            f"{version.artifact_format}, sha256 {version.artifact_sha256}" if version.has_artifact else "none: it lives elsewhere",
        ),
    ]
    traced = version.lineage
    rows += [(name.replace("_", " ").capitalize(), _told(name, value)) for name, value in traced.items() if not _repeats(name, traced)]
    return [(name, value) for name, value in rows if value not in (None, "", {}, [])]


def _learned_from(data: DatasetVersion | None) -> Any:
    if data is None or not data.rows:
        return data
    return format_html("{} ({} rows, {} to {})", data, f"{data.rows:,}", when(data.first_day), when(data.last_day))


def _repeats(name: str, lineage: dict[str, Any]) -> bool:
    """Whether `split_id` and the like say what `split` says already."""
    return name.endswith("_id") and lineage.get(name.removesuffix("_id")) == lineage[name]


def _told(name: str, value: Any) -> str:
    return ", ".join(f"{part} {one}" for part, one in value.items()) if isinstance(value, dict) else linked(name, value)
