"""Wide files, one column per item, brought to a row per series and day.

Cells are stacked into one column before they are parsed: a query over thousands of columns costs Polars gigabytes and minutes, one
over millions of rows a second.
"""

from dataclasses import replace

import polars as pl

from engine.frames.checks import (
    check_columns,
    check_dates,
    check_keys,
    check_numbers,
    collect,
    count_rows,
    find_date_pattern,
    is_implausible,
    number,
    tell_bad_numbers,
    tell_doubtful,
    tell_negatives,
    wide_items,
)
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.opening import FILE, ROW, RawTable
from engine.frames.problems import MAX_EXAMPLES, Findings
from engine.frames.shapes import Tidy, key_names, known_names, series_columns, stop_with_repeated, without_negatives
from engine.frames.values import ONLY_COMMA, ONLY_POINT, TWO_READINGS, as_day, as_flag_or_number, as_number, is_present


def read_wide(table: RawTable, mapping: Mapping, *, limits: ReadLimits, findings: Findings) -> Tidy:
    """The items become a key; blank cells count as missing days. Raises FrameError if the file has errors under this mapping."""
    check_columns(table, mapping, findings)
    findings.stop_on_errors()
    rows = count_rows(table, limits=limits)
    items = wide_items(table, mapping)
    if rows * len(items) > limits.max_rows:
        findings.error("too_many_rows", f"{rows} rows × {len(items)} items are more values than the {limits.max_rows} allowed.")
        findings.stop_on_errors()
    raw, held = _hold(table, mapping, items)
    pattern = find_date_pattern(held, mapping, findings)
    check_dates(held, mapping, pattern, limits=limits, findings=findings)
    check_keys(held, mapping, findings=findings)
    check_numbers(held, mapping, [(column, True) for column in mapping.known], findings=findings)
    target = _cells(held, mapping, raw, items, items, flag=False, findings=findings)
    promotion = _promotion(held, mapping, raw, items, findings=findings)
    stop_with_repeated(held, mapping, pattern, findings=findings)
    frame = _stacked(held, mapping, pattern, items).with_columns(target, promotion)
    empty = pl.lit(None, dtype=pl.Float64)
    kept = frame.with_columns(
        target=without_negatives(pl.col("target"), mapping), price=empty, stock=empty, lines=pl.lit(1, dtype=pl.UInt32)
    )
    left_out = {"blank": rows - raw.height} if raw.height < rows else {}
    return Tidy(kept.filter(pl.col("target").is_not_null()), rows, raw.height, left_out, pattern)


def _hold(table: RawTable, mapping: Mapping, items: list[str]) -> tuple[pl.DataFrame, RawTable]:
    """The mapped columns in memory without blank rows, and the table over them."""
    promotions = [name for name in _promotion_columns(table, mapping, items) if name is not None]
    columns = [mapping.date, *mapping.keys, *mapping.attributes, *mapping.known, *items, *promotions]
    raw = collect(table.lazy.select(ROW, FILE, *columns), table)
    used = pl.Series([False]).new_from_index(0, raw.height)
    for name in columns:
        used |= raw[name].is_not_null()
    raw = raw.filter(used)
    return raw, replace(table, lazy=raw.select(ROW, FILE, *columns[: len(columns) - len(items) - len(promotions)]).lazy(), weeded=True)


def _promotion_columns(table: RawTable, mapping: Mapping, items: list[str]) -> list[str | None]:
    suffix = mapping.promotion_suffix
    return [name if suffix and (name := f"{item}{suffix}") in table.schema else None for item in items]


def _promotion(table: RawTable, mapping: Mapping, raw: pl.DataFrame, items: list[str], *, findings: Findings) -> pl.Series:
    columns = _promotion_columns(table, mapping, items)
    if not any(columns):
        return pl.Series("promotion", [None], dtype=pl.Float64).new_from_index(0, raw.height * len(items)).alias("promotion")
    return _cells(table, mapping, raw, items, columns, flag=True, findings=findings).alias("promotion")


def _cells(
    table: RawTable,
    mapping: Mapping,
    raw: pl.DataFrame,
    items: list[str],
    columns: list[str] | list[str | None],
    *,
    flag: bool,
    findings: Findings,
) -> pl.Series:
    """The numbers of all `columns` (None: no such column), one after another, as `target`; reports what is wrong in them."""
    textual = any(isinstance(table.schema[name], pl.String) for name in columns if name is not None)
    dtype: pl.DataType = pl.String() if textual else pl.Float64()
    nothing = pl.Series([None], dtype=dtype).new_from_index(0, raw.height)
    parts = [(nothing if name is None else raw[name].cast(dtype)).alias(str(index)) for index, name in enumerate(columns)]
    cells = pl.DataFrame([raw[ROW], raw[FILE], *parts]).unpivot(on=[part.name for part in parts], index=[ROW, FILE], value_name="raw")
    read = as_flag_or_number if flag else as_number
    value = read("raw", dtype, decimal=mapping.decimal)
    cells = cells.with_columns(value.alias("value"), is_present("raw", dtype).alias("given"))
    checks = {"not_a_number": pl.col("given") & pl.col("value").is_null(), "not_finite": pl.col("value").is_infinite()}
    checks["implausible_numbers"] = is_implausible(pl.col("value"))
    if not flag:
        checks["negative_target"] = pl.col("value") < 0
    for code, bad in checks.items():
        found = cells.filter(bad).group_by("variable", maintain_order=True).agg(pl.len(), pl.col("raw", ROW, FILE).head(MAX_EXAMPLES))
        for variable, rows, values, places, files in found.iter_rows():
            name = columns[int(variable)] or items[int(variable)]
            examples = [f"{table.place(file, place)}: {str(value)[:40]}" for value, place, file in zip(values, places, files, strict=True)]
            _tell(code, mapping, name, rows, examples, findings)
    if textual and not flag:
        _tell_doubtful(table, mapping, items, cells, findings)
    return cells["value"].alias("target")


def _tell_doubtful(table: RawTable, mapping: Mapping, items: list[str], cells: pl.DataFrame, findings: Findings) -> None:
    """Cells like 1,574, where not one of all items' cells says what the sign means."""
    text = cells["raw"].str.strip_chars()
    if text.str.contains(ONLY_POINT).any() or text.str.contains(ONLY_COMMA).any():
        return
    doubtful = cells.filter(text.str.contains(TWO_READINGS))
    first = doubtful.head(MAX_EXAMPLES)
    places = zip(first["raw"], first[FILE], first[ROW], strict=True)
    examples = [f"{table.place(file, row)}: {value[:40]}" for value, file, row in places]
    item = items[int(first["variable"][0])] if first.height else ""
    tell_doubtful(table, mapping, item, first["raw"].to_list(), doubtful.height, examples, points=False, findings=findings)


def _tell(code: str, mapping: Mapping, column: str, rows: int, examples: list[str], findings: Findings) -> None:
    if code == "negative_target":
        tell_negatives(mapping, column, rows, examples, findings)
    else:
        tell_bad_numbers(code, column, rows, examples, findings)


def _stacked(table: RawTable, mapping: Mapping, pattern: str | None, items: list[str]) -> pl.DataFrame:
    """Date, keys, attributes and known columns, repeated for each item in turn, as `unpivot` stacks the cells."""
    day = as_day(mapping.date, table.schema[mapping.date], pattern).alias("date")
    known = zip(known_names(mapping), mapping.known, strict=True)
    values = [number(table, mapping, column, flag=True).alias(short) for short, column in known]
    base = collect(table.lazy.select(day, *series_columns(table, mapping), *values), table)
    names = pl.DataFrame({key_names(mapping)[-1]: pl.Series(items, dtype=pl.Categorical)})
    return names.join(base, how="cross", maintain_order="left_right")
