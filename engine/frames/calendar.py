"""Closed days: days on which a location did not sell because it was shut, which is not the same as zero demand.

A day is closed if the location's demand (nearly) vanishes and the calendar explains it: the weekday is always shut, or the
same feast (fixed date, distance from Easter, nth weekday of the month) vanishes year after year, or no line at all was
written where there usually are many. A single collapse (storm, lockdown) is an event, and stays in the data.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

NEAR_ZERO = 0.02
"""A day at or below this share of the location's usual total has vanished."""
MIN_USUAL_UNITS = 20.0
"""Below this a zero day says nothing."""
MIN_USUAL_LINES = 5.0
LONGEST_CLOSURE = 14
"""Days without a line in a row; longer is a gap in the data."""
LONGEST_VANISHING = 3
WINDOW = 57
FEASTS = ((12, 25), (12, 26), (1, 1))
"""Taken as closed even where the file holds only one of its kind."""


@dataclass(frozen=True)
class Closures:
    """`closed` and `gaps` have the columns `location` and `date`. Gaps are long stretches without any line: unknown, not closed."""

    closed: pl.DataFrame
    gaps: pl.DataFrame


def find_closures(daily: pl.DataFrame) -> Closures:
    """`daily`: location (String), date, total (units), lines (rows with a target); one row per location and day that has any.

    Judged per location and for all together: what shuts the whole panel shuts every location, even one too small to tell.
    """
    everywhere = daily.group_by("date").agg(pl.col("total").sum(), pl.col("lines").sum()).with_columns(location=pl.lit("*"))
    each = _judge(_calendar(daily))
    whole = _judge(_calendar(everywhere.select(daily.columns)))
    locations = daily.select("location").unique()
    parts = {}
    for verdict in ("closed", "gap"):
        own = each.filter(pl.col(verdict)).select("location", "date")
        shared = locations.join(whole.filter(pl.col(verdict)).select("date"), how="cross")
        parts[verdict] = pl.concat([own, shared]).unique().sort("location", "date")
    return Closures(parts["closed"], parts["gap"].join(parts["closed"], on=["location", "date"], how="anti"))


def _calendar(daily: pl.DataFrame) -> pl.DataFrame:
    """Every day from the location's first to its last; absent days have nothing."""
    spans = daily.group_by("location").agg(pl.col("date").min().alias("first"), pl.col("date").max().alias("last"))
    days = spans.select("location", pl.date_ranges("first", "last").alias("date")).explode("date")
    full = days.join(daily, on=["location", "date"], how="left").with_columns(pl.col("total", "lines").fill_null(0))
    return full.sort("location", "date")


def _judge(daily: pl.DataFrame) -> pl.DataFrame:
    usual = {
        f"usual_{name}": pl.when(pl.col(name) > 0)
        .then(pl.col(name))
        .cast(pl.Float64)
        .rolling_median(WINDOW, min_samples=14, center=True)
        .over("location")
        for name in ("total", "lines")
    }
    silent = (pl.col("lines") == 0) & (pl.col("usual_lines") >= MIN_USUAL_LINES)
    vanished = (pl.col("total") <= NEAR_ZERO * pl.col("usual_total")) & (pl.col("usual_total") >= MIN_USUAL_UNITS)
    marked = daily.with_columns(**usual).with_columns(silent=silent.fill_null(value=False), vanished=vanished.fill_null(value=False))
    # Too few open days around to know what is usual: inside a long gap.
    lost = (pl.col("lines") == 0) & pl.col("usual_lines").is_null() & (pl.col("lines").max().over("location") >= MIN_USUAL_LINES)
    marked = marked.with_columns(silent=pl.col("silent") | lost).with_columns(
        silence=_run_length("silent"), vanishing=_run_length("vanished"), quiet=pl.col("silent") | pl.col("vanished")
    )
    marked = _recurrences(marked)
    by_calendar = pl.col("vanished") & (pl.col("vanishing") <= LONGEST_VANISHING) & pl.col("recurs")
    return marked.with_columns(
        closed=(pl.col("silent") & (pl.col("silence") <= LONGEST_CLOSURE)) | by_calendar,
        gap=pl.col("silent") & (pl.col("silence") > LONGEST_CLOSURE),
    )


def _run_length(flag: str) -> pl.Expr:
    """How many days in a row have the flag, for each day that has it."""
    return pl.len().over("location", pl.col(flag).rle_id().over("location"))


def _recurrences(marked: pl.DataFrame) -> pl.DataFrame:
    days = marked.select(pl.col("date").unique().sort())
    first_year, last_year = (days["date"].dt.year().min() or 0), (days["date"].dt.year().max() or 0)
    easters = {year: easter(year) for year in range(int(str(first_year)), int(str(last_year)) + 1)}
    offsets = [(day - easters[day.year]).days for day in days["date"].to_list()]
    keys = days.with_columns(
        fixed=pl.col("date").dt.month().cast(pl.Int32) * 100 + pl.col("date").dt.day(),
        movable=pl.Series(offsets, dtype=pl.Int32),
        nth=pl.col("date").dt.month().cast(pl.Int32) * 100 + (pl.col("date").dt.day() - 1) // 7 * 10 + pl.col("date").dt.weekday(),
        weekday=pl.col("date").dt.weekday(),
    )
    marked = marked.join(keys, on="date", how="left").sort("location", "date")
    # Five neighboring weeks, not the whole file: a location may have given up its Sundays in the middle of it. The day may be
    # the last, the middle or the first of the five, so that the weeks beside the change are seen too.
    ending = pl.col("quiet").cast(pl.Float64).rolling_mean(5, min_samples=4)
    weekly = pl.max_horizontal(ending.shift(-weeks).over("location", "weekday") for weeks in (0, 2, 4)) >= 0.8
    yearly = [
        (pl.len().over("location", key) >= 2) & (pl.col("quiet").mean().over("location", key) >= 0.66)
        for key in ("fixed", "movable", "nth")
    ]
    feast = pl.col("fixed").is_in([month * 100 + day for month, day in FEASTS]) & (pl.len().over("location", "fixed") == 1)
    return marked.with_columns(recurs=weekly.fill_null(value=False) | pl.any_horizontal(*yearly) | feast)


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Jones and Butcher's algorithm)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e, g = b // 4, b % 4, (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    k, m = c % 4, (a + 11 * h) // 319
    r = (2 * e + 2 * (c // 4) - k - h + m + 32) % 7
    month = (h - m + r + 90) // 25
    day = (h - m + r + month + 19) % 32
    return date(year, month, 1) + timedelta(days=day - 1)
