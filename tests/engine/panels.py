"""Small panels for the tests of the forecasting core."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from engine.frames.panel import Panel

FIRST = date(2024, 1, 1)


def make_panel(
    targets: Sequence[Sequence[float | None]],
    *,
    first: date = FIRST,
    price: Sequence[Sequence[float]] | None = None,
    closed: Sequence[int] = (),
) -> Panel:
    """Series that all end on the same day; shorter ones begin later. `closed` are day offsets from `first`."""
    length = max(len(values) for values in targets)
    rows = []
    for series, values in enumerate(targets):
        offset = length - len(values)
        for index, value in enumerate(values):
            day = offset + index
            rows.append((series, first + timedelta(days=day), value, day in closed, price[series][index] if price else None))
    frame = pl.DataFrame(
        rows,
        schema={"series": pl.UInt32, "date": pl.Date, "target": pl.Float64, "closed": pl.Boolean, "price": pl.Float64},
        orient="row",
    ).with_columns(pl.when("closed").then(None).otherwise("target").alias("target"))
    frame = frame if price else frame.drop("price")
    count = len(targets)
    names = pl.DataFrame(
        {
            "series": pl.Series(range(count), dtype=pl.UInt32),
            "store_id": [f"S{index % 2}" for index in range(count)],
            "item_id": [f"I{index // 2}" for index in range(count)],
        }
    )
    return Panel(frame, names, ("store_id", "item_id"), ("store_id",), ())


def weekly_demand(*, series: int = 6, days: int = 240, seed: int = 0) -> list[list[float]]:
    """Poisson demand with a weekday pattern, at levels from about 1 to 20 a day."""
    rng = np.random.default_rng(seed)
    level = np.geomspace(1.0, 20.0, series)[:, None]
    weekday = np.array([0.7, 0.7, 0.8, 1.0, 1.2, 1.5, 1.1])[np.arange(days) % 7]
    return [[float(value) for value in row] for row in rng.poisson(level * weekday)]
