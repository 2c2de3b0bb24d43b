"""Open a CSV file, a Parquet file or a folder of either as one lazy frame, within bounds."""

import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from engine.frames.dialect import Dialect, bad_records, read_dialect
from engine.frames.limits import ReadLimits
from engine.frames.problems import Findings, refuse

ROW = "__row"
FILE = "__file"


@dataclass(frozen=True)
class RawTable:
    """The user's file as it is. `lazy` has the file's columns, then ROW (number for messages) and FILE (index into `files`)."""

    lazy: pl.LazyFrame
    schema: dict[str, pl.DataType]
    text: bool
    """Whether every column is text (CSV), so that numbers and dates are still to be parsed."""
    files: tuple[str, ...]
    dialects: tuple[Dialect, ...]
    paths: tuple[Path, ...]
    weeded: bool = False
    """Whether blank rows are gone already."""

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.schema)

    @property
    def delimiter(self) -> str | None:
        """What parts the columns of text; None where there is no text."""
        return self.dialects[0].delimiter if self.dialects else None

    def describe(self) -> dict[str, Any]:
        """The source's format for reports: what was found, not what was claimed."""
        if not self.dialects:
            return {"format": "parquet", "files": len(self.files)}
        first = self.dialects[0]
        return {
            "format": "csv",
            "files": len(self.files),
            "encoding": first.encoding,
            "delimiter": first.delimiter,
            "compressed": first.compressed,
        }

    def place(self, file: int, row: int) -> str:
        """How a message names a row; files are named only where there are several."""
        return f"row {row}" if len(self.files) == 1 else f"{self.files[file]} row {row}"

    def broken_rows(self) -> list[str]:
        """Examples of CSV rows with too many fields, after reading failed."""
        found: list[str] = []
        for name, path, dialect in zip(self.files, self.paths, self.dialects, strict=True):
            found += [text if len(self.files) == 1 else f"{name} {text}" for text in bad_records(dialect, path)]
        return found


def open_table(source: Path, *, limits: ReadLimits, findings: Findings, named: Collection[str] = ()) -> RawTable:
    """Raises FrameError where the source is no readable table. Files in a folder are read in the order of their names.

    A first line that has all columns `named` is taken for the header, whatever it looks like.
    """
    paths = _files(source, limits=limits)
    kinds = {_is_parquet(path) for path in paths}
    if len(kinds) > 1:
        raise refuse("mixed_formats", "The folder holds CSV and Parquet files; keep one of the two.")
    files = tuple(path.name for path in paths)
    if kinds == {True}:
        tables = [_scan_parquet(path, limits=limits) for path in paths]
        schema = _common_schema([table.collect_schema() for table in tables], files)
        return RawTable(_concat(tables), schema, False, files, (), paths)
    dialects = tuple(read_dialect(path, limits=limits, findings=findings, named=named) for path in paths)
    for name, dialect in zip(files, dialects, strict=True):
        if others := set(_names(dialect)) ^ set(_names(dialects[0])):
            raise refuse("different_columns", f"{name} has other columns than {files[0]}.", examples=sorted(others))
    findings.stop_on_errors()
    tables = [_scan_csv(path, dialect) for path, dialect in zip(paths, dialects, strict=True)]
    schema = dict.fromkeys(_names(dialects[0]), pl.String())
    return RawTable(_concat(tables), dict(schema), True, files, dialects, paths)


def _files(source: Path, *, limits: ReadLimits) -> tuple[Path, ...]:
    if not source.is_dir():
        found: tuple[Path, ...] = (source,)
    else:
        found = tuple(sorted(path for path in source.iterdir() if not path.name.startswith((".", "_"))))
        found = tuple(path for path in found if stat.S_ISREG(path.lstat().st_mode))  # no links out of the folder, no sub-folders
        if not found:
            raise refuse("empty_folder", "The folder holds no file.")
        if len(found) > limits.max_files:
            raise refuse("too_many_files", f"The folder holds {len(found)} files; {limits.max_files} are allowed.")
    try:
        size = sum(path.stat().st_size for path in found)
    except FileNotFoundError as error:
        raise refuse("no_file", "There is no such file.") from error
    if size > limits.max_file_bytes:
        raise refuse("too_large", f"{size >> 20} MB were given; {limits.max_file_bytes >> 20} MB are allowed.")
    if size == 0:
        raise refuse("empty_file", "The file is empty.")
    return found


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _names(dialect: Dialect) -> tuple[str, ...]:
    return tuple(name.strip() or f"column_{position}" for position, name in enumerate(dialect.header, start=1))


def _scan_csv(path: Path, dialect: Dialect) -> pl.LazyFrame:
    return pl.scan_csv(
        dialect.text if dialect.text is not None else path,
        has_header=False,
        skip_rows=dialect.skip,
        separator=dialect.delimiter,
        schema=dict.fromkeys(_names(dialect), pl.String),
        missing_columns="insert",
        row_index_name=ROW,
        row_index_offset=dialect.skip + 1,
        glob=False,
        raise_if_empty=False,
    )


def _scan_parquet(path: Path, *, limits: ReadLimits) -> pl.LazyFrame:
    lazy = pl.scan_parquet(path, glob=False, row_index_name=ROW, row_index_offset=1)
    try:
        schema = lazy.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise refuse("damaged_parquet", f"The Parquet file cannot be read: {str(error)[:200]}") from error
    if len(schema) > limits.max_columns:
        raise refuse("too_many_columns", f"The file has {len(schema)} columns; {limits.max_columns} are allowed.")
    for name, dtype in schema.items():
        if _depth(dtype, limits.max_nesting) > limits.max_nesting:
            raise refuse("too_nested", f"Column {name!r} is nested more than {limits.max_nesting} deep.", column=name)
    return lazy


def _depth(dtype: pl.DataType, limit: int) -> int:
    """Levels of nesting, counted no further than just past the limit."""
    level, layer = 0, [dtype]
    while layer and level <= limit + 1:
        inner: list[pl.DataType] = []
        for entry in layer:
            if isinstance(entry, pl.List | pl.Array) and isinstance(entry.inner, pl.DataType):
                inner.append(entry.inner)
            elif isinstance(entry, pl.Struct):
                inner += [field.dtype for field in entry.fields if isinstance(field.dtype, pl.DataType)]
        layer, level = inner, level + 1
    return level


def _common_schema(schemas: list[pl.Schema], files: tuple[str, ...]) -> dict[str, pl.DataType]:
    first = {name: dtype for name, dtype in schemas[0].items() if name != ROW}
    for name, schema in zip(files, schemas, strict=True):
        if set(schema) - {ROW} != set(first):
            raise refuse("different_columns", f"{name} has other columns than {files[0]}.", examples=sorted(set(schema) ^ set(first)))
    return first


def _concat(tables: list[pl.LazyFrame]) -> pl.LazyFrame:
    marked = [table.with_columns(pl.lit(index, dtype=pl.UInt16).alias(FILE)) for index, table in enumerate(tables)]
    return marked[0] if len(marked) == 1 else pl.concat(marked, how="diagonal_relaxed")
