"""Tables of JSON: the records of a request; a file of one list of objects, or of an object on each line. All of it is held in memory."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from engine.frames.problems import Findings, refuse, shorten
from engine.tabular.naming import check_names

Loose = Literal["text", "typed", "json"]
START = 4096
"""Bytes that tell a file of JSON from others."""
LARGEST_FILE = 64 << 20
"""Of a file of JSON, as it is read whole and takes some ten times its size in memory."""
MOST_CELLS = 20_000_000
"""Rows × columns: a value that an object leaves out takes room too."""
_MARK = b"\xef\xbb\xbf"
_LIST, _OBJECT = re.compile(rb"\s*\[\s*[{\]]"), re.compile(rb'\s*\{\s*["}]')


def looks_like_json(start: bytes) -> bool:
    """Whether a file that begins so is a list of objects, or objects."""
    start = start.removeprefix(_MARK)
    return bool(_LIST.match(start) or _OBJECT.match(start))


@dataclass(frozen=True)
class RecordsSource:
    """JSON objects, all in memory."""

    frame: pl.DataFrame
    format: str = "records"
    loose: Loose = field(default="json")

    @property
    def schema(self) -> dict[str, pl.DataType]:
        return dict(self.frame.schema)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        yield self.frame if columns is None else self.frame.select(columns)

    def describe(self) -> dict[str, Any]:
        return {"format": self.format}


def open_records(path: Path, *, most_columns: int) -> RecordsSource:
    """The records of a request, which bounds them. Raises FrameError for what is no table."""
    return RecordsSource(_frame(_parsed(path.read_bytes()), most_columns=most_columns))


def open_json(path: Path, *, most_columns: int) -> RecordsSource:
    """The table in a file that looks like JSON. Raises FrameError for what is none, or larger than LARGEST_FILE."""
    size = path.stat().st_size
    if size > LARGEST_FILE:
        told = f"A file of JSON may have {LARGEST_FILE >> 20} MB; this has {size >> 20}. Write larger tables as Parquet or CSV."
        raise refuse("too_large", told)
    content = path.read_bytes().removeprefix(_MARK)
    records = _parsed(content) if _LIST.match(content) else _lines(content)
    return RecordsSource(_frame(records, most_columns=most_columns), "json")


def _lines(content: bytes) -> list[Any]:
    records = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            records.append(_parsed(line, f"Line {number} is no JSON object on a line of its own"))
    return records


def _parsed(content: bytes, wrong: str = "The records are no JSON") -> Any:
    try:
        return json.loads(content, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise refuse("unreadable_records", f"{wrong}: {str(error)[:200]}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has {next(name for name in names if names.count(name) > 1)[:100]!r} twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON; a missing value is null")


def _frame(records: Any, *, most_columns: int) -> pl.DataFrame:
    findings = Findings()
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise refuse("unreadable_records", "Records are a list of JSON objects.")
    if not records:
        raise refuse("empty_file", "There are no records.")
    names = list(dict.fromkeys(name for record in records for name in record))
    check_names(names, most=most_columns, findings=findings)
    if len(records) * len(names) > MOST_CELLS:
        told = f"{len(records):,} records of {len(names):,} columns have more than {MOST_CELLS:,} values; write them as Parquet or CSV."
        raise refuse("too_large", told)
    findings.stop_on_errors()
    columns = [_column_of_records(name, [record.get(name) for record in records], findings) for name in names]
    findings.stop_on_errors()
    return pl.DataFrame(columns)


def _column_of_records(name: str, values: list[Any], findings: Findings) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, dtype=pl.String)
    if kinds == {int}:
        whole = all(value is None or -(2**63) <= value < 2**63 for value in values)
        return pl.Series(name, values, dtype=pl.Int64 if whole else pl.Float64)
    if kinds <= {int, float}:
        return pl.Series(name, values, dtype=pl.Float64)
    for kind, dtype in ((bool, pl.Boolean), (str, pl.String)):
        if kinds == {kind}:
            return pl.Series(name, values, dtype=dtype)
    odd = next(position for position, value in enumerate(values) if isinstance(value, dict | list) or _differs(value, values))
    if kinds & {dict, list}:
        findings.error(
            "nested_value", f"Column {name!r} holds lists or objects; values are numbers, texts, true, false or null.", column=name
        )
    else:
        told = sorted({"text" if kind is str else "true or false" if kind is bool else "number" for kind in kinds})
        findings.error(
            "mixed_types",
            f"Column {name!r} mixes {' and '.join(told)}; first in record {odd + 1}.",
            column=name,
            examples=shorten([values[odd]]),
        )
    return pl.Series(name, [None] * len(values), dtype=pl.String)


def _differs(value: Any, values: list[Any]) -> bool:
    first = next(one for one in values if one is not None)
    numbers = (
        isinstance(first, int | float) and not isinstance(first, bool) and isinstance(value, int | float) and not isinstance(value, bool)
    )
    return value is not None and type(value) is not type(first) and not numbers
