"""Closed days are told from zero demand and from events."""

from datetime import date, timedelta

import polars as pl
import pytest

from engine.frames.calendar import easter, find_closures
from tests.engine.frames.samples import days


def daily(totals: dict[date, float], *, location: str = "North", lines: float = 1.0) -> pl.DataFrame:
    rows = {"location": [location] * len(totals), "date": list(totals), "total": list(totals.values()), "lines": [lines] * len(totals)}
    return pl.DataFrame(rows, schema_overrides={"total": pl.Float64, "lines": pl.Float64})


def closed_days(frame: pl.DataFrame) -> list[date]:
    return find_closures(frame).closed["date"].to_list()


def test_easter_follows_the_almanac() -> None:
    assert [easter(year) for year in (2000, 2011, 2016, 2024, 2038)] == [
        date(2000, 4, 23), date(2011, 4, 24), date(2016, 3, 27), date(2024, 3, 31), date(2038, 4, 25),
    ]  # fmt: skip


def test_christmas_year_after_year_is_closed() -> None:
    totals = {day: 1.0 if (day.month, day.day) == (12, 25) else 500.0 for day in days(1000, date(2021, 1, 1))}

    assert closed_days(daily(totals)) == [date(2021, 12, 25), date(2022, 12, 25)]


def test_easter_sunday_is_closed_although_its_date_moves() -> None:
    totals = {day: 0.0 if day == easter(day.year) else 500.0 for day in days(1000, date(2021, 1, 1))}

    assert closed_days(daily(totals)) == [easter(2021), easter(2022), easter(2023)]


def test_thanksgiving_is_closed_although_its_date_moves() -> None:
    shut = {date(2021, 11, 25), date(2022, 11, 24)}
    totals = {day: 0.0 if day in shut else 500.0 for day in days(800, date(2021, 1, 1))}

    assert set(closed_days(daily(totals))) == shut


def test_weekly_closing_day_is_closed_only_while_it_is_kept() -> None:
    change = date(2024, 6, 1)
    totals = {day: 0.0 if day.weekday() == 6 and day < change else 500.0 for day in days(300)}

    assert closed_days(daily(totals)) == [day for day in totals if day.weekday() == 6 and day < change]


def test_single_collapse_is_an_event_not_a_closure() -> None:
    totals = {day: 2.0 if day == date(2022, 10, 29) else 500.0 for day in days(1000, date(2021, 1, 1))}

    assert closed_days(daily(totals)) == []


def test_lockdown_of_weeks_is_no_closure() -> None:
    totals = {day: 0.0 if date(2022, 3, 16) <= day <= date(2022, 4, 21) else 500.0 for day in days(1000, date(2021, 1, 1))}

    assert closed_days(daily(totals)) == []


def test_small_location_is_closed_with_all_others() -> None:
    feast = date(2021, 12, 25)
    large = {day: 0.0 if day == feast else 5000.0 for day in days(500, date(2021, 6, 1))}
    small = {day: 0.0 if day == feast else 3.0 for day in days(500, date(2021, 6, 1))}

    closures = find_closures(pl.concat([daily(large), daily(small, location="Kiosk")]))

    assert closures.closed.rows() == [("Kiosk", feast), ("North", feast)]


@pytest.mark.parametrize(("length", "closed", "gaps"), [(10, 10, 0), (20, 0, 20)])
def test_days_without_lines_are_closed_or_a_gap_by_length(length: int, closed: int, gaps: int) -> None:
    pause = {date(2024, 5, 1) + timedelta(days=index) for index in range(length)}
    totals = {day: 500.0 for day in days(300) if day not in pause}

    closures = find_closures(daily(totals, lines=20.0))

    assert (closures.closed.height, closures.gaps.height) == (closed, gaps)
