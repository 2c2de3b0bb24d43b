"""How a moment is written: for programs in UTC with Z, for people as an element that the browser rewrites in the viewer's zone, with UTC on
hover."""

from datetime import UTC, date, datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString


def iso(moment: datetime) -> str:
    """As answers write it: ISO 8601, in UTC with Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def when(moment: datetime | date | None, style: str = "relative") -> SafeString:
    """A moment or a day. `style`: `relative` (3 hours ago), `full`, or `day`; an en dash for none."""
    if moment is None:
        return SafeString('<span class="ty-none">–</span>')
    if not isinstance(moment, datetime):
        return format_html('<time datetime="{}" data-style="day">{}</time>', moment.isoformat(), f"{moment:%Y-%m-%d}")
    utc = f"{moment:%Y-%m-%d %H:%M} UTC"
    return format_html('<time datetime="{}" data-style="{}" title="{}">{}</time>', moment.isoformat(), style, utc, utc)
