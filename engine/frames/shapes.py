"""Long panels and order lines brought to one form: a row per series and day, typed and checked.

Every check runs over the whole file before anything is refused, so that one attempt tells the user all that is wrong.
"""

from dataclasses import dataclass

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
    tell_repeated,
)
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.opening import RawTable
from engine.frames.problems import MAX_EXAMPLES, Findings, counted, have, was
from engine.frames.values import as_day, as_text

MEASURES = ("price", "promotion", "stock")


@dataclass(frozen=True)
class Tidy:
    """`frame`: date, k0.. (keys), a0.. (attributes), target, price, promotion, stock, x0.. (known), lines; unique by date and keys
    unless duplicates were found. Short names keep the user's column names from clashing with ours."""

    frame: pl.DataFrame
    rows_read: int
    rows_kept: int
    left_out: dict[str, int]
    date_pattern: str | None


def key_names(mapping: Mapping) -> list[str]:
    return [f"k{index}" for index in range(len(mapping.panel_keys))]


def attribute_names(mapping: Mapping) -> list[str]:
    return [f"a{index}" for index in range(len(mapping.attributes))]


def known_names(mapping: Mapping) -> list[str]:
    return [f"x{index}" for index in range(len(mapping.known))]


def without_negatives(target: pl.Expr, mapping: Mapping) -> pl.Expr:
    return pl.when(target < 0).then(0.0 if mapping.negatives == "zero" else None).otherwise(target)


def series_columns(table: RawTable, mapping: Mapping) -> list[pl.Expr]:
    named = [*zip(key_names(mapping), mapping.keys, strict=False), *zip(attribute_names(mapping), mapping.attributes, strict=True)]
    return [as_text(column, table.schema[column]).cast(pl.Categorical).alias(short) for short, column in named]


def _measures(table: RawTable, mapping: Mapping) -> list[pl.Expr]:
    exprs = []
    for name in MEASURES:
        column = getattr(mapping, name)
        empty = pl.lit(None, dtype=pl.Float64)
        exprs.append((number(table, mapping, column, flag=name == "promotion") if column else empty).alias(name))
    known = zip(known_names(mapping), mapping.known, strict=True)
    return exprs + [number(table, mapping, column, flag=True).alias(short) for short, column in known]


def _covariates(mapping: Mapping) -> list[tuple[str, bool]]:
    columns = [(getattr(mapping, name), name == "promotion") for name in MEASURES]
    return [(column, flag) for column, flag in columns if column] + [(column, True) for column in mapping.known]


def read_lines(table: RawTable, mapping: Mapping, *, limits: ReadLimits, findings: Findings) -> Tidy:
    """Long panels and transactions: both have a row per line, only the latter are summed and weeded.

    Raises FrameError if the file has errors under this mapping; warnings stay in `findings`.
    """
    check_columns(table, mapping, findings)
    findings.stop_on_errors()
    rows = count_rows(table, limits=limits)
    pattern = find_date_pattern(table, mapping, findings)
    target = str(mapping.target)
    check_dates(table, mapping, pattern, limits=limits, findings=findings)
    check_numbers(table, mapping, [(target, False), *_covariates(mapping)], findings=findings)
    if mapping.shape == "long":
        check_target(table, mapping, target, findings=findings)
        check_keys(table, mapping, findings=findings)
        stop_with_repeated(table, mapping, pattern, findings=findings)
    findings.stop_on_errors()
    wanted = number(table, mapping, target, flag=False)
    day = as_day(mapping.date, table.schema[mapping.date], pattern).alias("date")
    reason = _reason(table, mapping, wanted)
    counts = collect(table.lazy.group_by(reason.alias("reason")).len(), table)
    left_out = {str(why): int(number) for why, number in counts.iter_rows() if why is not None}
    kept = table.lazy.filter(reason.is_null())
    value = wanted if mapping.shape == "transactions" else without_negatives(wanted, mapping)
    columns = [day, *series_columns(table, mapping), value.alias("target"), *_measures(table, mapping)]
    lines = kept.select(*columns, pl.lit(1, dtype=pl.UInt32).alias("lines"))
    if mapping.shape == "transactions":
        _tell_left_out(left_out, findings)
    to_sum = mapping.shape == "transactions" or mapping.duplicates == "sum"
    frame = collect(_summed(lines, mapping) if to_sum else lines, table)
    if mapping.shape == "transactions" and mapping.order is None:
        _tell_summed(frame, mapping, findings)
    return Tidy(frame, rows, rows - sum(left_out.values()), left_out, pattern)


def stop_with_repeated(table: RawTable, mapping: Mapping, pattern: str | None, *, findings: Findings) -> None:
    """Where the file is refused anyway, its repeated days are told with the rest; a file without errors has them found in its panel,
    which costs no second reading."""
    if not findings.has_errors:
        return
    if mapping.duplicates == "refuse":
        day = as_day(mapping.date, table.schema[mapping.date], pattern).alias("date")
        keys = key_names(mapping)[: len(mapping.keys)]
        columns = [day, *series_columns(table, mapping)[: len(keys)]]
        frame = collect(table.lazy.select(columns), table).drop_nulls().sort(*keys, "date")
        again = pl.all_horizontal(pl.all() == pl.all().shift(1))
        repeated = frame.filter(again).group_by("date", *keys).len()
        tell_repeated(repeated.with_columns(pl.col(keys).cast(pl.String)), keys, findings)
    findings.stop_on_errors()


def _reason(table: RawTable, mapping: Mapping, quantity: pl.Expr) -> pl.Expr:
    """Why a row is left out, or null to keep it. The first reason that applies counts."""
    reasons = [(~is_used_row(table, mapping), "blank")]
    if mapping.shape == "transactions":
        if mapping.order is not None and mapping.cancel_prefix:
            order = as_text(mapping.order, table.schema[mapping.order]).str.to_uppercase()
            reasons.append((order.str.starts_with(mapping.cancel_prefix.upper()), "cancelled"))
        reasons += [(quantity < 0, "returned"), (quantity.is_null(), "no_quantity")]
        reasons += [(as_text(column, table.schema[column]).is_null(), "no_item") for column in mapping.keys]
        if mapping.price is not None:
            price = number(table, mapping, mapping.price, flag=False)
            reasons.append((price.is_null() | (price <= 0), "no_price"))
    return pl.coalesce(pl.when(applies).then(pl.lit(reason)) for applies, reason in reasons)


LEFT_OUT = {
    "cancelled": "of cancelled orders",
    "returned": "with a negative quantity (returns)",
    "no_quantity": "without a quantity",
    "no_item": "without an item",
    "no_price": "without a price, or with one of zero or less",
}


def _tell_left_out(left_out: dict[str, int], findings: Findings) -> None:
    for reason, rows in left_out.items():
        if reason in LEFT_OUT:
            findings.warn(f"left_out_{reason}", f"{counted(rows, 'line')} {LEFT_OUT[reason]} {was(rows)} left out.", rows=rows)


def _tell_summed(frame: pl.DataFrame, mapping: Mapping, findings: Findings) -> None:
    """Where no order's id says that rows are lines, it may be that they are mistakes."""
    several = frame.filter(pl.col("lines") > 1)
    if several.height:
        columns = ("date", *key_names(mapping))
        shown = several.sort(columns).head(MAX_EXAMPLES)
        examples = [" ".join(str(row[name]) for name in columns) + f" ({row['lines']} rows)" for row in shown.iter_rows(named=True)]
        days = f"{counted(several.height, 'day')} of a series {have(several.height)} several rows"
        told = f"{days}, which were summed. Check the keys, if these are no lines of orders."
        findings.warn("several_rows_a_day", told, rows=int(several["lines"].sum()), examples=examples)


def _summed(lines: pl.LazyFrame, mapping: Mapping) -> pl.LazyFrame:
    """One row per series and day: quantities added, price averaged by quantity."""
    priced = pl.when(pl.col("price").is_not_null()).then(pl.col("target"))
    weighted = (pl.col("price") * pl.col("target")).sum() / priced.sum()
    # Clipping keeps a constant price exactly what it was, which the division alone does not.
    average = weighted.clip(pl.col("price").min(), pl.col("price").max())
    price = pl.when(priced.sum() > 0).then(average).otherwise(pl.col("price").mean())
    target = pl.when(pl.col("target").count() > 0).then(pl.col("target").sum())
    return lines.group_by("date", *key_names(mapping)).agg(
        *[pl.col(name).first() for name in attribute_names(mapping)],
        target.alias("target"),
        price.alias("price"),
        pl.col("promotion").max(),
        pl.col("stock").last(),
        *[pl.col(name).max() for name in known_names(mapping)],
        pl.len().cast(pl.UInt32).alias("lines"),
    )
