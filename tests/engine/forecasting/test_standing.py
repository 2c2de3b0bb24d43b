from datetime import timedelta

import polars as pl
import pytest

from engine.forecasting.backtest import backtest
from engine.forecasting.naive import SeasonalNaiveRecipe
from engine.forecasting.standing import standing
from tests.engine.panels import FIRST, make_panel, weekly_demand

# Two weeks by which weekday alone decides, then one in which every day sells one unit more.
WEEK = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
PANEL = make_panel([[*WEEK, *WEEK, *(value + 1 for value in WEEK)]])


def forecasts(*origins: tuple[int, list[float]]) -> pl.DataFrame:
    """Of each origin (a day's number) what was forecast for the days after it."""
    target = PANEL.frame["target"].to_list()
    rows = [
        {
            "origin": FIRST + timedelta(days=day),
            "series": 0,
            "date": FIRST + timedelta(days=day + step),
            "prediction": value,
            "target": target[day + step],
        }
        for day, values in origins
        for step, value in enumerate(values, start=1)
    ]
    return pl.DataFrame(rows, schema_overrides={"series": pl.UInt32})


def test_value_over_naive_is_percent_of_the_naives_error_on_the_same_days() -> None:
    # The naive misses each of these seven days by one unit; ours by a quarter.
    found = standing(PANEL, forecasts((13, [value + 0.75 for value in WEEK])))

    assert found["value_over_naive_pct"] == pytest.approx(75.0)


def test_what_is_worse_than_the_naive_has_a_negative_value() -> None:
    assert standing(PANEL, forecasts((13, [value - 0.5 for value in WEEK])))["value_over_naive_pct"] == pytest.approx(-50.0)


def test_where_the_naive_made_no_error_there_is_no_value() -> None:
    assert standing(PANEL, forecasts((6, WEEK)))["value_over_naive_pct"] is None


def test_the_worst_origin_is_that_of_the_largest_mean_error() -> None:
    # Errors of 0.1 a day from the first origin, of 3 and 1 on two days of the second.
    found = standing(PANEL, forecasts((6, [value + 0.1 for value in WEEK]), (13, [WEEK[0] + 4.0, WEEK[1] + 2.0])))

    assert found["worst_origin_mae"] == pytest.approx(2.0)


def test_without_forecasts_nothing_is_known() -> None:
    assert standing(PANEL, pl.DataFrame()) == {"value_over_naive_pct": None, "worst_origin_mae": None}


def test_the_seasonal_naive_itself_adds_nothing() -> None:
    panel = make_panel(weekly_demand(days=200), closed=[180])
    result = backtest(panel, SeasonalNaiveRecipe(calibration_days=56), window_days=30)

    found = standing(panel, result.forecasts)

    assert found["value_over_naive_pct"] == pytest.approx(0.0)
    by_origin = result.forecasts.group_by("origin").agg((pl.col("prediction") - pl.col("target")).abs().mean().alias("mae"))
    assert found["worst_origin_mae"] == pytest.approx(max(by_origin["mae"]))
