"""Columns that sort and compare as people mean it."""

import re
from typing import Any

from django.db import models
from django.db.models.lookups import Lookup

from alerts.states import Severity

SEVERITY_TYPE = "alert_severity"
SEARCHED = 500
"""Characters that a search looks at. At four bytes each they still fit into an entry of an index, next to what else stands there."""


class SeverityField(models.CharField):  # type: ignore[type-arg]  # the stubs' parameters say nothing more
    """A severity. On PostgreSQL the column has an enumerated type, so that `ORDER BY severity` in anybody's SQL sorts by rank."""

    def db_type(self, connection: Any) -> str | None:
        """The enumerated type on PostgreSQL, text elsewhere."""
        return SEVERITY_TYPE if connection.vendor == "postgresql" else super().db_type(connection)


class RankField(models.PositiveSmallIntegerField):  # type: ignore[type-arg]  # as above
    """The rank of the row's `severity`, written with it. A plain column: SQLite answers nothing from an index with a generated one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"editable": False})

    def pre_save(self, model_instance: models.Model, add: bool) -> int:
        """Whatever the attribute said before."""
        rank = Severity(getattr(model_instance, "severity")).rank  # noqa: B009 - the model is not known here
        setattr(model_instance, self.attname, rank)
        return rank


class SearchField(models.TextField):  # type: ignore[type-arg]  # as above
    """The row's `title` and `message` as `searchable` makes them, written with them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"editable": False})

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        """Whatever the attribute said before."""
        text = searchable(" ".join(str(getattr(model_instance, name)) for name in ("title", "message")))
        setattr(model_instance, self.attname, text)
        return text


@SearchField.register_lookup
class Holds(Lookup):
    """`search_text__holds=words`: whether the text has the words, which `searchable` made too, as they stand."""

    lookup_name = "holds"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Its position: on PostgreSQL twice as quick as LIKE."""
        text, params = self.process_lhs(compiler, connection)
        return f"STRPOS({text}, %s) > 0", (*params, self.rhs)

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """A pattern: a third quicker than its position, which SQLite looks for byte by byte."""
        text, params = self.process_lhs(compiler, connection)
        pattern = re.sub(r"[*?[]", r"[\g<0>]", self.rhs)
        return f"{text} GLOB %s", (*params, f"*{pattern}*")


def searchable(text: str) -> str:
    """Text as searches compare it, on every database alike: without case, each white space one blank, cut after SEARCHED characters."""
    return " ".join(text.casefold().split())[:SEARCHED]
