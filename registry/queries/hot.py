"""The three reads that programs repeat all day, written out in SQL for PostgreSQL: a model, a version, a page of versions.

They find what `find_summary`, `find_version` with `newest_verdict`, and `versions_of` find; a test holds the two ways together. SQLite has
no planner and no round trips to save, and a name that is not there deserves a refusal that says which one is wrong: for both these return
None, and the caller takes the ordinary way. JSON that no code looks into comes as `orjson.Fragment`: the text as PostgreSQL keeps it.
"""

# ruff: noqa: S608 - statements are made of this file's constants and our models' column names; what callers say travels as parameters

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson
from django.db import connection
from django.db.models import JSONField, Model

from mlops.storable import storable
from registry.models import ModelVersion, RegisteredModel, Verdict
from registry.queries.models import ModelSummary, Reign
from registry.services.lookups import as_uuid, labels_meant

if TYPE_CHECKING:
    from mlops.database.postgresql.statements import Statement

Row = TypeVar("Row", bound=Model)
_HUGE_NUMBERS = (re.compile(r" -?\d{19}"), re.compile(r"\[-?\d{19}"))
"""Where PostgreSQL's text of a document may hold an integer beyond 64 bits. Each begins with one character, which is found three times as
fast as one of several."""
_COLUMN = "version.{0}"
_MOMENT = """replace(to_char(version.{0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')"""
_LINE_SQL = {
    **dict.fromkeys(("id", "model_name", "version", "number", "status", "algorithm", "metrics", "hyperparameters"), _COLUMN),
    **dict.fromkeys(("dataset_version_id", "trained_through", "training_seconds"), _COLUMN),
    "has_artifact": "(version.artifact_path <> '' AND version.artifact_deleted_at IS NULL)",
    **dict.fromkeys(("artifact_format", "artifact_sha256", "artifact_size", "created_by"), _COLUMN),
    **dict.fromkeys(("created_at", "promoted_at", "status_changed_at"), _MOMENT),
}
"""A version as a line of a list shows it. PostgreSQL writes the line: reading a page of rows here costs more than all the rest."""
LOOKED_INTO = {"signature", "policy", "status_counts"}
"""JSON columns that come as values, because answers are made from what is in them."""


class HotVersion(NamedTuple):
    """A version with its newest verdict; `revision` is its model's."""

    version: ModelVersion
    verdict: Verdict | None
    revision: int


class HotLines(NamedTuple):
    """A page of versions, newest first, as a JSON array, and how many versions the whole list has."""

    lines: orjson.Fragment
    total: int


def hot_model(name: str) -> ModelSummary | None:
    """A model of this name with its champion."""
    found = _model_statement().rows(name=name) if _may_be_hot(name) else []
    if not found:
        return None
    *columns, pk, version, promoted_at, metrics = found[0]
    reign = None if pk is None else Reign(pk, version, promoted_at, orjson.Fragment(metrics))
    return ModelSummary(_instance(RegisteredModel, columns), reign)


def hot_version(model_name: str, reference: str) -> HotVersion | None:
    """A version by the name of its model and its label, with `parent_label`."""
    if not _may_be_hot(model_name, reference):
        return None
    label, *others = labels_meant(reference)
    found = _version_statement().rows(model=model_name, label=label, other=others[0] if others else label)
    width = len(ModelVersion._meta.concrete_fields)
    versions = [(_instance(ModelVersion, row[:width]), row[width:]) for row in found]
    for version, (revision, parent, against, *verdict) in sorted(versions, key=lambda one: one[0].version != label):
        version.parent_label = parent  # type: ignore[attr-defined]  # as `find_version` annotates it
        judged = None if verdict[0] is None else _instance(Verdict, verdict)
        if judged is not None and against is not None:
            judged.against = ModelVersion(pk=judged.against_id, version=against)
        return HotVersion(version, judged, revision)
    return None


def hot_versions(model_name: str, *, status: str, limit: int, offset: int) -> HotLines | None:
    """A page of a model's versions in this status (all with an empty one). The lists' lengths are kept with the model, never counted."""
    if not _may_be_hot(model_name):
        return None
    found = (
        _page_statement(by_status=True).rows(model=model_name, limit=limit, offset=offset, status=status)
        if status
        else _page_statement(by_status=False).rows(model=model_name, limit=limit, offset=offset)
    )
    if not found:
        return None
    ((last_number, counts, lines),) = found
    if any(pattern.search(lines) for pattern in _HUGE_NUMBERS):
        return None  # a number that the connection's reader of JSON would write anew
    return HotLines(orjson.Fragment(lines), json.loads(counts).get(status, 0) if status else last_number)


def _may_be_hot(*names: str) -> bool:
    """Whether a name, not an id, is asked for on PostgreSQL."""
    return connection.vendor == "postgresql" and all(storable(name) for name in names) and not any(as_uuid(name) for name in names)


def _instance(model: type[Row], values: Sequence[Any]) -> Row:
    """The row as an instance, as the ORM would load it."""
    fields = model._meta.concrete_fields
    shown = [_document(field.name, value) if isinstance(field, JSONField) else value for field, value in zip(fields, values, strict=True)]
    return model.from_db("default", [field.attname for field in fields], shown)


def _document(name: str, text: str) -> Any:
    return json.loads(text) if name in LOOKED_INTO else orjson.Fragment(text)


def _columns(model: type[Model], table: str) -> str:
    return ", ".join(f"{table}.{field.column}" for field in model._meta.concrete_fields)


@cache
def _model_statement() -> "Statement":
    return _statement(
        f"SELECT {_columns(RegisteredModel, 'model')}, champion.id, champion.version, champion.promoted_at, champion.metrics"
        " FROM registered_models model LEFT JOIN model_versions champion ON champion.customer_id = model.customer_id"
        " AND champion.model_id = model.id AND champion.status = 'champion'"
        " WHERE model.customer_id = %(customer)s AND model.name = %(name)s",
        "name",
    )


@cache
def _version_statement() -> "Statement":
    return _statement(
        f"SELECT {_columns(ModelVersion, 'version')}, model.revision, parent.version, opponent.version, {_columns(Verdict, 'verdict')}"
        " FROM registered_models model JOIN model_versions version ON version.model_id = model.id"
        " LEFT JOIN model_versions parent ON parent.id = version.parent_id"
        " LEFT JOIN verdicts verdict ON verdict.id = (SELECT newest.id FROM verdicts newest"
        " WHERE newest.customer_id = %(customer)s AND newest.version_id = version.id ORDER BY newest.created_at DESC, newest.id LIMIT 1)"
        " LEFT JOIN model_versions opponent ON opponent.id = verdict.against_id"
        " WHERE model.customer_id = %(customer)s AND version.customer_id = %(customer)s"
        " AND model.name = %(model)s AND version.version IN (%(label)s, %(other)s)",
        "model",
        "label",
        "other",
    )


@cache
def _page_statement(*, by_status: bool) -> "Statement":
    shown = ", ".join(f"{sql.format(name)} AS {name}" for name, sql in _LINE_SQL.items())
    chosen = " AND version.status = %(status)s" if by_status else ""
    return _statement(
        "SELECT model.last_version_number, model.status_counts,"
        " (SELECT concat('[', string_agg(row_to_json(page)::text, ',' ORDER BY page.number DESC), ']') FROM"
        f" (SELECT {shown} FROM model_versions version"
        f" WHERE version.customer_id = %(customer)s AND version.model_id = model.id{chosen}"
        " ORDER BY version.number DESC LIMIT %(limit)s OFFSET %(offset)s) page)"
        " FROM registered_models model WHERE model.customer_id = %(customer)s AND model.name = %(model)s",
        *("model", "limit", "offset", *(["status"] if by_status else [])),
    )


def _statement(sql: str, *names: str) -> "Statement":
    from mlops.database.postgresql.statements import Statement  # psycopg is not wanted where SQLite is used

    return Statement(sql, *names)
