"""A panel as dense arrays, series by days: what features and baselines are computed on."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.frames.panel import Panel

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

OPTIONAL = ("price", "promotion", "stock")


@dataclass(frozen=True)
class Grid:
    """Series in rows, calendar days in columns; NaN where a value is unknown or the series has not begun."""

    series: NDArray[np.uint32]
    first: date
    days: int
    """Number of columns; those after the panel's last day carry only what is known ahead."""
    target: Floats
    start: NDArray[np.int32]
    """Column of each series' first row."""
    closed: NDArray[np.bool_]
    columns: dict[str, Floats]
    """The mapped ones of price, promotion and stock, and the known columns."""

    def index(self, day: date) -> int:
        return (day - self.first).days

    def day(self, index: int) -> date:
        return self.first + timedelta(days=index)

    def dates(self) -> NDArray[np.datetime64]:
        return np.datetime64(self.first, "D") + np.arange(self.days)


def build_grid(panel: Panel, *, first: date | None = None, last: date | None = None) -> Grid:
    """Lay the panel out from `first` to `last` (its own first and last day unless given).

    Days after the panel's end are open, with each series' last price and unknown known-columns.
    Raises ValueError if a series misses a day: every later step counts on whole calendars.
    """
    begin, end = first or panel.first_day, last or panel.last_day
    frame = panel.frame
    if first is not None or last is not None:
        frame = frame.filter(pl.col("date").is_between(begin, end))
    days = (end - begin).days + 1
    inside, identifiers, start = _occupied(frame, begin=begin, days=days, until=min(end, panel.last_day))
    shape = inside.shape
    columns: dict[str, Floats] = {}
    for name in (*OPTIONAL, *panel.known):
        if frame[name].null_count() < frame.height:
            columns[name] = _spread(frame[name], inside)
    if "price" in columns and panel.last_day < end:
        ahead = (panel.last_day - begin).days + 1
        columns["price"][:, ahead:] = _last_value(columns["price"][:, :ahead])[:, None]
    closed = np.zeros(shape, dtype=np.bool_)
    if frame["closed"].any():
        closed[inside] = frame["closed"].fill_null(value=False).to_numpy()
    return Grid(identifiers, begin, days, _spread(frame["target"], inside), start, closed, columns)


def _occupied(
    frame: pl.DataFrame, *, begin: date, days: int, until: date
) -> tuple[NDArray[np.bool_], NDArray[np.uint32], NDArray[np.int32]]:
    """Mask of the cells that have a row; in row-major order they are the frame's rows."""
    spans = frame.group_by("series", maintain_order=True).agg(pl.col("date").min(), pl.len().alias("rows"))
    offset = (spans["date"] - begin).dt.total_days().to_numpy()
    length = (until - begin).days + 1
    if not np.array_equal(offset + spans["rows"].to_numpy(), np.full(len(spans), length)):
        raise ValueError("every series needs one row per calendar day from its first day to the panel's last day")
    column = np.arange(days)
    inside = (column >= offset[:, None]) & (column < length)
    return inside, spans["series"].to_numpy(), offset.astype(np.int32)


def _spread(values: pl.Series, inside: NDArray[np.bool_]) -> Floats:
    out: Floats = np.full(inside.shape, np.nan, dtype=np.float32)
    out[inside] = values.cast(pl.Float32).fill_null(float("nan")).to_numpy()
    return out


def _last_value(values: Floats) -> Floats:
    """Last known value of each row, NaN if there is none."""
    known = ~np.isnan(values)
    position = values.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    last: Any = values[np.arange(len(values)), position]
    return np.asarray(last, dtype=np.float32)
