"""How numbers, moments, versions and statuses are written on every screen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlops.moments import when

register = template.Library()
register.simple_tag(when)

SWATCHES = 10
"""Colors of versions in the stylesheet; a version has the one of its number on every screen."""

STATUS_ICONS = {
    "candidate": "egg",
    "shadow": "contrast",
    "challenger": "swords",
    "champion": "trophy",
    "deprecated": "history",
    "archived": "inventory_2",
    "pending": "hourglass_top",
    "proposed": "lightbulb",
    "in_progress": "science",
    "shadow_testing": "contrast",
    "rolled_back": "undo",
    "approved": "check_circle",
    "rejected": "cancel",
    "overtaken": "fast_forward",
    "queued": "schedule",
    "running": "progress_activity",
    "succeeded": "check_circle",
    "completed": "check_circle",
    "failed": "error",
    "cancelled": "block",
    "received": "downloading",
    "ready": "check_circle",
    "passed": "check_circle",
    "delivered": "check_circle",
    "dead": "error",
    "no input": "help",
    "critical": "e911_emergency",
    "warning": "warning",
    "info": "info",
}
TONES = {
    "champion": "good",
    "approved": "good",
    "succeeded": "good",
    "completed": "good",
    "ready": "good",
    "passed": "good",
    "delivered": "good",
    "dead": "bad",
    "proposed": "warn",
    "in_progress": "info",
    "shadow_testing": "info",
    "challenger": "info",
    "running": "info",
    "pending": "warn",
    "received": "info",
    "no input": "warn",
    "failed": "bad",
    "rejected": "bad",
    "critical": "bad",
    "warning": "warn",
    "info": "info",
}


@register.simple_tag
def num(value: float | None, digits: int = 2, unit: str = "", signed: bool = False) -> SafeString:
    """A number that the browser may write anew, in English as the page is; an en dash for an absent one."""
    if not isinstance(value, int | float):  # None, or the empty text that Django makes of a look-up that leads nowhere
        return SafeString('<span class="ty-none" title="no value">–</span>')
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    return format_html(
        '<span class="ty-num" data-value="{}" data-digits="{}"{}>{}</span>{}',
        repr(float(value)),
        digits,
        SafeString(' data-signed="1"') if signed else "",
        text.replace("-", "−"),
        format_html('<span class="ty-unit">{}{}</span>', "" if unit == "%" else "\u202f", unit) if unit else "",
    )


@register.simple_tag
def percent(fraction: float | None, digits: int = 1) -> SafeString:
    """A fraction of one as percent."""
    return num(None if fraction is None else 100 * fraction, digits, "%")


@register.simple_tag
def version(one: Any, url: str = "") -> SafeString:
    """A version's label beside its color."""
    if one is None:
        return SafeString('<span class="ty-none">none</span>')
    inner = format_html('<span class="ty-swatch ty-c{}" aria-hidden="true"></span>{}', swatch(one.number), one.version)
    return (
        format_html('<a class="ty-version" href="{}">{}</a>', url, inner)
        if url
        else format_html('<span class="ty-version">{}</span>', inner)
    )


@register.simple_tag
def status(name: str, label: str = "") -> SafeString:
    """A status as icon and word."""
    return format_html(
        '<span class="ty-status ty-{}">{}{}</span>',
        TONES.get(name, "plain"),
        icon(STATUS_ICONS.get(name, "circle")),
        label or name.replace("_", " ").capitalize(),
    )


@register.simple_tag
def icon(name: str) -> SafeString:
    """A decorative icon of the theme's font; the word stands beside it."""
    return format_html('<span class="material-symbols-outlined ty-icon" aria-hidden="true">{}</span>', name)


@register.filter
def day(value: Any) -> Any:
    """A day that a document holds as ISO text, or that of a moment, as days are written everywhere; whatever else it is stays as it is."""
    if value is None:
        return when(None)
    try:
        return when(date.fromisoformat(str(value)[:10]))
    except ValueError:
        return value


@register.filter
def swatch(number: int) -> int:
    """Which color a version's number has."""
    return number % SWATCHES


@register.filter
def words(name: str) -> str:
    """A status in the words of a sentence: `in_progress` is in progress."""
    return name.replace("_", " ")


@register.filter
def file_words(source: dict[str, Any]) -> str:
    """How a data set's files are written, as its report has it: CSV, utf-8, columns divided by a semicolon."""
    signs = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
    divided, files = source.get("delimiter"), source.get("files", 1)
    found = [
        {"csv": "CSV", "parquet": "Parquet"}.get(source.get("format", ""), source.get("format", "")),
        f"{files} files" if files != 1 else "",
        source.get("encoding") or "",
        f"columns divided by {signs.get(divided, divided)}" if divided else "",
        "compressed" if source.get("compressed") else "",
        f"days written as {source['date_format']}" if source.get("date_format") else "",
    ]
    return ", ".join(one for one in found if one)


@register.filter
def may(principal: Any, action: str) -> bool:
    """Whether the principal may do this."""
    return bool(principal and principal.may(action))


@register.filter
def get(mapping: dict[str, Any], key: str) -> Any:
    """A dictionary's entry, None where it has none."""
    return mapping.get(key)


@dataclass(frozen=True)
class _Spark:
    path: str
    area: str
    last_x: float
    last_y: float
    number: int
    summary: str
    mark: float | None


@register.inclusion_tag("registry/_spark.html")
def spark(points: Sequence[tuple[date, float]], number: int, unit: str = "", mark: date | None = None) -> dict[str, Any]:
    """A line of daily values from zero, 240 × 48, with a text for who cannot see it. `mark`: the day of the promotion."""
    if len(points) < 2:
        return {"spark": None}
    first, last = points[0][0], points[-1][0]
    span, top = max((last - first).days, 1), max(value for _, value in points) or 1.0
    drawn = [(240 * (day - first).days / span, 46 - 42 * value / top) for day, value in points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn)
    values = [value for _, value in points]
    summary = f"{len(points)} days from {first} to {last}: between {min(values):.2f} and {max(values):.2f} {unit}, last {values[-1]:.2f}"
    place = 240 * (mark - first).days / span if mark and first < mark <= last else None
    return {"spark": _Spark(path, f"{path}L240 47L0 47Z", *drawn[-1], swatch(number), summary, place)}


@dataclass(frozen=True)
class _Range:
    low: float
    middle: float
    high: float
    zero: float
    good: bool
    """Whether the whole interval lies below zero, which is better."""
    bad: bool
    summary: str


@register.inclusion_tag("registry/_interval.html")
def interval(bounds: Sequence[float] | None, middle: float | None, unit: str = "") -> dict[str, Any]:
    """An interval of a difference on a line of 240, with zero marked; below zero is better."""
    if bounds is None or middle is None or not all(math.isfinite(one) for one in (*bounds, middle)):
        return {"range": None}
    low, high = bounds
    reach = max(abs(low), abs(high), abs(middle)) * 1.25 or 1.0
    left, at, right = (120 + 112 * one / reach for one in (low, middle, high))
    said = "better" if high < 0 else "worse" if low > 0 else "zero lies inside: within chance"
    summary = f"Difference {middle:+.3f} {unit}, 95 % interval {low:+.3f} to {high:+.3f}: {said}"
    return {
        "range": _Range(left, at, right, zero=120.0, good=high < 0, bad=low > 0, summary=summary.replace("-", "−")),
    }
