"""The canonical frame every forecaster, backtest and drift check works on."""

from dataclasses import dataclass, replace
from datetime import date
from typing import cast

import polars as pl

Dtypes = dict[str, pl.DataType | type[pl.DataType]]

REQUIRED: Dtypes = {"series": pl.UInt32, "date": pl.Date, "target": pl.Float64, "closed": pl.Boolean}
OPTIONAL: Dtypes = {"price": pl.Float64, "promotion": pl.Float64, "stock": pl.Float64}
COLUMNS: Dtypes = REQUIRED | OPTIONAL


@dataclass(frozen=True)
class Panel:
    """One row per series and calendar day from the series' first to the panel's last day, sorted by (series, date).

    `frame` has the columns of `REQUIRED`, those of `OPTIONAL` in which anything is known, then those of `known` as Float64.
    A null `target` is unknown (closed, not offered, missing), which is not the same as zero demand.
    """

    frame: pl.DataFrame
    series: pl.DataFrame
    """One row per series: `series` (UInt32), the key columns, the static attribute columns (String)."""
    keys: tuple[str, ...]
    """For example ("store_id", "item_id"): their combination is one series."""
    segments: tuple[str, ...]
    """Key or attribute columns errors are reported by, for example ("dept_id", "store_id")."""
    known: tuple[str, ...]
    """Extra numeric columns known ahead of time, for example ("snap",)."""

    @property
    def first_day(self) -> date:
        return _day(self.frame["date"].min())

    @property
    def last_day(self) -> date:
        return _day(self.frame["date"].max())

    def until(self, day: date) -> "Panel":
        """The same panel without the rows after `day`; series that start later keep their row in `series`."""
        return replace(self, frame=self.frame.filter(pl.col("date") <= day))


def optional_of(frame: pl.DataFrame | pl.LazyFrame) -> list[str]:
    """The columns of `OPTIONAL` in which anything is known: those a panel carries; a column of nulls takes eight bytes a row."""
    counted = frame.lazy().select(pl.col(*OPTIONAL).count()).collect()
    return [name for name in OPTIONAL if counted[name].item()]


def _day(value: object) -> date:
    if value is None:
        raise ValueError("the panel has no rows")
    return cast("date", value)
