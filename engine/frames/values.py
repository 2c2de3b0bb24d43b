"""Dates and numbers out of whatever a column holds, as Polars expressions."""

from dataclasses import dataclass
from datetime import date

import polars as pl

# What spreadsheets and exports write where there is no value.
NULL_WORDS = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "?", "\\n")
TRUE_WORDS, FALSE_WORDS = ("true", "yes", "y", "t"), ("false", "no", "n", "f")

DAY_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d", "%Y.%m.%d",
               "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%y")  # fmt: skip
CLOCKS = (
    " %H:%M:%S",
    " %H:%M",
    "T%H:%M:%S",
    "T%H:%M",
    " %H:%M:%S%.f",
    "T%H:%M:%S%.f",
    "T%H:%M:%SZ",
    "T%H:%M:%S%.fZ",
    " %I:%M:%S %p",
    " %I:%M %p",
)
ZONED = ("%Y-%m-%d %H:%M:%S%z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z",
         "%Y-%m-%dT%H:%M%z")  # fmt: skip
MAX_DISTINCT_DATES = 300_000

GROUP = r"[1-9]\d{0,2}"
"""What stands before the first grouping sign. Nobody writes 0,574 for 574."""
TWO_READINGS = rf"^[+-]?{GROUP}[.,]\d{{3}}$"
"""1,574 and 1.574: a number with its thousands set apart, or one with three decimals."""


def _only_with(decimal: str, grouping: str) -> str:
    grouped = rf"{GROUP}({grouping}\d{{3}})"
    return rf"^[+-]?((\d+|{grouped}+){decimal}(\d{{1,2}}|\d{{4,}})|(0\d*|\d{{4,}}|{grouped}+){decimal}\d+|{grouped}{{2,}})$"


ONLY_POINT, ONLY_COMMA = _only_with(r"\.", ","), _only_with(",", r"\.")
"""Numbers that only this decimal sign explains: other than three decimals, or something before them that is no group."""


@dataclass(frozen=True)
class DateReading:
    """`pattern` None: the column holds dates already. `alternatives` are patterns that read every value as well, but as other days."""

    pattern: str | None
    parsed: int
    total: int
    alternatives: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return self.nearly(0.0)

    def nearly(self, tolerated: float) -> bool:
        """Whether no more than this share of the values was unreadable."""
        return self.total > 0 and self.total - self.parsed <= tolerated * self.total


def is_temporal(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Date | pl.Datetime)


def blank_as_null(text: pl.Expr) -> pl.Expr:
    """Trimmed text, null where it only says that there is no value."""
    trimmed = text.str.strip_chars()
    return pl.when(trimmed.str.to_lowercase().is_in(NULL_WORDS)).then(None).otherwise(trimmed)


def as_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """The column as trimmed text; empty is null. "NA" stays: it is a legitimate name."""
    if isinstance(dtype, pl.String):
        trimmed = pl.col(column).str.strip_chars()
        return pl.when(trimmed == "").then(None).otherwise(trimmed)
    return pl.col(column).cast(pl.String)


def as_number(column: str, dtype: pl.DataType, *, decimal: str) -> pl.Expr:
    """Float64; null where missing *or* unreadable (compare with `is_present`); NaN counts as missing, infinity stays for the caller."""
    if dtype.is_numeric() or isinstance(dtype, pl.Boolean):
        return pl.col(column).cast(pl.Float64).fill_nan(None)
    if not isinstance(dtype, pl.String):
        return pl.lit(None, dtype=pl.Float64)
    text = blank_as_null(pl.col(column))
    # Grouping signs go only where they group by three; "01.01.2024" and "1,5" must not turn into other numbers.
    if decimal == ",":
        grouped = text.str.contains(rf"^[+-]?{GROUP}(\.\d{{3}})+(,\d+)?$")
        bare = pl.when(grouped).then(text.str.replace_all(".", "", literal=True)).when(~text.str.contains(".", literal=True)).then(text)
        plain = bare.str.replace(",", ".", literal=True)
    else:
        grouped = text.str.contains(rf"^[+-]?{GROUP}(,\d{{3}})+(\.\d+)?$")
        plain = pl.when(grouped).then(text.str.replace_all(",", "", literal=True)).otherwise(text)
    return plain.cast(pl.Float64, strict=False).fill_nan(None)


def as_flag_or_number(column: str, dtype: pl.DataType, *, decimal: str) -> pl.Expr:
    """Like `as_number`, and yes/no or true/false as 1/0."""
    number = as_number(column, dtype, decimal=decimal)
    if not isinstance(dtype, pl.String):
        return number
    word = pl.col(column).str.strip_chars().str.to_lowercase()
    return pl.when(word.is_in(TRUE_WORDS)).then(1.0).when(word.is_in(FALSE_WORDS)).then(0.0).otherwise(number)


def is_present(column: str, dtype: pl.DataType) -> pl.Expr:
    """Whether a value was given at all, readable or not."""
    if isinstance(dtype, pl.String):
        return blank_as_null(pl.col(column)).is_not_null()
    if dtype.is_float():
        return pl.col(column).is_not_null() & pl.col(column).is_not_nan()
    return pl.col(column).is_not_null()


def as_day(column: str, dtype: pl.DataType, pattern: str | None) -> pl.Expr:
    """Date; null where missing or unreadable. Times of day and time zones are cut off: the day as written counts."""
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return pl.col(column).dt.date()  # a cast would take the day in Greenwich
    if is_temporal(dtype):
        return pl.col(column).cast(pl.Date, strict=False)
    text = pl.col(column).cast(pl.String).str.strip_chars()
    if pattern is None:
        return pl.lit(None, dtype=pl.Date)
    if "%z" in pattern:  # which knows +02:00 and +0200, and neither Z nor +02
        text = text.str.replace("Z$", "+00:00").str.replace(r"([+-]\d{2})$", "${1}:00")
    return text.str.to_date(pattern, strict=False)


def read_dates(values: pl.Series) -> DateReading:
    """Find the pattern that reads most of the distinct values; among patterns that read all, the one giving the fewest gaps.

    `01/02/2024` is read both ways by two patterns; daily data in the right one has neighbors a day apart.
    """
    if is_temporal(values.dtype):
        return DateReading(None, len(values.drop_nulls()), len(values.drop_nulls()))
    texts = values.cast(pl.String).str.strip_chars().drop_nulls().unique()
    texts = texts.filter(texts != "")
    if texts.is_empty():
        return DateReading(None, 0, 0)
    readings = [(pattern, parsed) for pattern in _patterns(texts) if (parsed := _parse(texts, pattern)) is not None and parsed.len()]
    if not readings:
        return DateReading(None, 0, texts.len())
    most = max(parsed.len() for _, parsed in readings)
    best = [(pattern, parsed) for pattern, parsed in readings if parsed.len() == most]
    best.sort(key=lambda entry: _gappiness(entry[1]))
    chosen, days = best[0]
    others = tuple(pattern for pattern, parsed in best[1:] if not parsed.equals(days))
    return DateReading(chosen, most, texts.len(), others)


def _patterns(texts: pl.Series) -> list[str]:
    """Patterns worth trying on the whole column: those that read something of a small sample."""
    sample = texts.gather_every(max(1, texts.len() // 200)).head(400)
    timed = bool(sample.str.contains(":").any())
    patterns = [*(day + clock for day in DAY_FORMATS for clock in CLOCKS), *DAY_FORMATS, *ZONED] if timed else list(DAY_FORMATS)
    found = []
    for pattern in patterns:
        parsed = _parse(sample, pattern)
        if parsed is not None and parsed.len():
            found.append(pattern)
    return found


def _parse(texts: pl.Series, pattern: str) -> pl.Series | None:
    try:
        days = texts.to_frame("raw").select(as_day("raw", texts.dtype, pattern)).to_series().drop_nulls()
    except pl.exceptions.PolarsError:
        return None
    # "%Y" reads "11" as the year 11, and "%y" reads "2011" never: four-digit years keep the two apart.
    return days.filter((days >= date(1900, 1, 1)) & (days < date(2200, 1, 1)))


def _gappiness(days: pl.Series) -> float:
    """Days spanned per distinct day: 1 for daily data without a gap."""
    distinct = days.n_unique()
    low, high = days.min(), days.max()
    if not isinstance(low, date) or not isinstance(high, date) or distinct < 2:
        return 1.0
    return ((high - low).days + 1) / distinct
