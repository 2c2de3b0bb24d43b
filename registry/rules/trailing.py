"""A version's errors over the last days with a known truth: one definition of the windows and the trend, wherever they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

WEEK, MONTH = 7, 30
DEGRADED_PCT = 15.0
"""Errors this much above what they are measured against need a person: the daily drift check, the weekly backtest, health, the overview."""
TREND_PCT = 5.0
"""A week within this of the 23 days before it is stable."""

Source = Literal["validation", "backtest"]
Trend = Literal["improving", "stable", "degrading"]


@dataclass(frozen=True)
class Day:
    """One day's sums over the `n` series whose truth is known."""

    day: date
    n: int
    sum_abs_error: float
    sum_actual: float

    @property
    def mae(self) -> float:
        """The day's mean absolute error."""
        return self.sum_abs_error / self.n


@dataclass(frozen=True)
class Trailing:
    """Errors of the 7 and 30 days up to `as_of`, pooled over all series: Σ|error| ÷ number of forecasts."""

    source: Source | None
    days: tuple[Day, ...]
    """Oldest first; days whose truth nobody knows are left out."""

    @property
    def as_of(self) -> date | None:
        """The newest day."""
        return self.days[-1].day if self.days else None

    @property
    def mae_7d(self) -> float | None:
        """Of the last week."""
        return _mae(self._last(WEEK))

    @property
    def mae_30d(self) -> float | None:
        """Of the last thirty days."""
        return _mae(self._last(MONTH))

    @property
    def wape_7d(self) -> float | None:
        """Absolute error over demand of the last week; a fraction."""
        week = self._last(WEEK)
        actual = sum(one.sum_actual for one in week)
        return sum(one.sum_abs_error for one in week) / actual if actual else None

    @property
    def before(self) -> float | None:
        """MAE of the 23 days before the last week; None with fewer than seven of them."""
        earlier = self._last(MONTH)[: -len(self._last(WEEK)) or None]
        return _mae(earlier) if len(earlier) >= WEEK else None

    @property
    def change_pct(self) -> float | None:
        """The last week against the 23 days before it, percent; above zero is worse."""
        if self.mae_7d is None or not self.before:
            return None
        return 100 * (self.mae_7d / self.before - 1)

    @property
    def trend(self) -> Trend | None:
        """Where the errors are heading; None while there are too few days."""
        change = self.change_pct
        if change is None:
            return None
        return "degrading" if change > TREND_PCT else "improving" if change < -TREND_PCT else "stable"

    def _last(self, days: int) -> tuple[Day, ...]:
        return tuple(one for one in self.days if one.day > self.days[-1].day - timedelta(days=days))


def _mae(days: Sequence[Day]) -> float | None:
    n = sum(one.n for one in days)
    return sum(one.sum_abs_error for one in days) / n if n else None
