from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from engine.forecasting.features import FeatureSet
from engine.forecasting.protocol import ForecastError
from engine.forecasting.recipe import LightGBMRecipe
from engine.frames.panel import Panel
from tests.engine.panels import FIRST, make_panel, weekly_demand

SMALL = LightGBMRecipe(rounds=15, num_leaves=7, min_data_in_leaf=10, history_days=None, calibration_days=56)
PLAIN = replace(
    SMALL,
    features=FeatureSet(kind="plain", horizon=7, lags=(7, 14), windows=(7, 28), warmup=35),
    objective="regression",
    typical=None,
    calibration_days=0,
)


def day(offset: int) -> date:
    return FIRST + timedelta(days=offset)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(weekly_demand(days=260), closed=[245])


def with_future(panel: Panel, *, after: date, change: Callable[[pl.Expr], pl.Expr]) -> Panel:
    target = pl.when(pl.col("date") > after).then(change(pl.col("target"))).otherwise("target")
    return replace(panel, frame=panel.frame.with_columns(target.alias("target")))


def test_forecast_follows_levels_and_weekdays(panel: Panel) -> None:
    forecaster = SMALL.fit(panel, through=day(230))

    found = forecaster.predict(panel, origin=day(230), horizon=7).join(panel.frame, on=["series", "date"])

    assert found.height == 42
    assert found.columns[:5] == ["series", "date", "prediction", "lower", "upper"]
    error = (found["prediction"] - found["target"]).abs().sum() / found["target"].sum()
    assert error < 0.4
    assert found.filter(~pl.col("prediction").is_between(pl.col("lower"), pl.col("upper"))).is_empty()


@pytest.mark.parametrize("recipe", [SMALL, PLAIN], ids=["full", "plain"])
def test_neither_training_nor_prediction_looks_past_its_day(panel: Panel, recipe: LightGBMRecipe) -> None:
    through, origin = day(200), day(214)
    altered = with_future(panel, after=origin, change=lambda target: target * 7 + 3)
    unseen = with_future(panel, after=through, change=lambda target: target * 7 + 3)

    forecaster = recipe.fit(panel, through=through)

    assert forecaster == recipe.fit(unseen, through=through)
    expected = forecaster.predict(panel, origin=origin, horizon=7)
    assert expected.equals(forecaster.predict(altered, origin=origin, horizon=7))
    assert expected.equals(forecaster.predict(panel.until(origin), origin=origin, horizon=7))


def test_prediction_needs_recent_history_only(panel: Panel) -> None:
    forecaster = PLAIN.fit(panel, through=day(200))
    recent = replace(panel, frame=panel.frame.filter(pl.col("date") > day(120)))

    whole = forecaster.predict(panel, origin=day(230), horizon=7)

    assert whole.equals(forecaster.predict(recent, origin=day(230), horizon=7))


def test_the_same_seed_gives_the_same_model_on_any_number_of_cores(panel: Panel) -> None:
    one, two = (replace(SMALL, num_threads=threads).fit(panel, through=day(230)) for threads in (1, 2))

    assert replace(one, recipe={}) == replace(two, recipe={})


def test_closed_days_are_forecast_as_nothing(panel: Panel) -> None:
    found = SMALL.fit(panel, through=day(230)).predict(panel, origin=day(240), horizon=7)

    closed = found.filter(pl.col("date") == day(245))
    assert closed.select("prediction", "lower", "upper").unique().rows() == [(0.0, 0.0, 0.0)]


def test_recent_bias_is_corrected(panel: Panel) -> None:
    forecaster = SMALL.fit(panel, through=day(200))
    risen = with_future(panel, after=day(200), change=lambda target: target * 1.5)

    found = forecaster.predict(risen, origin=day(240), horizon=7)["prediction"].sum()
    uncorrected = replace(forecaster, tail=None).predict(risen, origin=day(240), horizon=7)["prediction"].sum()

    assert 1.02 < found / uncorrected <= 1.1500001


def test_without_calibration_there_is_neither_interval_nor_correction(panel: Panel) -> None:
    forecaster = PLAIN.fit(panel, through=day(230))

    assert forecaster.nominal is None
    assert forecaster.tail is None
    assert forecaster.predict(panel, origin=day(230), horizon=7)["upper"].null_count() == 42


def test_importance_shares_add_up(panel: Panel) -> None:
    shares = PLAIN.fit(panel, through=day(230)).importance()

    assert sum(shares.values()) == pytest.approx(1.0)
    assert set(shares) == set(PLAIN.fit(panel, through=day(230)).schema.names)


def test_new_series_are_forecast_too(panel: Panel) -> None:
    values = weekly_demand(days=260)
    grown = make_panel([*values, values[0][-10:]])

    found = SMALL.fit(panel, through=day(230)).predict(grown, origin=day(255), horizon=4)

    assert found.filter(pl.col("series") == 6).height == 4
    assert np.isfinite(found["prediction"].to_numpy()).all()


def test_demand_of_nothing_but_zeros_is_forecast_as_zero() -> None:
    quiet = make_panel([[0.0] * 200, [0.0] * 200])

    found = SMALL.fit(quiet, through=day(190)).predict(quiet, origin=day(190), horizon=7)

    assert found["prediction"].max() == 0.0


def test_a_longer_horizon_than_trained_is_refused(panel: Panel) -> None:
    with pytest.raises(ForecastError, match="1 to 7 days"):
        PLAIN.fit(panel, through=day(230)).predict(panel, origin=day(230), horizon=8)


def test_too_short_a_history_is_refused() -> None:
    with pytest.raises(ForecastError, match="fewer than 20 usable days"):
        SMALL.fit(make_panel([[1.0] * 30]), through=day(29))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"rounds": 10.5}, "rounds"),
        ({"num_leaves": True}, "num_leaves"),
        ({"objective": "binary"}, "objective"),
        ({"leafs": 3}, "leafs"),
    ],
)
def test_impossible_hyper_parameters_are_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(ForecastError, match=message):
        LightGBMRecipe.from_json({**SMALL.to_json(), **change})


def test_recipes_survive_json() -> None:
    assert LightGBMRecipe.from_json(PLAIN.to_json()) == PLAIN
    assert LightGBMRecipe.from_json({}) == LightGBMRecipe()
