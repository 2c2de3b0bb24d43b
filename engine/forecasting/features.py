"""Features of a forecast, each taken at the origin, at a same weekday before it, a year before, or from what is known of the day itself."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.forecasting.grid import Floats, Grid, Ints
from engine.forecasting.windows import Trailing, days_since_positive, last_known, weekday_mean
from engine.frames.panel import Panel

YEAR = 364
"""Days to the same weekday a year before."""
_MEANS = (7, 14, 28, 56, 91, 182, YEAR)
_SEASON_LAGS = (0, 7, 14, 21)
_MAX_CATEGORIES = 255
_BLOCK_CELLS = 400_000
"""Cells handled at once: temporaries of a block stay within the processor's caches and a few megabytes."""

CALENDAR = ("weekday", "day", "month", "week", "day_of_year", "year")

At = Literal["origin", "season", "year", "target"]


@dataclass(frozen=True)
class FeatureSet:
    """Which features a model sees.

    `full`: levels at the origin, same-weekday history, last year, hierarchy, calendar, price, promotion, known columns,
    and the step. `plain`: only `lags` (days before the target day), means of `windows` days ending `horizon` days before
    it, and the parts of `calendar`; every lag must be at least `horizon`.
    """

    kind: Literal["full", "plain"] = "full"
    horizon: int = 7
    lags: tuple[int, ...] = ()
    windows: tuple[int, ...] = ()
    calendar: tuple[str, ...] = ("weekday", "day", "month", "day_of_year")
    warmup: int = 28
    """Days of its own history a series needs before a day of it is learnt from."""

    def __post_init__(self) -> None:
        if self.kind not in ("full", "plain") or not set(self.calendar) <= set(CALENDAR):
            raise ValueError(f"features are full or plain, calendar parts are {', '.join(CALENDAR)}")
        numbers = (self.horizon, self.warmup, *self.lags, *self.windows)
        if not all(isinstance(number, int) and 1 <= number <= 2 * YEAR for number in numbers) or self.horizon > 91:
            raise ValueError("lags, windows and warm-up are whole days up to 728, the horizon up to 91")
        if self.kind == "plain" and min(self.lags, default=self.horizon) < self.horizon:
            raise ValueError("a plain lag shorter than the horizon would look past the origin")

    @property
    def lookback(self) -> int:
        """Days before an origin that can influence its features."""
        if self.kind == "plain":
            return max((*self.lags, *(self.horizon + window for window in self.windows)), default=0) + 1
        return YEAR + 2 * 28 + self.horizon

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "FeatureSet":
        fields: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}
        return cls(**fields)


@dataclass(frozen=True)
class Schema:
    """Ordered feature names of a trained model; `categories` gives the values behind the codes of a categorical one."""

    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Rows:
    """Samples, sorted by series: position of the series in the grid, column of the target day, days from origin to target."""

    series: Ints
    day: Ints
    step: Ints

    def __len__(self) -> int:
        return len(self.series)

    def pick(self, which: NDArray[Any] | slice) -> "Rows":
        return Rows(self.series[which], self.day[which], self.step[which])


def training_rows(grid: Grid, features: FeatureSet, *, from_day: int = 0, until: int | None = None) -> Rows:
    """Every known day after the warm-up, once, with a step that changes from day to day.

    One step per day keeps the table at its natural size; steps are spread by a fixed multiplicative hash, so that a
    step is not tied to a weekday. `from_day` and `until` are the first and last column used.
    """
    column = np.arange(grid.days, dtype=np.int32)
    usable = ~np.isnan(grid.target) & (column >= (grid.start + features.warmup)[:, None]) & (column >= from_day)
    if until is not None:
        usable[:, until + 1 :] = False
    series = np.repeat(np.arange(len(grid.series), dtype=np.int32), usable.sum(axis=1))
    day = np.broadcast_to(column, usable.shape)[usable]
    # Knuth's multiplier; 32-bit numbers wrap around as they should.
    mixed = (day.astype(np.uint32) + np.uint32(7919) * series.astype(np.uint32)) * np.uint32(2654435761)
    step = (mixed >> np.uint32(13)) % np.uint32(features.horizon) + np.uint32(1)
    return Rows(series, day, step.astype(np.int32))


def forecast_rows(grid: Grid, *, origins: list[int], horizon: int) -> Rows:
    """Each series that has begun at an origin, each origin, each step; sorted by series, origin and step."""
    origin, step = np.meshgrid(np.asarray(origins, dtype=np.int32), np.arange(1, horizon + 1, dtype=np.int32), indexing="ij")
    series = np.repeat(np.arange(len(grid.series), dtype=np.int32), origin.size)
    day = np.tile((origin + step).ravel(), len(grid.series))
    steps = np.tile(step.ravel(), len(grid.series))
    begun = day - steps >= grid.start[series]
    return Rows(series[begun], day[begun], steps[begun])


def learn_schema(panel: Panel, grid: Grid, features: FeatureSet) -> Schema:
    """Names and category values as this panel has them, in a fixed order."""
    categories: dict[str, tuple[str, ...]] = {}
    if features.kind == "full":
        for name in panel.series.columns[1:]:
            values = panel.series[name].cast(pl.String).drop_nulls().unique().sort().to_list()
            if 2 <= len(values) <= _MAX_CATEGORIES:
                categories[name] = tuple(values)
    source = _Source.of(panel, grid, features)
    names = [name for name, _, _ in _block_features(source, features, 0, min(1, len(grid.series)))]
    return Schema((*names, *(["step"] if features.kind == "full" else []), *categories), categories)


def build_matrix(panel: Panel, grid: Grid, features: FeatureSet, schema: Schema, rows: Rows) -> Floats:
    """The feature matrix of `rows`, float32 in column-major order; a feature the panel lacks is NaN throughout."""
    out: Floats = np.full((len(rows), len(schema.names)), np.nan, dtype=np.float32, order="F")
    position = {name: index for index, name in enumerate(schema.names)}
    source = _Source.of(panel, grid, features)
    size = max(1, _BLOCK_CELLS // grid.days)
    for begin in range(0, len(grid.series), size):
        end = min(begin + size, len(grid.series))
        lower, upper = np.searchsorted(rows.series, (begin, end))
        if lower == upper:
            continue
        part = rows.pick(slice(int(lower), int(upper)))
        for name, at, values in _block_features(source, features, begin, end):
            if name in position:
                out[lower:upper, position[name]] = _gather(values, at, part, begin)
    if "step" in position:
        out[:, position["step"]] = rows.step
    for name, codes in _codes(panel, grid, schema).items():
        out[:, position[name]] = codes[rows.series]
    return out


def _gather(values: Floats, at: tuple[At, int], rows: Rows, begin: int) -> Floats:
    kind, shift = at
    if values.ndim == 1:
        return values[rows.day]
    column = rows.day - shift
    if kind == "origin":
        column = column - rows.step
    elif kind == "season":
        column = column - 7 * -(-rows.step // 7)
    found = values[rows.series - begin, np.maximum(column, 0)]
    return np.where(column >= 0, found, np.float32("nan")) if column.min() < 0 else found


def _codes(panel: Panel, grid: Grid, schema: Schema) -> dict[str, Floats]:
    table = pl.DataFrame({"series": grid.series}).join(panel.series, on="series", how="left", maintain_order="left")
    out = {}
    for name, values in schema.categories.items():
        code = {value: index for index, value in enumerate(values)}
        out[name] = table[name].cast(pl.String).replace_strict(code, default=None, return_dtype=pl.Float32).to_numpy()
    return out


@dataclass(frozen=True)
class _Source:
    grid: Grid
    groups: tuple[tuple[str, NDArray[np.int64], Floats], ...]
    """Of each level of the hierarchy: its name, each series' group, and the group's mean per known member and day."""

    @classmethod
    def of(cls, panel: Panel, grid: Grid, features: FeatureSet) -> "_Source":
        if features.kind == "plain":
            return cls(grid, ())
        table = pl.DataFrame({"series": grid.series}).join(panel.series, on="series", how="left", maintain_order="left")
        levels = {name: table[name].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1 for name in _levels(panel)}
        levels["all"] = np.zeros(len(grid.series), dtype=np.int64)
        groups = [(name, codes, _group_mean(grid.target, codes)) for name, codes in levels.items() if codes.max(initial=0) + 1 < len(codes)]
        return cls(grid, tuple(groups))


def _levels(panel: Panel) -> list[str]:
    return list(dict.fromkeys((*panel.keys, *panel.segments)))


def _group_mean(target: Floats, codes: NDArray[np.int64]) -> Floats:
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    ordered = target[order]
    known = ~np.isnan(ordered)
    count = np.add.reduceat(known.astype(np.float32), starts, axis=0)
    total = np.add.reduceat(np.where(known, ordered, 0.0), starts, axis=0, dtype=np.float64)
    out: Floats = np.full(total.shape, np.nan, dtype=np.float32)
    np.divide(total, count, out=out, where=count > 0, casting="same_kind")
    return out


def _block_features(source: _Source, features: FeatureSet, begin: int, end: int) -> Iterator[tuple[str, tuple[At, int], Floats]]:
    """Name, where it is read, and values of each feature for the series `begin` to `end`."""
    if features.kind == "plain":
        yield from _plain(source.grid.target[begin:end], features)
        yield from _calendar(source.grid, features)
        return
    yield from _history(source.grid.target[begin:end], source.grid.start[begin:end])
    yield from _last_year(source.grid.target[begin:end])
    for name, codes, mean in source.groups:
        trailing, season = Trailing(mean), weekday_mean(mean, 4)
        member = codes[begin:end]
        yield f"{name}_mean_7", ("origin", 0), trailing.mean(7)[member]
        yield f"{name}_mean_28", ("origin", 0), trailing.mean(28)[member]
        yield f"{name}_weekday_4", ("season", 0), season[member]
    yield from _known_ahead(source.grid, begin, end)
    yield from _calendar(source.grid, features)


def _plain(target: Floats, features: FeatureSet) -> Iterator[tuple[str, tuple[At, int], Floats]]:
    for lag in features.lags:
        yield f"lag_{lag}", ("target", lag), target
    trailing = Trailing(target)
    for window in features.windows:
        yield f"mean_{window}", ("target", features.horizon), trailing.mean(window)


def _history(target: Floats, start: NDArray[np.int32]) -> Iterator[tuple[str, tuple[At, int], Floats]]:
    trailing = Trailing(target)
    origin: tuple[At, int] = ("origin", 0)
    means = {window: trailing.mean(window) for window in _MEANS}
    yield "last", origin, last_known(target, within=YEAR)
    for window, mean in means.items():
        yield f"mean_{window}", origin, mean
    yield "trend", origin, means[7] / (means[28] + np.float32(0.1))
    yield "deviation_28", origin, trailing.deviation(28)
    yield "deviation_91", origin, trailing.deviation(91)
    yield "zeros_28", origin, trailing.share_of_zeros(28)
    yield "zeros_91", origin, trailing.share_of_zeros(91)
    yield "positive_mean_91", origin, trailing.mean_of_positive(91)
    # Cut at a year, so that a panel holding only recent history gives the same features.
    yield "days_since_sale", origin, np.minimum(days_since_positive(target, start), np.float32(YEAR))
    column = np.arange(target.shape[1], dtype=np.float32)
    yield "age", origin, np.minimum(column - start[:, None].astype(np.float32), np.float32(YEAR))
    for lag in _SEASON_LAGS:
        yield f"season_lag_{lag}", ("season", lag), target
    for weeks in (4, 8, 13):
        yield f"weekday_{weeks}", ("season", 0), weekday_mean(target, weeks)


def _last_year(target: Floats) -> Iterator[tuple[str, tuple[At, int], Floats]]:
    trailing = Trailing(target)
    month = trailing.mean(28)
    yield "year_lag", ("year", YEAR), target
    yield "year_week", ("year", YEAR - 3), trailing.mean(7)
    yield "year_month", ("year", YEAR - 14), month
    # What the month around the day was to the month before it, a year ago.
    yield "year_origin_month", ("origin", YEAR), month


def _known_ahead(grid: Grid, begin: int, end: int) -> Iterator[tuple[str, tuple[At, int], Floats]]:
    today: tuple[At, int] = ("target", 0)
    for name, values in grid.columns.items():
        block = values[begin:end]
        if name == "price":
            yield "price", today, block
            yield "price_to_28", today, block / Trailing(block).mean(28)
            yield "price_to_182", today, block / Trailing(block).mean(182)
        elif name == "stock":
            # Stock on the day itself is an outcome, so only the origin's is known.
            yield "stock", ("origin", 0), block
        else:
            yield name, today, block


def _calendar(grid: Grid, features: FeatureSet) -> Iterator[tuple[str, tuple[At, int], Floats]]:
    dates = pl.Series(grid.dates()).cast(pl.Date)
    parts = {
        "weekday": dates.dt.weekday() - 1,  # Monday is 0
        "day": dates.dt.day(),
        "month": dates.dt.month(),
        "week": dates.dt.week(),
        "day_of_year": dates.dt.ordinal_day(),
        "year": dates.dt.year(),
    }
    for name in features.calendar:
        yield name, ("target", 0), parts[name].cast(pl.Float32).to_numpy()
