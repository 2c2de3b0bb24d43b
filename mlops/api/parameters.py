"""Query parameters: declared, typed, bounded. A parameter nobody declared is 400 and names the known ones."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware
from rest_framework.request import Request

from mlops.api.problems import Problem


def invalid(name: str, message: str) -> Problem:
    """A 400 naming one parameter."""
    return Problem(400, "invalid", "Some query parameters are not valid.", errors=[{"field": name, "message": message, "code": "invalid"}])


def refuse_unknown(request: Request, known: Iterable[str]) -> None:
    """Raise a 400 for query parameters that are not known, or given twice, or not storable text."""
    names = sorted(set(known))
    for name, values in request.query_params.lists():
        if name not in names:
            listed = ", ".join(names) or "none"
            raise invalid(name[:100].encode("ascii", "backslashreplace").decode(), f"Unknown query parameter. Known here: {listed}.")
        if len(values) > 1:
            raise invalid(name, "Given more than once.")
        if "\x00" in values[0] or len(values[0]) > 1000:
            raise invalid(name, "Not a text of up to 1000 characters without NUL.")


def whole_number(request: Request, name: str, *, default: int, lowest: int, highest: int) -> int:
    """A whole number within its documented range. Raises a 400 problem otherwise."""
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12) or not lowest <= int(text) <= highest:
        raise invalid(name, f"Must be a whole number from {lowest} to {highest}.")
    return int(text)


def choice(request: Request, name: str, allowed: Iterable[str], *, default: str = "") -> str:
    """One of a closed list. Raises a 400 problem otherwise."""
    value = request.query_params.get(name, default)
    options = list(allowed)
    if value and value not in options:
        raise invalid(name, f"Must be one of: {', '.join(options)}.")
    return value


def moment(request: Request, name: str) -> datetime | None:
    """An ISO 8601 moment (UTC when it names no zone), in UTC, or None when absent. Raises a 400 problem otherwise."""
    text: Any = request.query_params.get(name)
    if text is None:
        return None
    try:
        value = parse_datetime(text.replace(" ", "+"))
        if value is not None:
            return (make_aware(value) if is_naive(value) else value).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or one that has no moment in UTC
        pass
    raise invalid(name, "Must be an ISO 8601 moment such as 2026-03-01T06:00:00Z.")
