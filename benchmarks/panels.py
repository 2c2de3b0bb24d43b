"""Panels the benchmarks run on: the real retail panel, and synthetic ones of any size."""

import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from engine.frames.panel import Panel


def retail_path() -> Path:
    shared = Path(os.environ.get("TILTYARD_SHARED", Path(__file__).resolve().parents[1] / "../shared"))
    return shared / "data" / "retail_daily_sales.parquet"


def retail_panel(path: Path | None = None) -> Panel:
    """280 series of daily unit sales; days with no posted price were not offered, 25 December is closed."""
    keys = ("store_id", "item_id")
    raw = pl.read_parquet(path or retail_path()).sort(*keys, "date")
    series = raw.select(*keys, "dept_id", "cat_id", "state_id").unique(maintain_order=True).with_row_index("series")
    closed = (pl.col("date").dt.month() == 12) & (pl.col("date").dt.day() == 25)
    unknown = pl.col("sell_price").is_null() | closed
    frame = raw.join(series.select("series", *keys), on=keys, maintain_order="left").select(
        pl.col("series"),
        pl.col("date"),
        pl.when(unknown).then(None).otherwise(pl.col("units_sold")).cast(pl.Float64).alias("target"),
        closed.alias("closed"),
        pl.col("sell_price").cast(pl.Float64).alias("price"),
        pl.col("snap").cast(pl.Float64),
    )
    begun = pl.col("date") >= pl.col("date").filter(pl.col("target").is_not_null()).min().over("series")
    return Panel(frame.filter(begun), series, keys, ("dept_id", "store_id"), ("snap",))


def synthetic_panel(*, series: int, days: int, seed: int = 0) -> Panel:
    """Poisson demand around a level with a weekly pattern, a yearly wave and a slow trend; every day is known."""
    rng = np.random.default_rng(seed)
    time = np.arange(days)
    level = np.exp(rng.normal(1.5, 1.0, size=(series, 1)))
    weekday = np.exp(rng.normal(0.0, 0.25, size=(series, 7)))[:, time % 7]
    wave = 1.0 + 0.3 * np.sin(2 * np.pi * (time / 365.25 + rng.random((series, 1))))
    trend = np.exp(rng.normal(0.0, 0.2, size=(series, 1)) * time / days)
    demand = rng.poisson(level * weekday * wave * trend).astype(np.float64)
    first = date(2024, 1, 1)
    dates = pl.date_range(first, first + timedelta(days=days - 1), eager=True)
    size = series * days
    frame = pl.DataFrame(
        {
            "series": np.repeat(np.arange(series, dtype=np.uint32), days),
            "date": np.tile(dates.to_numpy(), series),
            "target": demand.ravel(),
            "closed": pl.Series([False], dtype=pl.Boolean).new_from_index(0, size),
        },
        schema_overrides={"date": pl.Date},
    )
    names = pl.DataFrame({"series": np.arange(series, dtype=np.uint32), "item_id": [f"item_{index}" for index in range(series)]})
    return Panel(frame, names, ("item_id",), (), ())
