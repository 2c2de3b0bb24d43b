"""The numbers behind an experiment's chart, as the browser's script wants them."""

from collections.abc import Iterable
from typing import Any

from experiments.queries.results import Outcome
from mlops.lifecycle.models import Move
from registry.screens.charts import promotion_marks
from registry.templatetags.tiltyard import swatch


def daily(outcome: Outcome, moves: Iterable[Move]) -> dict[str, Any] | None:
    """MAE per day of both sides, with the promotions of the window marked; None while nothing can be compared."""
    found, baseline, experimental = outcome.comparison, outcome.baseline, outcome.experimental
    if found is None or baseline is None or experimental is None:
        return None
    sides = ((baseline, [day.baseline for day in found.days]), (experimental, [day.experimental for day in found.days]))
    return {
        "days": [day.date.isoformat() for day in found.days],
        "metrics": [{"name": "mae", "label": "MAE", "unit": "units", "digits": 3, "zero": True, "nominal": None}],
        "versions": [{"label": one.version, "color": swatch(one.number), "values": {"mae": values}} for one, values in sides],
        "marks": promotion_marks(moves, found.days[0].date, found.days[-1].date),
    }
