"""A made-up retail chain, for trying things out. Openly synthetic: nothing in it was ever sold."""

from datetime import date, timedelta

import numpy as np
import polars as pl

DEPARTMENTS = {"BAKERY": 9.0, "GROCERY": 6.0, "GARDEN": 2.0, "TOYS": 0.8}
"""Mean units per store, item and day."""
WEEK = np.array([0.85, 0.80, 0.85, 0.95, 1.15, 1.35, 1.15])
"""Monday to Sunday."""


def retail_chain(*, last_day: date, days: int = 560, stores: int = 4, items: int = 3, seed: int = 7) -> pl.DataFrame:
    """Daily sales of `stores` × departments × `items` series: date, store, item, department, units_sold, price, promotion.

    Demand is negative binomial around level × weekday × season × trend × promotion × price; some items launch late, shops are shut on
    25 December, and a price moves now and then. Deterministic for a seed.
    """
    random = np.random.default_rng(seed)
    calendar = [last_day - timedelta(days=days - 1 - offset) for offset in range(days)]
    frames = []
    for store in range(1, stores + 1):
        size = random.uniform(0.7, 1.4)
        for department, level in DEPARTMENTS.items():
            frames += [_series(random, calendar, f"S{store}", department, item, level * size) for item in range(1, items + 1)]
    return pl.concat(frames)


def _series(random: np.random.Generator, calendar: list[date], store: str, department: str, item: int, level: float) -> pl.DataFrame:
    days = len(calendar)
    start = int(random.integers(0, days // 3)) if random.random() < 0.15 else 0
    weekday = WEEK[np.array([day.weekday() for day in calendar])]
    year_share = np.array([day.timetuple().tm_yday / 365.25 for day in calendar])
    swing = {"GARDEN": 0.7, "TOYS": 0.3}.get(department, 0.1)
    peak = {"GARDEN": 0.45, "TOYS": 0.93}.get(department, 0.5)
    season = 1 + swing * np.cos(2 * np.pi * (year_share - peak))
    trend = np.linspace(1.0, random.uniform(0.85, 1.25), days)
    price = _prices(random, days)
    promotion = _promotions(random, days)
    mean = level * random.uniform(0.5, 1.8) * weekday * season * trend * (1 + 0.6 * promotion) * (price / price[0]) ** -1.2
    dispersion = 4.0
    units = random.negative_binomial(dispersion, dispersion / (dispersion + np.maximum(mean, 0.01)))
    units[np.array([(day.month, day.day) == (12, 25) for day in calendar])] = 0
    frame = pl.DataFrame(
        {
            "date": calendar,
            "store": store,
            "item": f"{department}_{item:02d}",
            "department": department,
            "units_sold": units,
            "price": np.round(price * (1 - 0.2 * promotion), 2),
            "promotion": promotion,
        }
    )
    return frame[start:]


def _prices(random: np.random.Generator, days: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    price = np.full(days, random.uniform(1.5, 20.0))
    for moment in random.integers(30, days, size=3):
        price[moment:] *= random.uniform(0.92, 1.12)
    return price


def _promotions(random: np.random.Generator, days: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    promotion = np.zeros(days, dtype=np.int64)
    for moment in random.integers(0, days, size=days // 45):
        promotion[moment : moment + 7] = 1
    return promotion
