"""Foreign tables as a stream of small frames: CSV, Parquet, or records of JSON. Only the last are held whole; nothing is believed.

A source can be walked several times; each walk gives the same batches in the same order. In a serving or web process use
`engine.formats.tables`, which does this in a disposable child.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import polars as pl

from engine.frames.dialect import Dialect, find_dialect, text_chunks
from engine.frames.limits import ReadLimits
from engine.frames.problems import Findings, refuse
from engine.tabular.limits import MAX_CLASSES, MAX_FEATURES
from engine.tabular.naming import check_names
from engine.tabular.records import START, Loose, looks_like_json, open_json, open_records

CELLS_PER_BATCH = 1 << 20
"""Rows × columns in memory at once."""
BYTES_PER_BATCH = 32 << 20
LARGEST_BATCH, SMALLEST_BATCH = 65_536, 256
LINE_BYTES = 4 << 20
"""Of CSV text per block, several of which are read ahead; a row must fit in two."""
BOMB_RATIO = 200
FREE_BYTES = 1 << 30
"""What any file may decode to; beyond it, BOMB_RATIO times its own size."""

Format = Literal["auto", "records"]


@dataclass(frozen=True)
class TableLimits:
    """Bounds on what one table may cost, each checked on what was decoded."""

    max_file_bytes: int = 2 << 30
    max_text_bytes: int = 8 << 30
    """Of CSV after unpacking and re-encoding."""
    max_rows: int = 50_000_000
    max_columns: int = 2_048
    """Features, and those that are none."""
    max_features: int = MAX_FEATURES
    max_classes: int = MAX_CLASSES

    def for_text(self) -> ReadLimits:
        """The same, as the readers of text know them."""
        return ReadLimits(max_file_bytes=self.max_file_bytes, max_text_bytes=self.max_text_bytes, max_columns=self.max_columns)


class Source(Protocol):
    """`loose`: how far its types can be relied upon. Text has none, JSON has all but moments, Parquet says everything."""

    @property
    def loose(self) -> Loose: ...
    @property
    def schema(self) -> dict[str, pl.DataType]: ...
    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]: ...
    def describe(self) -> dict[str, Any]: ...


def open_source(path: Path, *, kind: Format = "auto", limits: TableLimits, findings: Findings) -> Source:
    """The table in a file, whatever its name says. Raises FrameError where it is none."""
    size = path.stat().st_size
    if size == 0:
        raise refuse("empty_file", "The file is empty.")
    if size > limits.max_file_bytes:
        raise refuse("too_large", f"{size >> 20} MB were given; {limits.max_file_bytes >> 20} MB are allowed.")
    if kind == "records":
        return open_records(path, most_columns=limits.max_columns)
    with path.open("rb") as stream:
        start = stream.read(START)
    if looks_like_json(start):
        return open_json(path, most_columns=limits.max_columns)
    source = _open_parquet(path, limits=limits) if start[:4] == b"PAR1" else _open_text(path, limits=limits, findings=findings)
    check_names(source.names, most=limits.max_columns, findings=findings)
    findings.stop_on_errors()
    return source


def batch_rows(columns: int) -> int:
    """Rows per batch, fewer the wider the table."""
    return min(LARGEST_BATCH, max(SMALLEST_BATCH, CELLS_PER_BATCH // max(columns, 1)))


@dataclass
class _Meter:
    """Counts what a walk decodes. Raises FrameError once it is more than any honest file of that size holds."""

    file_bytes: int
    limits: TableLimits
    rows: int = 0
    decoded: int = 0

    def count(self, rows: int, decoded: int) -> None:
        self.rows += rows
        self.decoded += decoded
        if self.rows > self.limits.max_rows:
            raise refuse("too_many_rows", f"The table has more than the {self.limits.max_rows:,} rows allowed.")
        allowed = max(FREE_BYTES, BOMB_RATIO * self.file_bytes)
        if self.decoded > allowed:
            told = f"{self.file_bytes:,} bytes decode to more than {allowed >> 20:,} MB; no such file is read."
            raise refuse("decompression_bomb", told)


# --- CSV --------------------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class TextSource:
    """A CSV file. Every column is text."""

    path: Path
    dialect: Dialect
    rewritten: bool
    marked: bool
    """Whether UTF-8 is announced by a byte order mark."""
    names: tuple[str, ...]
    limits: TableLimits
    loose: Loose = "text"

    @property
    def schema(self) -> dict[str, pl.DataType]:
        return dict.fromkeys(self.names, pl.String())

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Frames of text. Raises FrameError naming rows with another number of fields than the header."""
        import pyarrow as pa
        from pyarrow import csv

        ragged: list[str] = []

        def skip(row: Any) -> str:
            if len(ragged) < 5:
                ragged.append(f"row {row.number}: {row.actual_columns} fields instead of {row.expected_columns}")
            raise_later[0] += 1
            return "skip"

        raise_later = [0]
        wanted = list(self.names if columns is None else columns)
        leading = self.dialect.skip - 1  # a line that only names the separator
        reading = csv.ReadOptions(
            use_threads=False, block_size=LINE_BYTES, column_names=list(self.names), skip_rows=leading, skip_rows_after_names=1
        )
        parsing = csv.ParseOptions(delimiter=self.dialect.delimiter, newlines_in_values=True, invalid_row_handler=skip)
        types = dict.fromkeys(wanted, pa.string())
        converting = csv.ConvertOptions(column_types=types, include_columns=wanted, strings_can_be_null=False)
        rows = batch_rows(len(wanted))
        try:
            with (
                self._stream() as stream,
                csv.open_csv(stream, read_options=reading, parse_options=parsing, convert_options=converting) as reader,
            ):
                meter = _Meter(max(self.limits.max_text_bytes, 1), self.limits)
                for block in reader:
                    meter.count(block.num_rows, block.nbytes)
                    frame = pl.DataFrame(pl.from_arrow(block))
                    for start in range(0, frame.height, rows):
                        yield frame.slice(start, rows)
        except pa.ArrowInvalid as error:
            raise refuse("unreadable_text", _csv_complaint(str(error))) from error
        if raise_later[0]:
            told = f"{raise_later[0]} rows have another number of fields than the header's {len(self.names)}."
            raise refuse("ragged_rows", told, examples=ragged)

    def _stream(self) -> io.BufferedIOBase:
        if not self.rewritten:
            return self.path.open("rb")
        pieces = text_chunks(self.path, self.dialect, max_bytes=self.limits.max_text_bytes)
        return io.BufferedReader(_Pieces(pieces), buffer_size=1 << 20)

    def describe(self) -> dict[str, Any]:
        return {
            "format": "csv",
            "encoding": "utf-8-sig" if self.marked else self.dialect.encoding,
            "delimiter": self.dialect.delimiter,
            "quote": '"',
            "compression": "gzip" if self.dialect.compressed else None,
            "header": True,
        }


def _csv_complaint(error: str) -> str:
    if "straddling" in error:
        return f'A row is longer than {LINE_BYTES >> 20} MB; probably a quotation mark (") is never closed.'
    return f"The text cannot be read as CSV: {error[:200]}"


class _Pieces(io.RawIOBase):
    """A file made of pieces that are produced as they are read. A lone carriage return ends a line, as on old Macs."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _open_text(path: Path, *, limits: TableLimits, findings: Findings) -> TextSource:
    dialect, rewritten = find_dialect(path, limits=limits.for_text(), findings=findings)
    names = tuple(name.strip() for name in dialect.header)
    with path.open("rb") as stream:
        marked = stream.read(3) == b"\xef\xbb\xbf"
    return TextSource(path, dialect, rewritten, marked, names, limits)


# --- Parquet ----------------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ParquetSource:
    """A Parquet file, decoded page by page: a row group is never in memory whole."""

    path: Path
    schema: dict[str, pl.DataType]
    groups: int
    limits: TableLimits
    left_out: tuple[str, ...] = ()
    """Columns of kinds that no table here holds: lists, structures, bytes."""
    loose: Loose = "typed"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.schema)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Frames of the file's own types. Raises FrameError where the file is damaged, or holds more than it may."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = list(self.schema if columns is None else columns)
        meter = _Meter(self.path.stat().st_size, self.limits)
        try:
            with pq.ParquetFile(self.path, buffer_size=1 << 20, pre_buffer=False) as file:
                probe = next(file.iter_batches(batch_size=SMALLEST_BATCH, columns=wanted, use_threads=False), None)
                # Rows of long texts come in smaller batches; how long they are only reading tells.
                width = probe.nbytes // max(probe.num_rows, 1) if probe is not None else 0
                rows = max(1, min(batch_rows(len(wanted)), BYTES_PER_BATCH // max(width, 1)))
                for batch in file.iter_batches(batch_size=rows, columns=wanted, use_threads=False):
                    meter.count(batch.num_rows, batch.nbytes)
                    yield pl.DataFrame(pl.from_arrow(batch)).select(wanted)
        except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
            raise refuse("damaged_parquet", f"The Parquet file cannot be read: {str(error)[:200]}") from error

    def describe(self) -> dict[str, Any]:
        return {"format": "parquet", "row_groups": self.groups, "left_out": list(self.left_out)[:100]}


def _open_parquet(path: Path, *, limits: TableLimits) -> ParquetSource:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            arrow, rows, groups = file.schema_arrow, file.metadata.num_rows, file.metadata.num_row_groups
            if len(arrow) > limits.max_columns:
                raise refuse("too_many_columns", f"The table has {len(arrow)} columns; {limits.max_columns} are allowed.")
            if rows > limits.max_rows:
                raise refuse("too_many_rows", f"The table has {rows:,} rows; {limits.max_rows:,} are allowed.")
            twice = sorted({name for name in arrow.names if arrow.names.count(name) > 1})
            if twice:
                raise refuse("duplicate_columns", f"Columns appear twice: {', '.join(twice)[:200]}.", examples=twice)
            plain = [one for one in arrow if _is_plain(one.type)]
            empty = pl.DataFrame(pl.from_arrow(pa.schema(plain).empty_table()))
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
        raise refuse("damaged_parquet", f"The Parquet file cannot be read: {str(error)[:200]}") from error
    left_out = tuple(sorted(set(arrow.names) - set(empty.columns)))
    return ParquetSource(path, dict(empty.schema), groups, limits, left_out)


def _is_plain(dtype: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    nested = pa.types.is_nested(dtype) or isinstance(dtype, pa.BaseExtensionType)
    binary = pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype) or pa.types.is_fixed_size_binary(dtype)
    return not (nested or binary or pa.types.is_binary_view(dtype) or pa.types.is_interval(dtype))
