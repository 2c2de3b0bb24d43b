"""What each column of an unknown file seems to hold."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from engine.frames.mapping import Decimal
from engine.frames.problems import shorten
from engine.frames.values import (
    FALSE_WORDS,
    ONLY_COMMA,
    ONLY_POINT,
    TRUE_WORDS,
    TWO_READINGS,
    as_day,
    as_number,
    as_text,
    blank_as_null,
    is_temporal,
    read_dates,
)

Kind = Literal["date", "number", "flag_text", "text", "empty", "nested"]
PROBED = 20_000


@dataclass(frozen=True)
class Column:
    """`dtype` is the file's own type for Parquet and "text" for CSV; counts are of the rows looked at."""

    name: str
    dtype: str
    kind: Kind
    missing: int
    distinct: int
    whole: bool
    examples: tuple[str, ...]
    date_format: str | None = None
    decimal: Decimal = "."

    def decimal_of(self, columns: "tuple[Column, ...]") -> Decimal:
        """The file's decimal sign: a comma as soon as one column needs it."""
        return "," if any(column.decimal == "," for column in columns) else "."

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "examples": list(self.examples)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Column":
        return cls(**{**value, "examples": tuple(str(example) for example in value["examples"])})


def describe_columns(
    sample: pl.DataFrame, *, text: bool, delimiter: str | None, tolerated: dict[str, float]
) -> tuple[tuple[Column, ...], pl.DataFrame]:
    """The columns, and the sample with dates and numbers parsed accordingly. `tolerated`: the share of a column's values that may be
    unreadable as what the others are, none where a column is not named."""
    comma = text and uses_decimal_comma(sample, delimiter=delimiter)
    described, typed = [], []
    for series in sample.iter_columns():
        column, values = _describe(series, text=text, decimal="," if comma else ".", tolerated=tolerated.get(series.name, 0.0))
        described.append(column)
        typed.append(values)
    return tuple(described), pl.DataFrame(typed)


def uses_decimal_comma(sample: pl.DataFrame, *, delimiter: str | None = None) -> bool:
    """Whether values like 3,5 or 0,574 occur, and none that only a decimal point explains. 1,574 alone decides nothing; in a file of
    semicolons, which are there to leave the comma free, it is taken for a decimal comma."""
    commas = points = doubtful = False
    for series in sample.head(PROBED).iter_columns():
        values = series.drop_nulls().str.strip_chars()
        numeric = values.filter(values.str.contains(r"^[+-]?[\d.,]+$"))
        if numeric.len() < 0.9 * values.len() or values.is_empty():
            continue
        commas |= bool(numeric.str.contains(ONLY_COMMA).any())
        points |= bool(numeric.str.contains(ONLY_POINT).any())
        doubtful |= bool((numeric.str.contains(TWO_READINGS) & numeric.str.contains(",", literal=True)).any())
    return not points and (commas or (doubtful and delimiter == ";"))


def _describe(series: pl.Series, *, text: bool, decimal: Decimal, tolerated: float) -> tuple[Column, pl.Series]:
    name, dtype = series.name, series.dtype
    if dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Object):
        return Column(name, str(dtype), "nested", series.null_count(), 0, whole=False, examples=()), pl.Series(name, [None] * series.len())
    blanked = series.to_frame().select(blank_as_null(pl.col(name)).alias(name)).to_series() if isinstance(dtype, pl.String) else series
    missing = blanked.null_count()
    unread = missing + int(tolerated * (blanked.len() - missing))
    examples = shorten(blanked.drop_nulls().head(PROBED).unique(maintain_order=True).head(5))
    shown = "text" if text else str(dtype)

    def described(kind: Kind, values: pl.Series, *, whole: bool = False, pattern: str | None = None) -> tuple[Column, pl.Series]:
        distinct = values.n_unique() - (1 if values.null_count() else 0)
        own: Decimal = decimal if kind == "number" and text and not whole else "."
        return Column(name, shown, kind, missing, distinct, whole=whole, examples=examples, date_format=pattern, decimal=own), values

    if missing == series.len():
        return described("empty", blanked)
    if is_temporal(dtype):
        return described("date", _evaluated(series, as_day(name, dtype, None)))
    probed = blanked.drop_nulls().head(PROBED)
    numbers = _evaluated(series, as_number(name, dtype, decimal=decimal))
    is_number = numbers.null_count() <= unread or (dtype.is_float() and numbers.null_count() <= missing + int(series.is_nan().sum()))
    if not isinstance(dtype, pl.String | pl.Categorical | pl.Enum) or is_number:
        if _may_be_compact_date(name, probed, tolerated):
            return described("date", _evaluated(series, as_day(name, dtype, "%Y%m%d")), pattern="%Y%m%d")
        if is_number:
            whole = bool((numbers.drop_nulls() % 1 == 0).all())
            return described("number", numbers, whole=whole)
    # Mistakes are each of their own, days repeat: of the distinct values more may be bad, and the rows decide.
    if read_dates(probed).nearly(0.5 if tolerated else 0.0):
        whole_column = read_dates(blanked.drop_nulls().unique())
        days = _evaluated(series, as_day(name, dtype, whole_column.pattern))
        if days.null_count() <= unread:
            return described("date", days, pattern=whole_column.pattern)
    # As reading takes names: among them, NA is one.
    texts = _evaluated(series, as_text(name, dtype))
    flags = probed.cast(pl.String).str.to_lowercase().is_in([*TRUE_WORDS, *FALSE_WORDS])
    if flags.sum() >= (1 - tolerated) * flags.len():
        return described("flag_text", texts)
    missing = texts.null_count()
    return described("text", texts)


def _evaluated(series: pl.Series, expression: pl.Expr) -> pl.Series:
    return series.to_frame().select(expression.alias(series.name)).to_series()


def _may_be_compact_date(name: str, values: pl.Series, tolerated: float) -> bool:
    """20240131 is a number too; only under a name that speaks of dates is it taken for one."""
    if not any(word in name.lower() for word in ("date", "day", "datum", "fecha", "ds")):
        return False
    texts = values.cast(pl.String)
    compact = texts.filter(texts.str.contains(r"^(19|20)\d{6}$"))
    return compact.len() >= (1 - tolerated) * texts.len() and read_dates(compact).nearly(tolerated)
