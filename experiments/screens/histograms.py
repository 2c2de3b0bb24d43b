"""The columns of a profile as a page shows them: a small histogram each, and the same in words for who cannot see it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 160.0, 36.0
SHOWN_VALUES = 6


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram in its box of WIDTH × HEIGHT; `title` says what it counts."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class ColumnShown:
    """One column of a split. Numbers are of all rows, unless `sampled` says of how many."""

    name: str
    kind: str
    role: str
    missing: int
    missing_share: float
    distinct: int
    distinct_is_exact: bool
    sampled: int | None
    low: Any
    middle: Any
    high: Any
    digits: int
    bars: tuple[Bar, ...]
    said: str


def columns_of(profile: Iterable[Mapping[str, Any]], roles: Mapping[str, str]) -> list[ColumnShown]:
    """The target first, then the columns with a role, then the features in the order of the file, then what is not used."""
    order = {"target": 0, "time": 1, "entity": 2, "feature": 3, "not used": 4}
    shown = [_column(entry, roles.get(entry["name"], "not used")) for entry in profile]
    return sorted(shown, key=lambda column: order[column.role])


def _column(entry: Mapping[str, Any], role: str) -> ColumnShown:
    counted = _counted(entry)
    quantiles = entry.get("quantiles") or {}
    return ColumnShown(
        name=entry["name"],
        kind=entry["kind"],
        role=role,
        missing=entry["missing"],
        missing_share=entry["missing_share"],
        distinct=entry["distinct"],
        distinct_is_exact=entry["distinct_is_exact"],
        sampled=entry["sampled"],
        low=entry.get("min"),
        middle=quantiles.get("0.5"),
        high=entry.get("max"),
        digits=0 if str(entry.get("dtype", "")).startswith(("Int", "UInt")) else 2,
        bars=_bars(counted),
        said=_said(entry, counted),
    )


def _counted(entry: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What each bar counts: a bin of a number or moment, or one of the most frequent values."""
    if entry.get("top"):
        return [(str(one["value"]), one["count"]) for one in entry["top"]]
    histogram = entry.get("histogram")
    if not histogram:
        return []
    edges, counts = histogram["edges"], histogram["counts"]
    return [(f"{_short(low)} to {_short(high)}", count) for low, high, count in zip(edges, edges[1:], counts, strict=False)]


def _bars(counted: Sequence[tuple[str, int]]) -> tuple[Bar, ...]:
    most = max((count for _, count in counted), default=0)
    if not most:
        return ()
    step = WIDTH / len(counted)
    gap = 1.0 if len(counted) > 1 else 0.0
    return tuple(
        Bar(place * step, HEIGHT - height, step - gap, height, f"{label}: {count:,} rows")
        for place, (label, count) in enumerate(counted)
        if (height := max(HEIGHT * count / most, 1.0 if count else 0.0))
    )


def _said(entry: Mapping[str, Any], counted: Sequence[tuple[str, int]]) -> str:
    if not counted:
        return f"{entry['name']}: no histogram"
    if entry.get("top"):
        listed = ", ".join(f"{label} {count:,}" for label, count in counted[:SHOWN_VALUES])
        return f"{entry['name']}, most frequent values by rows: {listed}"
    label, count = max(counted, key=lambda one: one[1])
    reach = f"{_short(entry.get('min'))} to {_short(entry.get('max'))}"
    return f"{entry['name']}, {len(counted)} bins from {reach}; most rows, {count:,}, at {label}"


def _short(value: Any) -> str:
    """An edge as people read it: days without their midnight, numbers with four digits that count."""
    if isinstance(value, str):
        return value[:10]
    if isinstance(value, int | float) and math.isfinite(value):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    return "–"
