"""Columns and records from anywhere into canonical types, or a problem that names the row.

The rules are the same wherever a model is asked: null, NaN and an absent optional value are missing; texts mean what they mean when a
split is read (`engine.tabular.texts`: trimmed, some words are missing values, TRUE is a flag); a number must be finite; text that reads as
a number is one in a frame (files hold texts) but not in a record (JSON has numbers); whole numbers serve as categories; 0 and 1 serve as
flags; a moment is ISO 8601, and one with an offset is taken to UTC.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl

from engine.tabular.columns import MOMENT, Column
from engine.tabular.problems import MOST_TOLD, CellProblem, PredictError
from engine.tabular.texts import NULL_WORDS, flag, flags, numbers, says_nothing, word, words

_TEXTS = (pl.String, pl.Categorical, pl.Enum)
_DIGITS = {"0": False, "1": True}
_MAX_SHOWN = 40


def canonical(frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """The given columns in their order: numbers as Float64 without NaN, and the other kinds as in a canonical table.

    Raises PredictError naming absent columns, or the cells that cannot be read.
    """
    present = set(frame.columns)
    absent = [CellProblem(column.name, None, "The feature is missing.") for column in columns if column.name not in present]
    if absent:
        raise PredictError(absent)
    problems: list[CellProblem] = []
    read: list[pl.Series] = []
    frame = frame.with_columns(_categories(frame, columns))
    for column in columns:
        series, found = _READERS[column.kind](frame[column.name])
        problems += found
        read.append(series.alias(column.name))
    if problems:
        raise PredictError(problems)
    return pl.DataFrame(read) if read else pl.DataFrame()


def _categories(frame: pl.DataFrame, columns: Sequence[Column]) -> list[pl.Expr]:
    """Texts of categories as a split reads them, in one expression each: all at once they cost what one does."""
    schema = frame.schema
    held = [column.name for column in columns if column.kind == "categorical" and schema[column.name] in _TEXTS]
    return [words(pl.col(name).cast(pl.String)).alias(name) for name in held]


def from_records(records: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """A canonical frame of JSON objects, and the names found in them that are no feature, sorted.

    Raises PredictError naming row and feature where a feature is absent (null is a missing value, absence a mistake) or of a wrong type.
    """
    problems: list[CellProblem] = []
    read: list[pl.Series] = []
    for column in columns:
        values: list[Any] = []
        for row, record in enumerate(records):
            value, message = ("", "The feature is missing.") if column.name not in record else _cell(record[column.name], column)
            values.append(value if not message else None)
            if message and len(problems) < MOST_TOLD:
                problems.append(CellProblem(column.name, row, message))
        dtype = pl.Float64() if column.kind == "numeric" else column.dtype
        read.append(pl.Series(column.name, values, dtype=dtype))
    if problems:
        raise PredictError(sorted(problems, key=lambda problem: problem.row or 0))
    names = {column.name for column in columns}
    extra = sorted({name for record in records for name in record if name not in names})
    return pl.DataFrame(read), tuple(extra)


def _cell(value: object, column: Column) -> tuple[object, str]:
    """The canonical value of one JSON value, and what is wrong with it ("" where nothing is)."""
    if value is None or (isinstance(value, str) and column.kind != "categorical" and says_nothing(value)):
        return None, ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and not isinstance(value, bool)
    match column.kind:
        case "numeric" if number:
            return _finite(value)
        case "numeric":
            return None, f"Must be a number, not {_shown(value)}."
        case "boolean" if isinstance(value, bool) or (whole and value in (0, 1)):
            return bool(value), ""
        case "boolean" if isinstance(value, str) and flag(value) is not None:
            return flag(value), ""
        case "boolean":
            return None, f"Must be true or false, not {_shown(value)}."
        case "categorical" if isinstance(value, str) or whole:
            return word(str(value)), ""
        case "categorical":
            return None, f"Must be a text, not {_shown(value)}."
        case "datetime" if isinstance(value, str | date):
            moment = _moment(value)
            return moment, "" if moment else f"{_shown(value)} is no ISO 8601 date or time."
        case _:
            return None, f"Must be a date or time as ISO 8601 text, not {_shown(value)}."


def _finite(value: Any) -> tuple[float | None, str]:
    try:
        found = float(value)
    except OverflowError:
        return None, "Is too large a number."
    if found in (float("inf"), float("-inf")):
        return None, "Must be finite."
    return (None if found != found else found), ""


def _moment(value: object) -> datetime | None:
    """The moment in UTC without a zone; None where there is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return datetime.combine(value, time()) if isinstance(value, date) else None
    try:
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    except OverflowError:
        return None


def _shown(value: object) -> str:
    told = repr(value)
    return told if len(told) <= _MAX_SHOWN else f"{told[:_MAX_SHOWN]}…"


def _read_numbers(series: pl.Series) -> tuple[pl.Series, list[CellProblem]]:
    if series.dtype.is_numeric() or series.dtype == pl.Null:
        values = series.cast(pl.Float64).fill_nan(None)
        return values, list(_bad(series, values.is_infinite(), "must be finite."))
    if series.dtype == pl.String:
        values, unread = _read_texts(series, numbers(series.name))
        return values, [*_bad(series, unread, "is not a number."), *_bad(series, values.is_infinite(), "must be finite.")]
    return _wrong(series, pl.Float64(), "Must hold numbers")


def _read_texts(series: pl.Series, expression: pl.Expr) -> tuple[pl.Series, pl.Series]:
    """What an expression reads in texts, and where it reads nothing though something is said."""
    said = words(pl.col(series.name), NULL_WORDS).alias("said")
    read, told = series.to_frame().select(expression.alias("read"), said).get_columns()
    return read.alias(series.name), read.is_null() & told.is_not_null()


def _read_flags(series: pl.Series) -> tuple[pl.Series, list[CellProblem]]:
    if series.dtype in (pl.Boolean, pl.Null):
        return series.cast(pl.Boolean), []
    if series.dtype.is_numeric():
        values = series.cast(pl.Float64).fill_nan(None)
        return values == 1, list(_bad(series, values.is_not_null() & ~values.is_in([0.0, 1.0]), "is not true or false."))
    if series.dtype == pl.String:
        raw = pl.col(series.name)
        digits = raw.str.strip_chars().replace_strict(_DIGITS, default=None, return_dtype=pl.Boolean)
        found, unread = _read_texts(series, pl.coalesce(flags(raw), digits))
        return found, list(_bad(series, unread, "is not true or false."))
    return _wrong(series, pl.Boolean(), "Must hold true or false")


def _read_categories(series: pl.Series) -> tuple[pl.Series, list[CellProblem]]:
    if series.dtype in (pl.String, pl.Null) or series.dtype.is_integer():
        return series.cast(pl.String), []
    if series.dtype.is_float():
        # A column of whole numbers with gaps is often read as floats.
        values = series.fill_nan(None)
        broken = values.is_not_null() & (~values.is_finite() | (values != values.floor()) | (values.abs() > 2**53))
        texts = values.cast(pl.Int64, strict=False).cast(pl.String)
        return texts, list(_bad(series, broken, "is not a text."))
    return _wrong(series, pl.String(), "Must hold texts")


def _read_moments(series: pl.Series) -> tuple[pl.Series, list[CellProblem]]:
    if isinstance(series.dtype, pl.Datetime):
        plain = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if series.dtype.time_zone else series
        return plain.cast(MOMENT), []
    if series.dtype in (pl.Date, pl.Null):
        return series.cast(MOMENT), []
    if series.dtype == pl.String:
        moments = pl.Series(series.name, [None if value is None else _moment(value) for value in series], dtype=MOMENT)
        unread = moments.is_null() & pl.Series([value is not None and not says_nothing(value) for value in series], dtype=pl.Boolean)
        return moments, list(_bad(series, unread, "is no ISO 8601 date or time."))
    return _wrong(series, MOMENT, "Must hold dates or times")


def _bad(series: pl.Series, wrong: pl.Series, message: str) -> Iterator[CellProblem]:
    for row in wrong.fill_null(value=False).arg_true().head(MOST_TOLD):
        yield CellProblem(series.name, int(row), f"{_shown(series[int(row)])} {message}")


def _wrong(series: pl.Series, dtype: pl.DataType, message: str) -> tuple[pl.Series, list[CellProblem]]:
    return pl.Series(series.name, [None] * len(series), dtype=dtype), [
        CellProblem(series.name, None, f"{message}, not {series.dtype}."),
    ]


_READERS = {"numeric": _read_numbers, "boolean": _read_flags, "categorical": _read_categories, "datetime": _read_moments}
