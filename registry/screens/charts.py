"""The numbers behind each chart, as the browser's script wants them: series with version, color, unit, and the moments to mark."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from mlops.lifecycle.models import Move
from registry.queries.shadow import Shadow
from registry.queries.sides import Side, Sides
from registry.states import VersionStatus
from registry.templatetags.tiltyard import swatch

DAILY = (
    ("mae", "MAE", "units", 1, 3, True),
    ("wape", "WAPE", "%", 100, 1, True),
    ("bias_pct", "Bias", "% of demand", 1, 1, False),
    ("coverage", "Interval coverage", "%", 100, 1, False),
)
"""Metric, label, unit, factor to that unit, digits, whether less is better and the axis starts at zero."""


def daily(sides: Sides, moves: Iterable[Move]) -> dict[str, Any] | None:
    """Errors per day of both sides, with the promotions of the window marked."""
    shown = [side for side in (sides.champion, sides.chosen) if side and side.days]
    if not shown:
        return None
    days = sorted({row["forecast_date"] for side in shown for row in side.days})
    values = [_values(side, days) for side in shown]
    return {
        "days": [day.isoformat() for day in days],
        "metrics": [
            {"name": name, "label": label, "unit": unit, "digits": digits, "zero": zero, "nominal": 90 if name == "coverage" else None}
            for name, label, unit, _, digits, zero in DAILY
        ],
        "versions": [
            {"label": side.version.version, "color": swatch(side.version.number), **found}
            for side, found in zip(shown, values, strict=True)
        ],
        "marks": promotion_marks(moves, days[0], days[-1]),
    }


def daily_note(data: dict[str, Any] | None, *facts: str) -> str:
    """The line beside a chart of days: what holds of it, and that promotions are marked where one is."""
    said = "; ".join([*facts, *(["promotions are marked"] if data and data["marks"] else [])])
    return f"{said[0].upper()}{said[1:]}." if said else ""


def promotion_marks(moves: Iterable[Move], first: date, last: date) -> list[dict[str, str]]:
    """The promotions between two days, as the time axes mark them."""
    found = [one for one in moves if one.target == VersionStatus.CHAMPION and first <= one.occurred_at.date() <= last]
    return [{"day": one.occurred_at.date().isoformat(), "label": f"{one.object_label.rsplit(' ', 1)[-1]} promoted"} for one in found]


def _values(side: Side, days: Sequence[Any]) -> dict[str, Any]:
    rows = {row["forecast_date"]: row for row in side.days}
    return {
        "values": {name: [_scaled(rows[day][name], factor) if day in rows else None for day in days] for name, _, _, factor, _, _ in DAILY}
    }


def shadow_days(shadow: Shadow, moves: Iterable[Move]) -> dict[str, Any]:
    """MAE per day of a version in shadow and of the champion, with the promotions of the window marked."""
    sides = (
        (shadow.champion, [day.champion_mae for day in shadow.days]),
        (shadow.version, [day.mae for day in shadow.days]),
    )
    return {
        "days": [one.day.isoformat() for one in shadow.days],
        "metrics": [{"name": "mae", "label": "MAE", "unit": "units", "digits": 3, "zero": True, "nominal": None}],
        "versions": [{"label": one.version, "color": swatch(one.number), "values": {"mae": values}} for one, values in sides],
        "marks": promotion_marks(moves, shadow.days[0].day, shadow.days[-1].day),
    }


def segments(sides: Sides, tolerance_pct: float) -> dict[str, Any] | None:
    """Per segment column: the MAE of both sides and the change in percent, worst first; None where they cannot be compared."""
    champion, chosen = sides.champion, sides.chosen
    if not (sides.comparable and champion and chosen and champion.run and chosen.run):
        return None
    columns = []
    for column, theirs in champion.run.by_segment.items():
        mine = chosen.run.by_segment.get(column, {})
        rows = [_segment(name, mine.get(name, {}).get("mae"), values.get("mae"), values.get("n")) for name, values in theirs.items()]
        rows.sort(key=lambda row: -(row["change"] if row["change"] is not None else -1e9))
        columns.append({"name": column, "rows": rows[:40], "all": len(rows)})
    if not columns:
        return None
    return {"columns": columns, "tolerance": tolerance_pct, "candidate": _named(chosen), "champion": _named(champion)}


def _segment(name: str, mine: float | None, theirs: float | None, sample: int | None) -> dict[str, Any]:
    change = 100 * (mine / theirs - 1) if mine is not None and theirs else None
    return {"name": name or "(empty)", "candidate": mine, "champion": theirs, "change": change, "n": sample}


def errors(sides: Sides) -> dict[str, Any] | None:
    """The distribution of single errors: the share of series-days per bin."""
    found = []
    for side in (sides.champion, sides.chosen):
        histogram = side.run.error_histogram if side and side.run else {}
        counts, edges = histogram.get("counts", []), histogram.get("edges", [])
        total = sum(counts)
        if side and total and len(edges) == len(counts) + 1:
            width = edges[1] - edges[0]
            shares = [100 * count / total / width for count in counts]
            found.append({**_named(side), "edges": edges, "shares": shares, "counts": counts})
    return {"versions": found} if found else None


def worst(sides: Sides) -> dict[str, Any] | None:
    """The series with the largest errors of the version that is looked at, beside the champion's where they can be compared and it lists
    them too."""
    champion, chosen = sides.champion, sides.chosen
    side = chosen if chosen and chosen.run and chosen.run.worst_series else champion
    if side is None or side.run is None or not side.run.worst_series:
        return None
    keys = [name for name, value in side.run.worst_series[0].items() if isinstance(value, str)]
    compared = sides.comparable and side is not champion
    others = champion.run.worst_series if compared and champion and champion.run else []
    beside = {tuple(row.get(key) for key in keys): row for row in others}
    rows = [
        {"keys": [row.get(key) for key in keys], "row": row, "champion": beside.get(tuple(row.get(key) for key in keys))}
        for row in side.run.worst_series[:10]
    ]
    return {"keys": keys, "rows": rows, "version": side.version, "compared": compared}


def _named(side: Side) -> dict[str, Any]:
    return {"label": side.version.version, "color": swatch(side.version.number)}


def _scaled(value: float | None, factor: int) -> float | None:
    return None if value is None else value * factor
