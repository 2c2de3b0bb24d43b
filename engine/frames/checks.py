"""Checks of a file's values under a mapping. Each runs over the whole file and reports rows, not only the first."""

import polars as pl

from engine.frames.limits import LARGEST_VALUE, ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.opening import FILE, ROW, RawTable
from engine.frames.problems import MAX_EXAMPLES, Findings, be, counted, have, refuse, was
from engine.frames.values import (
    MAX_DISTINCT_DATES,
    ONLY_COMMA,
    ONLY_POINT,
    TWO_READINGS,
    as_day,
    as_flag_or_number,
    as_number,
    as_text,
    is_present,
    is_temporal,
    read_dates,
)


def wide_items(table: RawTable, mapping: Mapping) -> list[str]:
    """The item columns: those named, or every column without another role; promotion columns belong to their item."""
    if mapping.items:
        return list(mapping.items)
    taken = {mapping.date, *mapping.keys, *mapping.attributes, *mapping.known}
    free = [name for name in table.columns if name not in taken]
    suffix = mapping.promotion_suffix
    if suffix is None:
        return free
    return [name for name in free if not (name.endswith(suffix) and name.removesuffix(suffix) in free)]


def check_columns(table: RawTable, mapping: Mapping, findings: Findings) -> None:
    for name in mapping.columns:
        if name not in table.schema:
            close = next((column for column in table.columns if column.lower() == name.lower()), None)
            hint = f" Did you mean {close!r}?" if close else ""
            findings.error("missing_column", f"The file has no column {name!r}.{hint}", column=name, examples=table.columns)
        elif table.schema[name].is_nested() or isinstance(table.schema[name], pl.Binary | pl.Object):
            findings.error("wrong_type", f"Column {name!r} holds {table.schema[name]} values, which are no plain values.", column=name)
    if mapping.shape == "wide" and not wide_items(table, mapping):
        findings.error("no_items", "No column is left to be an item; name the item columns.")


def collect(lazy: pl.LazyFrame, table: RawTable) -> pl.DataFrame:
    """Run the query by streaming. Raises FrameError where the file turns out to be damaged."""
    try:
        return lazy.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        if not table.text:
            raise refuse("damaged_parquet", f"The Parquet file cannot be read: {str(error)[:200]}") from error
        broken = table.broken_rows()
        raise refuse(
            "malformed_csv", "Some rows have more fields than the header, or quotes in the wrong place.", examples=broken
        ) from error


def count_rows(table: RawTable, *, limits: ReadLimits) -> int:
    rows = int(collect(table.lazy.select(pl.len()), table).item())
    if rows == 0:
        raise refuse("no_rows", "The file has a header and no rows.")
    if rows > limits.max_rows:
        raise refuse("too_many_rows", f"The file has {rows} rows; {limits.max_rows} are allowed.")
    return rows


def find_date_pattern(table: RawTable, mapping: Mapping, findings: Findings) -> str | None:
    dtype = table.schema[mapping.date]
    if is_temporal(dtype) or mapping.date_format is not None:
        return mapping.date_format
    distinct = table.lazy.select(pl.col(mapping.date).unique()).head(MAX_DISTINCT_DATES)
    reading = read_dates(collect(distinct, table).to_series())
    if reading.alternatives and reading.complete:
        findings.warn(
            "ambiguous_dates",
            f"Dates were read as {reading.pattern}; {', '.join(reading.alternatives)} would fit too. Set the date format if that is wrong.",
            column=mapping.date,
        )
    return reading.pattern


def _places(bad: pl.Expr, value: pl.Expr, prefix: str) -> list[pl.Expr]:
    """Aggregates that say how many rows are bad and show the first few."""
    return [
        bad.sum().alias(f"{prefix}:rows"),
        value.cast(pl.String).filter(bad).head(MAX_EXAMPLES).implode().alias(f"{prefix}:values"),
        pl.col(ROW).filter(bad).head(MAX_EXAMPLES).implode().alias(f"{prefix}:places"),
        pl.col(FILE).filter(bad).head(MAX_EXAMPLES).implode().alias(f"{prefix}:files"),
    ]


def _examples(table: RawTable, found: pl.DataFrame, prefix: str) -> tuple[int, list[str]]:
    rows = int(found[f"{prefix}:rows"].item() or 0)
    values, places, files = (found[f"{prefix}:{part}"].item() for part in ("values", "places", "files"))
    texts = [f"{table.place(file, row)}: {_shown(value)}" for value, row, file in zip(values, places, files, strict=True)]
    return rows, texts


def bad_cells(table: RawTable, column: str, bad: pl.Expr) -> tuple[int, list[str]]:
    """How many of a column's cells are `bad`, and the first few of them with their rows."""
    return _examples(table, collect(table.lazy.select(_places(bad, pl.col(column), "0")), table), "0")


def _shown(value: str | None) -> str:
    return "(empty)" if value is None else value[:40]


def check_dates(table: RawTable, mapping: Mapping, pattern: str | None, *, limits: ReadLimits, findings: Findings) -> None:
    """Unreadable, mixed, missing and implausible dates."""
    dtype = table.schema[mapping.date]
    day, given = as_day(mapping.date, dtype, pattern), is_present(mapping.date, dtype)
    outside = given & ((day < limits.earliest_day) | (day > limits.latest_day)).fill_null(value=False)
    used = is_used_row(table, mapping)
    checks = {"unread": given & day.is_null() & used, "missing": ~given & used, "outside": outside & used}
    raw = pl.col(mapping.date)
    found = collect(table.lazy.select([part for name, bad in checks.items() for part in _places(bad, raw, name)]), table)
    rows, examples = _examples(table, found, "unread")
    if rows:
        unread = pl.Series(found["unread:values"].item(), dtype=pl.String)
        mixed = pattern is not None and mapping.date_format is None and read_dates(unread).complete
        code, told = (
            ("mixed_date_formats", f"{be(rows)} not written like the others ({pattern})")
            if mixed
            else ("unparsable_dates", f"{be(rows)} no date{'' if rows == 1 else 's'}")
        )
        findings.error(code, f"{counted(rows, 'value')} of {mapping.date!r} {told}.", column=mapping.date, rows=rows, examples=examples)
    rows, examples = _examples(table, found, "missing")
    if rows:
        findings.error("missing_dates", f"{counted(rows, 'row')} {have(rows)} no date.", column=mapping.date, rows=rows, examples=examples)
    rows, examples = _examples(table, found, "outside")
    if rows:
        told = f"{counted(rows, 'date')} {'lies' if rows == 1 else 'lie'} before {limits.earliest_day} or after {limits.latest_day}."
        findings.error("implausible_dates", told, column=mapping.date, rows=rows, examples=examples)


def is_used_row(table: RawTable, mapping: Mapping) -> pl.Expr:
    """False for rows in which every mapped column is empty: trailing blank lines of an export."""
    if table.weeded:
        return pl.lit(value=True)
    singles = [mapping.date, mapping.target, mapping.price, mapping.promotion, mapping.stock, mapping.order]
    columns = [name for name in singles if name is not None] + [*mapping.keys, *mapping.attributes, *mapping.known]
    return pl.any_horizontal([pl.col(name).is_not_null() for name in columns])


def number(table: RawTable, mapping: Mapping, column: str, *, flag: bool) -> pl.Expr:
    read = as_flag_or_number if flag else as_number
    return read(column, table.schema[column], decimal=mapping.decimal)


def check_numbers(table: RawTable, mapping: Mapping, columns: list[tuple[str, bool]], *, findings: Findings) -> None:
    """Values that are no finite numbers, in each of `columns` (name, whether yes/no is allowed)."""
    parts: list[pl.Expr] = []
    for index, (column, flag) in enumerate(columns):
        value, raw = number(table, mapping, column, flag=flag), pl.col(column)
        unread = is_present(column, table.schema[column]) & value.is_null()
        parts += _places(unread, raw, f"{index}:unread")
        parts += _places(value.is_infinite().fill_null(value=False), raw, f"{index}:infinite")
        parts += _places(is_implausible(value), raw, f"{index}:implausible")
        if isinstance(table.schema[column], pl.String):
            text = raw.str.strip_chars()
            parts += _places(text.str.contains(TWO_READINGS), raw, f"{index}:doubtful")
            parts += [
                text.str.contains(ONLY_POINT).any().alias(f"{index}:point"),
                text.str.contains(ONLY_COMMA).any().alias(f"{index}:comma"),
            ]
    if not parts:
        return
    found = collect(table.lazy.select(parts), table)
    for index, (column, _) in enumerate(columns):
        for name, code in (("unread", "not_a_number"), ("infinite", "not_finite"), ("implausible", "implausible_numbers")):
            rows, examples = _examples(table, found, f"{index}:{name}")
            if rows:
                tell_bad_numbers(code, column, rows, examples, findings)
    points = any(found[name].item() for name in found.columns if name.endswith(":point"))
    for index, (column, _) in enumerate(columns):
        if isinstance(table.schema[column], pl.String) and not (found[f"{index}:point"].item() or found[f"{index}:comma"].item()):
            values = found[f"{index}:doubtful:values"].item().to_list()
            rows, examples = _examples(table, found, f"{index}:doubtful")
            tell_doubtful(table, mapping, column, values, rows, examples, points=points, findings=findings)


def is_implausible(value: pl.Expr) -> pl.Expr:
    return (value.is_finite() & (value.abs() > LARGEST_VALUE)).fill_null(value=False)


def tell_bad_numbers(code: str, column: str, rows: int, examples: list[str], findings: Findings) -> None:
    no_number = "no number" if rows == 1 else "no numbers"
    told = {"not_a_number": no_number, "not_finite": "infinite", "implausible_numbers": f"beyond ±{LARGEST_VALUE:g}"}[code]
    findings.error(code, f"{counted(rows, 'value')} of {column!r} {be(rows)} {told}.", column=column, rows=rows, examples=examples)


def tell_doubtful(
    table: RawTable,
    mapping: Mapping,
    column: str,
    values: list[str],
    rows: int,
    examples: list[str],
    *,
    points: bool,
    findings: Findings,
) -> None:
    """Numbers like 1,574, where no other value of their column says what the sign means. Three decimals behind a point are told only
    where a comma could be the decimal sign: in a file of semicolons without `points`, numbers that only a decimal point explains."""
    if not values:
        return
    shown = values[0].strip()
    if "," not in shown and mapping.decimal == "." and (points or table.delimiter != ";"):
        return
    whole, fraction = shown.replace(".", "").replace(",", ""), shown.replace(",", ".")
    read, other = (fraction, whole) if mapping.decimal in shown else (whole, fraction)
    told = f"Numbers of {column!r} such as {shown} were read as {read}; {other} would fit too. Set the decimal sign if that is wrong."
    findings.warn("ambiguous_numbers", told, column=column, rows=rows, examples=examples)


def check_target(table: RawTable, mapping: Mapping, column: str, *, findings: Findings) -> None:
    """Negative targets: a problem unless the mapping says what they mean."""
    negative = (number(table, mapping, column, flag=False) < 0).fill_null(value=False)
    rows, examples = bad_cells(table, column, negative)
    if rows:
        tell_negatives(mapping, column, rows, examples, findings)


def tell_negatives(mapping: Mapping, column: str, rows: int, examples: list[str], findings: Findings) -> None:
    if mapping.negatives == "refuse":
        values = f"{counted(rows, 'value')} of {column!r} {be(rows)} negative"
        told = f"{values}. If they are returns, say whether such days count as zero or unknown."
        findings.error("negative_target", told, column=column, rows=rows, examples=examples)
    else:
        told = f"{counted(rows, 'negative value')} of {column!r} {was(rows)} taken as {mapping.negatives}."
        findings.warn("negative_target", told, column=column, rows=rows, examples=examples)


def tell_repeated(repeated: pl.DataFrame, keys: list[str], findings: Findings, *, copies: bool = False) -> None:
    """`repeated`: a row per series and day that has more rows than one, `len` counting those too many. `copies`: they say the same."""
    if repeated.is_empty():
        return
    shown = repeated.sort("date", *keys).head(MAX_EXAMPLES)
    examples = [" ".join(str(row[name]) for name in ("date", *keys)) + f" ({row['len'] + 1} rows)" for row in shown.iter_rows(named=True)]
    told = f"{counted(repeated.height, 'day')} of a series {have(repeated.height)} more than one row"
    advice = ". Add the missing key column, or choose to sum them (shape “transactions” for order lines)."
    told += ": copies, for they say the same. Keep each row once." if copies else advice
    findings.error("duplicate_days", told, rows=int(repeated["len"].sum()), examples=examples)


def check_keys(table: RawTable, mapping: Mapping, *, findings: Findings) -> None:
    """Rows that belong to no series."""
    parts: list[pl.Expr] = []
    used = is_used_row(table, mapping)
    for index, column in enumerate(mapping.keys):
        parts += _places(as_text(column, table.schema[column]).is_null() & used, pl.col(column), str(index))
    if not parts:
        return
    found = collect(table.lazy.select(parts), table)
    for index, column in enumerate(mapping.keys):
        rows, examples = _examples(table, found, str(index))
        if rows:
            findings.error(
                "missing_key", f"{counted(rows, 'row')} {have(rows)} no {column!r}.", column=column, rows=rows, examples=examples
            )
