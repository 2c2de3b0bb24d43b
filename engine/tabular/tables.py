"""What the columns of a foreign table hold, and each batch of it in canonical types.

Types of text are inferred from every row, never from a sample: a column is numeric only if all of it is. Text that looks like a formula
stays text, so do codes with leading zeros or more digits than a number here has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from engine.frames.columns import uses_decimal_comma
from engine.frames.mapping import Decimal
from engine.frames.problems import Findings, shorten
from engine.frames.values import read_dates
from engine.tabular.columns import MOMENT, Column, Kind
from engine.tabular.sources import Source
from engine.tabular.texts import FLAG_WORDS, NULL_WORDS, flags, numbers, words

MOSTLY = 0.9
PROBED = 20_000
ZONED = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%z", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z")
DAYS = (-719_162, 2_932_896)
"""The days from year 1 to year 9999, counted from 1970: what dates can be shown as."""
PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Reading:
    """How one column is read. `found`: its type in the file. `pattern`: how text becomes a moment; None where it is one."""

    column: Column
    found: str
    source: pl.DataType
    loose: bool = False
    """Whether values are text that means something else."""
    pattern: str | None = None
    decimal: Decimal = "."
    empty: bool = False
    """Whether no row has a value, so that nothing is known of the kind."""

    @property
    def name(self) -> str:
        return self.column.name

    def expression(self) -> pl.Expr:
        """The column in its canonical type. Null where nothing is said, and where nothing can be read."""
        raw = pl.col(self.name)
        match self.column.kind:
            case "categorical":
                return words(raw.cast(pl.String)).alias(self.name)
            case "boolean":
                return (flags(raw) if self.loose else raw).alias(self.name)
            case "datetime":
                moment = read_moment(words(raw, NULL_WORDS), self.pattern) if self.pattern else _moment(raw, self.source)
                return moment.alias(self.name)
            case "numeric":
                if not self.loose:
                    return _plain_number(raw, self.source).cast(self.column.dtype).alias(self.name)
                if self.column.whole:  # by way of a float, large numbers would change
                    return raw.str.strip_chars().cast(pl.Int64, strict=False).alias(self.name)
                return numbers(self.name, decimal=self.decimal).alias(self.name)

    def to_json(self) -> dict[str, Any]:
        shown = {"name": self.name, "kind": self.column.kind, "dtype": str(self.column.dtype), "found": self.found}
        return shown | ({"format": self.pattern} if self.pattern else {}) | ({"decimal": ","} if self.decimal == "," else {})


def _plain_number(raw: pl.Expr, source: pl.DataType) -> pl.Expr:
    if isinstance(source, pl.Duration):
        return raw.dt.total_microseconds().cast(pl.Float64) / 1e6
    if isinstance(source, pl.Time):
        return raw.cast(pl.Int64).cast(pl.Float64) / 1e9
    return raw.cast(pl.Float64).fill_nan(None) if source.is_float() or source.is_decimal() else raw


def _moment(raw: pl.Expr, source: pl.DataType) -> pl.Expr:
    """Null outside the years 1 to 9999; beyond them a change of unit would wrap around."""
    unit = source.time_unit if isinstance(source, pl.Datetime) else None
    scale = PER_DAY[unit] if unit else 1
    low, high = max(DAYS[0] * scale, -LARGEST), min((DAYS[1] + 1) * scale - 1, LARGEST)
    sane: pl.Expr = pl.when(raw.to_physical().is_between(low, high)).then(raw)
    if isinstance(source, pl.Datetime) and source.time_zone:
        sane = sane.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return sane.cast(MOMENT)


def read_moment(text: pl.Expr, pattern: str) -> pl.Expr:
    """Text as moments in UTC; null where the pattern does not fit."""
    if "%z" in pattern:
        offset = text.str.replace("Z$", "+00:00")  # the pattern knows offsets alone
        return offset.str.to_datetime(pattern, strict=False, time_unit="us", time_zone="UTC").dt.replace_time_zone(None)
    if "%H" in pattern or "%I" in pattern:
        return text.str.to_datetime(pattern, strict=False, time_unit="us")
    return text.str.to_date(pattern, strict=False).cast(MOMENT)


def read_columns(source: Source, *, findings: Findings, wanted: Sequence[str] | None = None) -> tuple[Reading, ...]:
    """How each column of the source (or of `wanted`) is read. Walks a source of text once whole. Warns of what looks odd."""
    names = list(source.schema if wanted is None else wanted)
    if source.loose == "typed":
        return tuple(_reading_of(name, source.schema[name]) for name in names)
    guesses = [_Guess(name) for name in names if isinstance(source.schema[name], pl.String)]
    decimal: Decimal | None = None
    for batch in source.batches([guess.name for guess in guesses]) if guesses else ():
        if decimal is None:
            decimal = "," if source.loose == "text" and uses_decimal_comma(batch) else "."
        for guess in guesses:
            guess.look(batch[guess.name], loose=source.loose == "text", decimal=decimal)
    found = {guess.name: guess.reading(source.loose == "text", decimal or ".", findings) for guess in guesses}
    return tuple(found.get(name) or _reading_of(name, source.schema[name]) for name in names)


def as_moments(reading: Reading, source: Source, *, findings: Findings) -> Reading:
    """The same column read as moments, where it is text that a typed file left unparsed; unchanged where it is none."""
    if source.loose != "typed" or reading.column.kind != "categorical":
        return reading
    guess = _Guess(reading.name)
    for batch in source.batches([reading.name]):
        guess.look(batch[reading.name].cast(pl.String), loose=False, decimal=".")
    parsed = guess.reading(False, ".", findings)
    return parsed if parsed.column.kind == "datetime" else reading


def _reading_of(name: str, dtype: pl.DataType) -> Reading:
    kind: Kind
    whole = dtype.is_integer() and not isinstance(dtype, pl.UInt64 | pl.Int128 | pl.UInt128)
    if isinstance(dtype, pl.Boolean):
        kind = "boolean"
    elif dtype.is_numeric() or isinstance(dtype, pl.Duration | pl.Time):
        kind = "numeric"
    elif isinstance(dtype, pl.Date | pl.Datetime):
        kind = "datetime"
    else:
        kind = "categorical"
    return Reading(Column(name, kind, whole), str(dtype), dtype, empty=isinstance(dtype, pl.Null))


@dataclass
class _Guess:
    """What one column of text may still be, after the batches seen so far."""

    name: str
    seen: int = 0
    numbers: int = 0
    flags: int = 0
    whole: bool = True
    coded: bool = False
    """Whether a value has leading zeros or too many digits: a code, whatever else it looks like."""
    patterns: tuple[str, ...] | None = None
    odd: list[str] = field(default_factory=list)

    def look(self, values: pl.Series, *, loose: bool, decimal: Decimal) -> None:
        texts = values.to_frame().select(words(pl.col(self.name), NULL_WORDS)).to_series().drop_nulls()
        if texts.is_empty():
            return
        if loose and self.numbers >= MOSTLY * self.seen and not self.coded:
            self._look_for_numbers(texts, decimal)
        if loose and self.flags == self.seen:
            self.flags += int(texts.str.to_lowercase().is_in(list(FLAG_WORDS)).sum())
        if self.patterns != () and not self.numbers:
            self.patterns = self._patterns(texts)
        self.seen += texts.len()

    def _look_for_numbers(self, texts: pl.Series, decimal: Decimal) -> None:
        frame = texts.to_frame(self.name)
        parsed = frame.select(numbers(self.name, decimal=decimal)).to_series()
        self.numbers += parsed.len() - parsed.null_count()
        self.coded = bool(texts.str.contains(r"^[+-]?(0\d|\d{19})\d*$").any())
        self.whole = self.whole and bool(texts.str.contains(r"^[+-]?\d+$").all())
        if parsed.null_count() and len(self.odd) < 3:
            self.odd += texts.filter(parsed.is_null()).head(3).to_list()

    def _patterns(self, texts: pl.Series) -> tuple[str, ...]:
        tried = self.patterns
        if tried is None:
            probe = texts.head(PROBED).unique(maintain_order=True)
            reading = read_dates(probe)
            plain = reading.pattern if reading.complete and reading.pattern and "%z" not in reading.pattern else None
            tried = (plain, *reading.alternatives) if plain else ZONED
        frame = texts.unique(maintain_order=True).to_frame(self.name)
        return tuple(pattern for pattern in tried if _fits(frame, self.name, pattern))

    def reading(self, loose: bool, decimal: Decimal, findings: Findings) -> Reading:
        found = "text" if loose else "String"
        if loose and self.seen and self.flags == self.seen:
            return Reading(Column(self.name, "boolean"), found, pl.String(), loose=True)
        if loose and self.seen and self.numbers == self.seen and not self.coded:
            whole = self.whole
            return Reading(Column(self.name, "numeric", whole), found, pl.String(), loose=True, decimal="." if whole else decimal)
        if self.patterns and not self.numbers:
            if len(self.patterns) > 1 and self.patterns[0] not in ZONED:
                told = f"Dates of {self.name!r} can be read in several ways; {self.patterns[0]} was taken."
                findings.warn("ambiguous_dates", told, column=self.name, examples=self.patterns)
            return Reading(Column(self.name, "datetime"), found, pl.String(), loose=True, pattern=self.patterns[0])
        if loose and not self.coded and self.seen and self.numbers >= MOSTLY * self.seen:
            told = f"{self.name!r} is taken for text because {self.seen - self.numbers} of its {self.seen} values are no numbers."
            findings.warn("mostly_numbers", told, column=self.name, rows=self.seen - self.numbers, examples=shorten(self.odd))
        return Reading(Column(self.name, "categorical"), found, pl.String(), empty=not self.seen)


def _fits(frame: pl.DataFrame, name: str, pattern: str) -> bool:
    try:
        moments = frame.select(read_moment(pl.col(name), pattern).alias(name)).to_series()
    except pl.exceptions.PolarsError:
        return False
    return moments.null_count() == 0


@dataclass
class Converter:
    """Batches of a source in canonical types. Counts what cannot be had: infinite numbers, impossible moments."""

    source: Source
    readings: tuple[Reading, ...]
    infinite: dict[str, int] = field(default_factory=dict)
    impossible: dict[str, int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(reading.column for reading in self.readings)

    def batches(self) -> Iterator[pl.DataFrame]:
        """The canonical batches. Raises FrameError where the source does."""
        for batch in self.source.batches([reading.name for reading in self.readings]):
            frame = batch.select(reading.expression() for reading in self.readings)
            self._count(batch, frame)
            yield frame

    def _count(self, raw: pl.DataFrame, frame: pl.DataFrame) -> None:
        for reading in self.readings:
            name = reading.name
            if isinstance(frame.schema[name], pl.Float64):
                endless = int(frame[name].is_infinite().sum())
                if endless:
                    self.infinite[name] = self.infinite.get(name, 0) + endless
            elif reading.column.kind == "datetime" and not reading.loose:
                lost = frame[name].null_count() - raw[name].null_count()
                if lost:
                    self.impossible[name] = self.impossible.get(name, 0) + lost

    def tell(self, findings: Findings) -> None:
        """What the walks so far found."""
        for name, rows in self.infinite.items():
            findings.error(
                "infinite_values", f"{name!r} has {rows} infinite values; nothing can be learned from them.", column=name, rows=rows
            )
        for name, rows in self.impossible.items():
            findings.error("impossible_dates", f"{name!r} has {rows} moments outside the years 1 to 9999.", column=name, rows=rows)
