"""A column that sorts as people mean it."""

from typing import Any

from django.db import models

SEVERITY_TYPE = "alert_severity"


class SeverityField(models.CharField):  # type: ignore[type-arg]  # the stubs' parameters say nothing more
    """A severity. On PostgreSQL the column has an enumerated type, so that `ORDER BY severity` in anybody's SQL sorts by rank."""

    def db_type(self, connection: Any) -> str | None:
        """The enumerated type on PostgreSQL, text elsewhere."""
        return SEVERITY_TYPE if connection.vendor == "postgresql" else super().db_type(connection)
