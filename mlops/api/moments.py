"""Filters of lists by moments."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import django_filters
from django_filters.fields import IsoDateTimeField


class _EndField(IsoDateTimeField):
    """A moment, or a day and then its end."""

    def to_python(self, value: Any) -> datetime | None:
        """The first moment after the day, where a day was given."""
        if isinstance(value, str):
            with suppress(ValueError, OverflowError):
                day = date.fromisoformat(value.strip())
                return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        found: datetime | None = super().to_python(value)
        return found


class UntilFilter(django_filters.IsoDateTimeFilter):
    """Everything before a moment, or through the end of a day in UTC: a bare date means its whole day, at either end of a range."""

    field_class = _EndField
