"""A panel as dense arrays, series by days: what features and baselines are computed on."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.frames.panel import OPTIONAL, Panel

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


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
    """The known ones of price, promotion and stock, and the columns known ahead."""

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
    cut = slice(max((begin - panel.first_day).days, 0), max((end - panel.first_day).days + 1, 0))
    # The whole panel is laid out before it is cut: copying a column of a grid is much less than filtering the frame.
    runs = _runs(panel)
    inside, start = np.arange(runs.days) >= runs.start[:, None], runs.start
    frame, ahead = panel.frame, max((end - panel.last_day).days, 0)
    columns: dict[str, Floats] = {}
    for name in (*OPTIONAL, *panel.known):
        if name in frame.columns and frame[name].null_count() < frame.height:
            columns[name] = _spread(frame[name], inside, cut, ahead)
    if "price" in columns and ahead:
        columns["price"][:, -ahead:] = _last_value(columns["price"][:, :-ahead])[:, None]
    target = _spread(frame["target"], inside, cut, ahead)
    closed = np.zeros(target.shape, dtype=np.bool_)
    if frame["closed"].any():
        whole = np.zeros(inside.shape, dtype=np.bool_)
        whole[inside] = frame["closed"].fill_null(value=False).to_numpy()
        closed[:, : target.shape[1] - ahead] = whole[:, cut]
    begun = start < (cut.stop if not ahead else inside.shape[1])
    grid = Grid(runs.series, max(begin, panel.first_day), target.shape[1], target, np.maximum(start - cut.start, 0), closed, columns)
    return grid if begun.all() else _only(grid, begun)


def targets_at(panel: Panel, series: NDArray[np.uint32], days: NDArray[np.int32]) -> NDArray[np.float64]:
    """The targets a grid would hold of these series, each on its day (days since 1970); NaN where none is known.

    Straight from the panel's rows: for a few days of each series a grid would be most of the work, and of the memory.
    """
    runs = _runs(panel)
    which = np.searchsorted(runs.series, series)
    column = days - _physical(panel.first_day)
    offset = column - runs.start[which]
    there = (offset >= 0) & (column < runs.days)
    found = panel.frame["target"].gather(runs.row[which] + np.where(there, offset, 0)).cast(pl.Float32)
    return np.where(there, found.to_numpy(), np.float32("nan")).astype(np.float64)


def _only(grid: Grid, which: NDArray[np.bool_]) -> Grid:
    columns = {name: values[which] for name, values in grid.columns.items()}
    return replace(
        grid, series=grid.series[which], target=grid.target[which], start=grid.start[which], closed=grid.closed[which], columns=columns
    )


@dataclass(frozen=True)
class _Runs:
    """The panel's rows as one run per series, which ends on the panel's last day."""

    series: NDArray[np.uint32]
    start: NDArray[np.int32]
    """Days from the panel's first day to each series' own."""
    row: NDArray[np.int64]
    """Where each run begins among the panel's rows."""
    days: int


def _runs(panel: Panel) -> _Runs:
    series, date_ = panel.frame["series"].to_numpy(), panel.frame["date"].to_physical().to_numpy()
    row = np.flatnonzero(np.concatenate(([True], series[1:] != series[:-1])))
    start = date_[row] - _physical(panel.first_day)
    days = (panel.last_day - panel.first_day).days + 1
    if not np.array_equal(start + np.diff(row, append=len(series)), np.full(len(row), days)):
        raise ValueError("every series needs one row per calendar day from its first day to the panel's last day")
    return _Runs(series[row], start.astype(np.int32), row, days)


def _physical(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _spread(values: pl.Series, inside: NDArray[np.bool_], cut: slice, ahead: int) -> Floats:
    out: Floats = np.full((inside.shape[0], inside.shape[1] + ahead), np.nan, dtype=np.float32)
    out[:, : inside.shape[1]][inside] = values.cast(pl.Float32).fill_null(float("nan")).to_numpy()
    kept = slice(cut.start, None) if ahead else cut
    return out if kept.start == 0 and ahead else np.ascontiguousarray(out[:, kept])


def _last_value(values: Floats) -> Floats:
    """Last known value of each row, NaN if there is none."""
    known = ~np.isnan(values)
    position = values.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    last: Any = values[np.arange(len(values)), position]
    return np.asarray(last, dtype=np.float32)
