"""A version's errors over the last days with a known truth: one definition of the windows and the trend, wherever they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

WEEK, MONTH = 7, 30
DEGRADED_PCT = 15.0
"""Errors this much above what they are measured against need a person: the daily drift check, the weekly backtest, health, the overview."""
CRITICAL_PCT = 30.0
"""A week's MAE this much above the one a champion was registered with is critical."""
TREND_PCT = 5.0
"""A week within this of the 23 days before it is stable."""

Source = Literal["validation", "backtest"]
Trend = Literal["improving", "stable", "degrading"]
State = Literal["healthy", "warning", "critical"]


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
    def week_days(self) -> int:
        """How many days of the last week have a known truth."""
        return len(self._last(WEEK))

    @property
    def month_days(self) -> int:
        """The same of the last thirty days."""
        return len(self._last(MONTH))

    @property
    def days_before(self) -> int:
        """The same of the 23 days before the last week."""
        return self.month_days - self.week_days

    @property
    def before(self) -> float | None:
        """MAE of the 23 days before the last week; None with fewer than seven of them."""
        return _mae(self._last(MONTH)[: self.days_before]) if self.days_before >= WEEK else None

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


@dataclass(frozen=True)
class Condition:
    """How a champion does on days it was validated on, against the MAE it was registered with: one rule for the API and the screens.

    What was never measured is a warning, not healthy. A backtest alone warns of nothing: it is what the champion was registered on, and
    its last week is no news.
    """

    errors: Trailing
    baseline_mae: float | None

    @property
    def change_pct(self) -> float | None:
        """The last validated week against the baseline, percent; above zero is worse. None without one of the two."""
        if self.errors.source != "validation" or self.errors.mae_7d is None or not self.baseline_mae:
            return None
        return 100 * (self.errors.mae_7d / self.baseline_mae - 1)

    @property
    def state(self) -> State:
        """By how much the last week is worse than the baseline."""
        if self.errors.source == "backtest":
            return "healthy"
        change = self.change_pct
        if change is None:
            return "warning"
        return "critical" if change > CRITICAL_PCT else "warning" if change > DEGRADED_PCT else "healthy"

    def said(self, version: str) -> str:
        """Why, in one sentence about the version of this label."""
        if self.errors.mae_7d is None:
            return f"{version} was never measured here: no validated day and no backtest."
        if self.errors.source == "backtest":
            return f"{version} has its backtest to show; no day has been validated yet."
        change = self.change_pct
        if change is None:
            return f"{version} has no baseline MAE to compare its last week with."
        word = "above" if change >= 0 else "below"
        window = f"the seven days up to {self.errors.as_of}"
        return f"MAE of {window} is {abs(change):.1f} % {word} the {self.baseline_mae:.4g} it was registered with."


def _mae(days: Sequence[Day]) -> float | None:
    n = sum(one.n for one in days)
    return sum(one.sum_abs_error for one in days) / n if n else None
