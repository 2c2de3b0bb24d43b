"""Ground truth that arrives by API."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction

from mlops.audit.services import record
from mlops.errors import InvalidFields
from mlops.outbox.services import publish
from mlops.tenancy.roles import Principal
from registry.events import ActualsRecorded
from registry.models import Actual, DatasetVersion, RegisteredModel
from registry.services.panels import newest_data, series_key_of

LONGEST_KEY = 500
MOST_ACTUALS = 10_000
"""Rows that a door takes at a time."""
NEGATIVE = "Negative, which this model's data refuses. If it is a return, let the data's mapping say that such days are zero or unknown."
AHEAD = timedelta(days=366)
"""Days later than this after the model's data would have to be filled for every series; send newer data first."""


@dataclass(frozen=True)
class ActualRow:
    """One series' demand on one day; `keys` are the dataset's key columns."""

    day: date
    keys: dict[str, str]
    value: float


def record_actuals(*, model: RegisteredModel, rows: Sequence[ActualRow], by: Principal, at: datetime) -> dict[str, Any]:
    """Keep the rows; a row that exists is corrected. Negative values are taken as the data's mapping takes those of a file: refused, as
    zero, or kept as what is read as unknown. Raises InvalidFields when a row's keys are not those of the model's data, its day cannot be
    true yet or is out of the data's reach, or when two rows name one series and day. Raises NoData."""
    by.authorize("model.actuals")
    data = newest_data(model)
    wanted = list(data.mapping.get("keys", []))
    negatives = data.mapping.get("negatives", "refuse")
    latest = at.date() + timedelta(days=1)  # a day ends earlier east of Greenwich
    errors, seen = [], set()
    for position, row in enumerate(rows):
        key = (row.day, series_key_of(row.keys))
        if sorted(row.keys) != sorted(wanted):
            errors.append(_error(position, "keys", f"Must name exactly: {', '.join(wanted) or 'nothing'}."))
        elif len(key[1]) > LONGEST_KEY:
            errors.append(_error(position, "keys", f"Together longer than {LONGEST_KEY} characters."))
        elif key in seen:
            errors.append(_error(position, "date", "This series and day stand twice in the list."))
        elif wrong := _wrong_day(row.day, data, latest=latest):
            errors.append(_error(position, "date", wrong))
        elif row.value < 0 and negatives == "refuse":
            errors.append(_error(position, "value", NEGATIVE, code="negative_target"))
        seen.add(key)
    if errors:
        raise InvalidFields("Some rows are not valid; none was kept.", errors[:50])
    rows = [replace(row, value=0.0) if row.value < 0 and negatives == "zero" else row for row in rows]
    with transaction.atomic():
        existing = Actual.objects.filter(model=model, day__in={row.day for row in rows}).count()
        Actual.objects.bulk_create(
            [Actual(model=model, day=row.day, series_key=series_key_of(row.keys), value=row.value, received_at=at) for row in rows],
            update_conflicts=True,
            unique_fields=["model", "day", "series_key"],
            update_fields=["value", "received_at"],
            batch_size=500,
        )
        new = Actual.objects.filter(model=model, day__in={row.day for row in rows}).count() - existing
        days = sorted({row.day.isoformat() for row in rows})
        after = {"rows": len(rows), "new": new, "from": days[0], "to": days[-1]}
        record(action="actuals.recorded", target=model, label=model.name, at=at, after=after, actor=by)
        publish(ActualsRecorded(str(model.pk), model.name, days), at=at)
    return {"received": len(rows), "new": new, "corrected": len(rows) - new}


def _wrong_day(day: date, data: DatasetVersion, *, latest: date) -> str:
    if day > latest:
        return "This day has not been yet."
    if data.first_day and day < data.first_day:
        return f"The model's data begins on {data.first_day}."
    if data.last_day and day > data.last_day + AHEAD:
        return f"The model's data ends on {data.last_day}: add newer data before truth of more than {AHEAD.days} days later."
    return ""


def _error(position: int, field: str, message: str, *, code: str = "invalid") -> dict[str, str]:
    return {"field": f"rows[{position}].{field}", "message": message, "code": code}
