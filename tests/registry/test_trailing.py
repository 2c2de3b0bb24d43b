"""The windows behind every MAE of the last days, and the trend."""

from datetime import date, timedelta

import pytest

from registry.rules.trailing import Day, Trailing

LAST = date(2026, 3, 1)


def trailing(*errors: float) -> Trailing:
    """One series, days in a row up to LAST with these absolute errors, of a demand of 10 each."""
    return Trailing(
        "validation", tuple(Day(LAST - timedelta(days=ago), 1, error, 10.0) for ago, error in enumerate(reversed(errors)))[::-1]
    )


@pytest.mark.parametrize(
    ("week", "before", "trend"),
    [(1.0, 1.0, "stable"), (1.06, 1.0, "degrading"), (0.94, 1.0, "improving"), (1.04, 1.0, "stable"), (1.0, 0.0, None)],
)
def test_the_trend_is_the_last_week_against_the_23_days_before(week: float, before: float, trend: str | None) -> None:
    found = trailing(*[99.0] * 10, *[before] * 23, *[week] * 7)

    assert found.before == pytest.approx(before)
    assert found.trend == trend


def test_the_trend_needs_seven_days_before_the_last_seven() -> None:
    assert trailing(*[1.0] * 13).trend is None
    assert trailing(*[1.0] * 14).trend == "stable"


def test_windows_are_days_of_the_calendar_and_pool_all_series() -> None:
    days = tuple(
        Day(LAST - timedelta(days=ago), n, error, 100.0)
        for ago, n, error in [(30, 10, 9000.0), (7, 10, 50.0), (6, 30, 90.0), (0, 10, 10.0)]
    )

    found = Trailing("backtest", days)

    assert (found.as_of, found.mae_7d, found.mae_30d, found.wape_7d) == (LAST, 100 / 40, 150 / 50, 0.5)


def test_without_days_nothing_is_known() -> None:
    found = Trailing(None, ())

    assert (found.as_of, found.mae_7d, found.mae_30d, found.wape_7d, found.before, found.trend) == (None,) * 6
