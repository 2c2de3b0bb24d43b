"""From tidy rows to a Panel: numbered series, no gaps, closed days marked, unknown kept apart from zero."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from engine.frames.calendar import find_closures
from engine.frames.checks import tell_repeated
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.panel import COLUMNS, REQUIRED, Panel, optional_of
from engine.frames.problems import MAX_EXAMPLES, Findings, counted, was
from engine.frames.shapes import Tidy, attribute_names, key_names, known_names

LOCATION_WORDS = (
    "store",
    "shop",
    "location",
    "branch",
    "site",
    "warehouse",
    "outlet",
    "station",
    "restaurant",
    "market",
    "depot",
    "pharmacy",
)


@dataclass(frozen=True)
class Built:
    panel: Panel
    left_out: dict[str, int]
    closed_days: int
    filled_days: int


def location_key(keys: tuple[str, ...]) -> str | None:
    """The key that names a place, by its name; None: the panel is judged as one place."""
    return next((key for key in keys if any(word in key.lower() for word in LOCATION_WORDS)), None)


def build(tidy: Tidy, mapping: Mapping, *, limits: ReadLimits, findings: Findings) -> Built:
    """Raises FrameError on duplicate days, or if the panel would be too short or too large."""
    series = _number_series(tidy.frame, mapping, findings)
    if series.height > limits.max_series:
        findings.error("too_many_series", f"The file has {series.height} series; {limits.max_series} are allowed.")
    findings.stop_on_errors()
    frame = _numbered(tidy.frame, series, mapping)
    _check_duplicates(frame, series, mapping, findings)
    findings.stop_on_errors()
    frame = _mark_unpriced(frame, mapping)
    if frame["target"].null_count() == frame.height:
        findings.error("no_target", "No row has a known target.")
        findings.stop_on_errors()
    closures = find_closures(_daily(frame)) if mapping.closed_days == "detect" else None
    frame, left_out = _trim(frame, findings)
    _check_size(frame, limits=limits, findings=findings)
    dense = _fill(frame, mapping)
    closed, gap = (_on_days(days) for days in (closures.closed, closures.gaps)) if closures else (pl.lit(value=False),) * 2
    if closures is not None:
        _tell_closures(closures.closed, closures.gaps, findings)
    # Zero is a statement about an open day with a working till; everything else is unknown.
    filled = int(dense.select(((pl.col("lines") == 0) & ~closed & ~gap).sum()).item())
    _tell_spacing(frame, filled, mapping, findings)
    dense = dense.with_columns(target=pl.when(~closed & ~(gap & (pl.col("lines") == 0))).then("target"), closed=closed)
    known = dict(zip(known_names(mapping), mapping.known, strict=True))
    dtypes: Any = {name: COLUMNS[name] for name in (*REQUIRED, *optional_of(dense))}
    ordered = dense.select(*dtypes, *known).cast(dtypes).rename(known)
    panel = Panel(ordered, _named(series, mapping), mapping.panel_keys, mapping.panel_segments, mapping.known)
    return Built(_renumbered(panel), left_out, 0 if closures is None else closures.closed.height, filled)


def _check_duplicates(frame: pl.DataFrame, series: pl.DataFrame, mapping: Mapping, findings: Findings) -> None:
    """Looks at neighbors in the sorted frame: grouping by series and day would cost more memory than the frame itself."""
    again = (pl.col("series") == pl.col("series").shift(1)) & (pl.col("date") == pl.col("date").shift(1))
    repeated = frame.lazy().filter(again).group_by("series", "date").len().collect()
    if repeated.height:
        names = key_names(mapping)
        named = repeated.join(series.select("series", *names), on="series", how="left")
        tell_repeated(named, names, findings, copies=_are_copies(frame, repeated))


def _are_copies(frame: pl.DataFrame, repeated: pl.DataFrame) -> bool:
    """Whether the rows of repeated days say the same in every mapped column; judged by a thousand of the days."""
    rows = frame.join(repeated.head(1_000), on=["series", "date"], how="semi")
    return not rows.unique().select("series", "date").is_duplicated().any()


def _number_series(frame: pl.DataFrame, mapping: Mapping, findings: Findings) -> pl.DataFrame:
    """One row per combination of keys, sorted by their text, with each attribute's latest value."""
    keys, attributes = key_names(mapping), attribute_names(mapping)
    if not keys:
        firsts = [pl.col(name).cast(pl.String).drop_nulls().last() for name in attributes]
        only = frame.sort("date").select(firsts) if attributes else pl.DataFrame({})
        return (
            only.with_columns(series=pl.lit(0, dtype=pl.UInt32))
            if attributes
            else pl.DataFrame({"series": pl.Series([0], dtype=pl.UInt32)})
        )
    latest = [pl.col(name).sort_by("date").drop_nulls().last() for name in attributes]
    varied = [(pl.col(name).drop_nulls().n_unique() > 1).alias(f"{name}:varied") for name in attributes]
    series = frame.group_by(keys).agg(*latest, *varied)
    for short, name in zip(attributes, mapping.attributes, strict=True):
        changed = int(series[f"{short}:varied"].sum())
        if changed:
            told = f"{name!r} changes within {changed} series; its last value was taken. A column that changes by day is no attribute."
            findings.warn("attribute_varies", told, column=name, rows=changed)
    texts = series.select(pl.col(*keys, *attributes).cast(pl.String))
    # The categorical key stays beside its text for the join; casting every row of the file to text would cost far more.
    codes = series.select(pl.col(key).alias(f"{key}:code") for key in keys)
    return pl.concat([texts, codes], how="horizontal").sort(keys).with_row_index("series").with_columns(pl.col("series").cast(pl.UInt32))


def _numbered(frame: pl.DataFrame, series: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Sorted by series and date; `location` is the number of the first series at the same place."""
    keys = key_names(mapping)
    names = ["date", "target", "price", "promotion", "stock", *known_names(mapping), "lines"]
    if not keys:
        only = pl.lit(0, dtype=pl.UInt32)
        return frame.select(only.alias("series"), *names, only.alias("location")).sort("series", "date")
    location = location_key(mapping.panel_keys)
    place = pl.col("series").min().over(keys[mapping.panel_keys.index(location)]) if location else pl.lit(0, dtype=pl.UInt32)
    codes = series.select("series", *[pl.col(f"{key}:code").alias(key) for key in keys], place.alias("location"))
    # Step by step: the same as one lazy query reserves a gigabyte of addresses more, and the disposable child has a limit on those.
    return frame.join(codes, on=keys, how="left").select("series", *names, "location").sort("series", "date")


def _mark_unpriced(frame: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    if mapping.unpriced != "not_offered" or mapping.price is None:
        return frame
    absent = pl.col("price").is_null() & (pl.col("target").fill_null(0) == 0)
    return frame.with_columns(target=pl.when(~absent).then("target"))


def _daily(frame: pl.DataFrame) -> pl.DataFrame:
    told = pl.col("lines").filter(pl.col("target").is_not_null()).sum().cast(pl.Float64)
    daily = frame.group_by("location", "date").agg(pl.col("target").sum().alias("total"), told.alias("lines"))
    return daily.with_columns(pl.col("location").cast(pl.String))


def _trim(frame: pl.DataFrame, findings: Findings) -> tuple[pl.DataFrame, dict[str, int]]:
    """Cut what no one can learn from: rows before a series' first known target, and days after the panel's last one."""
    told = pl.col("date").filter(pl.col("target").is_not_null())
    last = frame.select(told.max()).item()
    trimmed = frame.filter((pl.col("date") >= told.min().over("series")).fill_null(value=False) & (pl.col("date") <= last))
    after = int(frame.select((pl.col("date") > last).sum()).item())
    left_out = {"after_last_target": after} if after else {}
    before = frame.height - trimmed.height - after
    if before > 0:
        left_out["before_first_target"] = before
    if after:
        findings.warn("no_target_yet", f"{counted(after, 'row')} after {last} without a target {was(after)} left out.", rows=after)
    lost = frame["series"].n_unique() - trimmed["series"].n_unique()
    if lost:
        findings.warn("empty_series", f"{lost} series without a single known target {was(lost)} left out.", rows=lost)
    return trimmed, left_out


def _check_size(frame: pl.DataFrame, *, limits: ReadLimits, findings: Findings) -> None:
    last: Any = frame["date"].max()
    first: Any = frame["date"].min()
    days = (last - first).days + 1
    total = int(frame.group_by("series").agg(((last - pl.col("date").min()).dt.total_days() + 1).alias("days"))["days"].sum())
    if days < limits.min_days:
        findings.error("too_few_days", f"The file covers {days} days; at least {limits.min_days} are needed.")
    elif days < 365:
        findings.warn("short_history", f"The file covers {days} days; yearly patterns cannot be learned from less than a year.")
    if total > limits.max_panel_rows:
        told = (
            f"Filled up to one row per series and day ({first} to {last}) the file has {total} rows; {limits.max_panel_rows} are allowed."
        )
        findings.error("too_many_days", told, examples=[first, last])
    findings.stop_on_errors()


def _fill(frame: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """A row for every day from a series' first to the panel's last. Filled days keep the last price; the rest of them is unknown."""
    last = frame["date"].max()
    spans = frame.group_by("series", maintain_order=True).agg(pl.col("date").min().alias("first"))
    if spans.select((pl.lit(last) - pl.col("first")).dt.total_days().sum()).item() + spans.height == frame.height:
        return frame
    days = spans.select("series", pl.date_ranges("first", pl.lit(last)).alias("date")).explode("date")
    full = days.join(frame.with_columns(present=pl.lit(value=True)), on=["series", "date"], how="left", maintain_order="left")
    absent = pl.col("present").is_null()
    return full.with_columns(
        target=pl.when(absent).then(0.0 if mapping.missing_days == "zero" else None).otherwise("target"),
        price=pl.when(absent).then(pl.col("price").forward_fill().over("series")).otherwise("price"),
        lines=pl.col("lines").fill_null(0),
        location=pl.col("location").forward_fill(),
    ).drop("present")


def _tell_spacing(frame: pl.DataFrame, filled: int, mapping: Mapping, findings: Findings) -> None:
    """Where the dates of the whole file are typically more than a day apart: weekly sums, or one item that is seldom sold."""
    apart = frame.select(pl.col("date").unique().sort().diff().dt.total_days().median()).item() or 1
    if apart > 1 and filled:
        told = (
            f"The dates are typically {apart:g} days apart, and forecasts are by day: {filled} days of a series without a row were taken "
            f"as {mapping.missing_days}. Give daily rows where there are any, or say what a day without a row means."
        )
        findings.warn("not_daily", told, rows=filled)


def _on_days(days: pl.DataFrame) -> pl.Expr:
    """Whether a row's location and date are among `days`. One number per pair: a join would copy the whole panel."""
    pair = pl.col("location").cast(pl.Int64) * 10_000_000 + pl.col("date").to_physical()
    if days.is_empty():
        return pl.lit(value=False)
    codes = days.select(pair).to_series()
    return pair.replace_strict(codes, True, default=False, return_dtype=pl.Boolean)


def _tell_closures(closed: pl.DataFrame, gaps: pl.DataFrame, findings: Findings) -> None:
    if closed.height:
        days = closed.group_by("date").len().sort("len", "date", descending=True)["date"].head(MAX_EXAMPLES)
        told = f"{counted(closed.height, 'day')} of a location {was(closed.height)} taken as closed: demand there is unknown, not zero."
        findings.warn("closed_days", told, rows=closed.height, examples=days.sort().to_list())
    if gaps.height:
        several = counted(gaps.height, "day")
        told = f"{several} of a location in gaps of more than two weeks without a row {was(gaps.height)} taken as unknown, not zero."
        findings.warn("data_gap", told, rows=gaps.height, examples=[gaps["date"].min(), gaps["date"].max()])


def _named(series: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    keys = dict(zip(key_names(mapping), mapping.panel_keys, strict=True))
    attributes = dict(zip(attribute_names(mapping), mapping.panel_attributes, strict=True))
    return series.select("series", *keys, *attributes).rename({**keys, **attributes})


def _renumbered(panel: Panel) -> Panel:
    """Number the series that were kept from 0 without gaps."""
    kept = panel.frame.select(pl.col("series").unique().sort())
    if kept.height == panel.series.height:
        return panel
    new = kept.with_row_index("number").with_columns(pl.col("number").cast(pl.UInt32))
    frame = panel.frame.join(new, on="series", how="left", maintain_order="left").with_columns(series=pl.col("number")).drop("number")
    series = panel.series.join(new, on="series", how="inner", maintain_order="left").with_columns(series=pl.col("number")).drop("number")
    return Panel(frame, series, panel.keys, panel.segments, panel.known)
