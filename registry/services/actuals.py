"""Ground truth that arrives by API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import transaction

from mlops.audit.services import record
from mlops.errors import InvalidFields
from mlops.tenancy.roles import Principal
from registry.models import Actual, RegisteredModel
from registry.services.panels import newest_data, series_key_of


@dataclass(frozen=True)
class ActualRow:
    """One series' demand on one day; `keys` are the dataset's key columns."""

    day: date
    keys: dict[str, str]
    value: float


def record_actuals(*, model: RegisteredModel, rows: Sequence[ActualRow], by: Principal, at: datetime) -> dict[str, Any]:
    """Keep the rows; a row that exists is corrected. Raises InvalidFields when a row's keys are not those of the model's data,
    or when two rows name one series and day."""
    by.authorize("model.actuals")
    wanted = list(newest_data(model).mapping.get("keys", []))
    errors, seen = [], set()
    for position, row in enumerate(rows):
        key = (row.day, series_key_of(row.keys))
        if sorted(row.keys) != sorted(wanted):
            errors.append(_error(position, "keys", f"Must name exactly: {', '.join(wanted) or 'nothing'}."))
        elif key in seen:
            errors.append(_error(position, "date", "This series and day stand twice in the list."))
        seen.add(key)
    if errors:
        raise InvalidFields("Some rows are not valid; none was kept.", errors[:50])
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
    return {"received": len(rows), "new": new, "corrected": len(rows) - new}


def _error(position: int, field: str, message: str) -> dict[str, str]:
    return {"field": f"rows[{position}].{field}", "message": message, "code": "invalid"}
