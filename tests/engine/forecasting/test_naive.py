from datetime import timedelta

import polars as pl
import pytest

from engine.forecasting.naive import SeasonalNaiveForecaster, SeasonalNaiveRecipe
from engine.forecasting.protocol import ForecastError
from tests.engine.panels import FIRST, make_panel, weekly_demand


def test_forecast_is_the_same_weekday_of_the_last_known_week() -> None:
    panel = make_panel([[float(day) for day in range(30)]])
    forecaster = SeasonalNaiveForecaster(FIRST)

    found = forecaster.predict(panel, origin=FIRST + timedelta(days=20), horizon=10)

    assert found["prediction"].to_list() == [*range(14, 21), 14, 15, 16]
    assert found["date"].to_list() == [FIRST + timedelta(days=day) for day in range(21, 31)]
    assert found["lower"].null_count() == 10


def test_an_unknown_day_is_replaced_by_the_week_before() -> None:
    values: list[float | None] = [float(day) for day in range(30)]
    values[15] = None
    panel = make_panel([values])

    found = SeasonalNaiveForecaster(FIRST).predict(panel, origin=FIRST + timedelta(days=20), horizon=7)

    assert found["prediction"].to_list() == [14, 8, 16, 17, 18, 19, 20]


def test_a_series_without_that_weekday_repeats_its_last_value() -> None:
    panel = make_panel([[1.0] * 30, [4.0, 6.0]])

    found = SeasonalNaiveForecaster(FIRST).predict(panel, origin=FIRST + timedelta(days=29), horizon=4)

    assert found.filter(pl.col("series") == 1)["prediction"].to_list() == [6.0, 6.0, 6.0, 6.0]


def test_closed_days_are_forecast_as_nothing() -> None:
    panel = make_panel([[3.0] * 30], closed=[25])
    recipe = SeasonalNaiveRecipe(calibration_days=0)

    found = recipe.fit(panel, through=FIRST + timedelta(days=20)).predict(panel, origin=FIRST + timedelta(days=22), horizon=5)

    assert found["prediction"].to_list() == [3.0, 3.0, 0.0, 3.0, 3.0]


def test_intervals_cover_about_what_they_promise() -> None:
    panel = make_panel(weekly_demand(series=8, days=400))
    through = FIRST + timedelta(days=300)

    forecaster = SeasonalNaiveRecipe(nominal=0.8).fit(panel, through=through)

    origins = [through + timedelta(days=7 * week) for week in range(13)]
    found = forecaster.predict_origins(panel, origins=origins, horizon=7).join(panel.frame, on=["series", "date"])
    inside = found["target"].is_between(found["lower"], found["upper"]).mean()
    assert isinstance(inside, float)
    assert 0.76 <= inside <= 0.92


def test_nothing_known_cannot_be_fitted() -> None:
    with pytest.raises(ForecastError, match="no known day"):
        SeasonalNaiveRecipe().fit(make_panel([[None] * 10]), through=FIRST + timedelta(days=9))
