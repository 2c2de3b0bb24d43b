"""Wide files, one column per item, brought to a row per series and day."""

import polars as pl

from engine.frames.checks import (
    check_columns,
    check_dates,
    check_keys,
    check_numbers,
    check_target,
    collect,
    count_rows,
    find_date_pattern,
    is_used_row,
    number,
    wide_items,
)
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.opening import RawTable
from engine.frames.problems import Findings
from engine.frames.shapes import Tidy, attribute_names, key_names, known_names, series_columns, without_negatives
from engine.frames.values import as_day


def read_wide(table: RawTable, mapping: Mapping, *, limits: ReadLimits, findings: Findings) -> Tidy:
    """The items become a key; blank cells count as missing days. Raises FrameError if the file has errors under this mapping."""
    check_columns(table, mapping, findings)
    findings.stop_on_errors()
    rows = count_rows(table, limits=limits)
    items = wide_items(table, mapping)
    if rows * len(items) > limits.max_rows:
        findings.error("too_many_rows", f"{rows} rows × {len(items)} items are more values than the {limits.max_rows} allowed.")
        findings.stop_on_errors()
    pattern = find_date_pattern(table, mapping, findings)
    promotions = _promotions(table, mapping, items)
    check_dates(table, mapping, pattern, limits=limits, findings=findings)
    flags = [(column, True) for column in [*promotions.values(), *mapping.known]]
    check_numbers(table, mapping, [(item, False) for item in items] + flags, findings=findings)
    check_target(table, mapping, items, findings=findings)
    check_keys(table, mapping, findings=findings)
    findings.stop_on_errors()
    used = table.lazy.filter(is_used_row(table, mapping))
    wide = collect(used.select(_columns(table, mapping, pattern, items, promotions)), table)
    left_out = {"blank": rows - wide.height} if wide.height < rows else {}
    return Tidy(_unpivoted(wide, mapping, items, with_marks=bool(promotions)), rows, wide.height, left_out, pattern)


def _promotions(table: RawTable, mapping: Mapping, items: list[str]) -> dict[str, str]:
    suffix = mapping.promotion_suffix
    return {item: f"{item}{suffix}" for item in items if suffix and f"{item}{suffix}" in table.schema}


def _columns(table: RawTable, mapping: Mapping, pattern: str | None, items: list[str], promotions: dict[str, str]) -> list[pl.Expr]:
    """Typed columns: t0.. for the items, p0.. for their promotions where the file has any."""
    day = as_day(mapping.date, table.schema[mapping.date], pattern).alias("date")
    known = [
        number(table, mapping, column, flag=True).alias(short) for short, column in zip(known_names(mapping), mapping.known, strict=True)
    ]
    targets = [without_negatives(number(table, mapping, item, flag=False), mapping).alias(f"t{i}") for i, item in enumerate(items)]
    marks = []
    if promotions:
        empty = pl.lit(None, dtype=pl.Float64)
        for index, item in enumerate(items):
            mark = number(table, mapping, promotions[item], flag=True) if item in promotions else empty
            marks.append(mark.alias(f"p{index}"))
    return [day, *series_columns(table, mapping), *known, *targets, *marks]


def _unpivoted(wide: pl.DataFrame, mapping: Mapping, items: list[str], *, with_marks: bool) -> pl.DataFrame:
    index = ["date", *key_names(mapping)[:-1], *attribute_names(mapping), *known_names(mapping)]
    names = [f"t{i}" for i in range(len(items))]
    item_key = key_names(mapping)[-1]
    long = wide.unpivot(on=names, index=index, variable_name=item_key, value_name="target")
    named = pl.col(item_key).replace_strict(dict(zip(names, items, strict=True)), return_dtype=pl.String).cast(pl.Categorical)
    empty = pl.lit(None, dtype=pl.Float64)
    if with_marks:
        # Both unpivots stack column after column, so their rows correspond.
        marks = wide.unpivot(on=[f"p{i}" for i in range(len(items))], index=["date"], value_name="promotion")
        long = long.with_columns(marks["promotion"])
    else:
        long = long.with_columns(promotion=empty)
    lines = pl.lit(1, dtype=pl.UInt32)
    return long.with_columns(named).filter(pl.col("target").is_not_null()).with_columns(price=empty, stock=empty, lines=lines)
