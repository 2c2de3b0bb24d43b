from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from engine import metrics
from engine.forecasting.backtest import SoFar, backtest, describe, naive_scales
from engine.forecasting.features import FeatureSet
from engine.forecasting.naive import SeasonalNaiveForecaster, SeasonalNaiveRecipe
from engine.forecasting.protocol import ForecastError
from engine.forecasting.recipe import LightGBMRecipe
from engine.frames.panel import Panel
from tests.engine.panels import FIRST, make_panel, weekly_demand

NAIVE = SeasonalNaiveRecipe(calibration_days=56)
PLAIN = LightGBMRecipe(
    features=FeatureSet(kind="plain", horizon=7, lags=(7, 14), windows=(7, 28), warmup=35),
    objective="regression",
    typical=None,
    calibration_days=0,
    rounds=15,
    num_leaves=7,
    min_data_in_leaf=10,
    history_days=None,
)
ONE_BY_ONE = replace(PLAIN, num_threads=1)
"""Fits come one after the other, however many cores there are."""


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(weekly_demand(days=200), closed=[180])


def test_every_known_day_of_the_window_is_forecast_once(panel: Panel) -> None:
    result = backtest(panel, NAIVE, window_days=30)

    assert result.daily["date"].to_list() == [FIRST + timedelta(days=offset) for offset in range(170, 200) if offset != 180]
    assert result.forecasts.height == 6 * 29
    assert len(result.origins) == 5
    assert (result.forecasts["date"] > result.forecasts["origin"]).all()


def test_numbers_agree_at_every_level(panel: Panel) -> None:
    result = backtest(panel, NAIVE, window_days=30)

    rows = result.forecasts
    expected = metrics.summarize(rows["target"], rows["prediction"], lower=rows["lower"], upper=rows["upper"])
    for name in ("mae", "rmse", "mape", "wape", "bias_pct", "coverage", "stockout_miss_rate", "overstock_rate"):
        assert result.overall[name] == pytest.approx(expected[name])
    for frame in (result.daily, result.segments, result.by_segment):
        assert frame["sum_abs_error"].sum() == pytest.approx(rows.select((pl.col("prediction") - pl.col("target")).abs().sum()).item())
    assert sum(result.histogram["counts"]) == rows.height
    assert result.worst_series["sum_abs_error"].is_sorted(descending=True)
    assert describe(result)["rows"] == rows.height


def test_scales_are_the_naive_errors_before_the_window() -> None:
    panel = make_panel([[0.0, 3.0] * 20, [1.0] * 40])

    found = naive_scales(panel, through=FIRST + timedelta(days=29)).sort("series")

    assert found["scale"].to_list() == [3.0, 0.0]
    assert found["squared_scale"].to_list() == [9.0, 0.0]


def test_a_frozen_model_is_used_from_its_training_on(panel: Panel) -> None:
    frozen = SeasonalNaiveForecaster(trained_through=FIRST + timedelta(days=180), season=1)

    result = backtest(panel, replace(NAIVE, calibration_days=0), window_days=28, frozen=frozen)

    own = frozen.predict_origins(panel, origins=result.origins, horizon=7)
    joined = result.forecasts.join(own, on=["origin", "series", "date"], suffix="_frozen")
    same = joined.group_by("origin").agg((pl.col("prediction") == pl.col("prediction_frozen")).all()).sort("origin")
    assert same["prediction"].to_list() == [False, False, True, True]
    assert result.fits == 1


def test_a_frozen_model_alone_trains_nothing(panel: Panel) -> None:
    frozen = NAIVE.fit(panel, through=FIRST + timedelta(days=100))

    assert backtest(panel, NAIVE, window_days=28, frozen=frozen).fits == 0


@pytest.mark.parametrize(("every", "fits"), [(None, 1), (7, 4), (14, 2)])
def test_models_are_trained_again_as_often_as_asked(panel: Panel, every: int | None, fits: int) -> None:
    assert backtest(panel, PLAIN, window_days=28, retrain_every=every).fits == fits


def test_features_binned_once_predict_as_models_trained_apart(panel: Panel) -> None:
    together = backtest(panel, PLAIN, window_days=28, retrain_every=7)

    apart = []
    for origin in together.origins:
        forecaster = PLAIN.fit(panel, through=origin)
        assert forecaster.trained_through == origin
        apart.append(forecaster.predict_origins(panel, origins=[origin], horizon=7))
    joined = together.forecasts.join(pl.concat(apart), on=["origin", "series", "date"], suffix="_apart")
    # The first is binned on the same rows. Later ones keep its bin borders, so they may differ a little.
    difference = (joined["prediction"] - joined["prediction_apart"]).abs()
    assert joined.height == together.forecasts.height
    assert difference.filter(joined["origin"] == together.origins[0]).max() == 0.0
    error, own = (joined.select((pl.col(name) - pl.col("target")).abs().mean()).item() for name in ("prediction", "prediction_apart"))
    assert error == pytest.approx(own, rel=0.02)


def test_no_fold_is_predicted_from_its_future(panel: Panel) -> None:
    changed = pl.when(pl.col("date") > FIRST + timedelta(days=185)).then(pl.col("target") * 9 + 5).otherwise("target").alias("target")
    other = replace(panel, frame=panel.frame.with_columns(changed))

    first, second = (backtest(some, PLAIN, window_days=28, retrain_every=7).forecasts for some in (panel, other))

    before = pl.col("origin") <= FIRST + timedelta(days=185)
    assert first.filter(before).height > 0
    assert first.filter(before).drop("target").equals(second.filter(before).drop("target"))


def test_progress_may_cancel(panel: Panel) -> None:
    class Cancelled(Exception):
        pass

    told: list[float] = []

    def cancel(fraction: float, text: str) -> None:
        told.append(fraction)
        if text.startswith("training"):
            raise Cancelled

    with pytest.raises(Cancelled):
        backtest(panel, PLAIN, window_days=28, progress=cancel)
    assert told == sorted(told)


@pytest.mark.parametrize(("every", "left"), [(7, [3, 2, 1, 0]), (14, [1, 1, 0, 0]), (None, [0, 0, 0, 0])])
def test_the_score_so_far_is_told_after_each_origin(panel: Panel, every: int | None, left: list[int]) -> None:
    told: list[SoFar] = []

    result = backtest(panel, ONE_BY_ONE, window_days=28, retrain_every=every, scored=told.append)

    scored = result.forecasts.join(naive_scales(panel, through=result.origins[0]), on="series", how="left")
    assert [(one.origins, one.fits_left) for one in told] == list(zip([1, 2, 3, 4], left, strict=True))
    for one in told:
        rows = scored.filter(pl.col("origin") <= result.origins[one.origins - 1])
        expected = metrics.from_sums(rows.select(metrics.error_sums()).row(0, named=True))
        assert one.overall == pytest.approx(expected)
    assert told[-1].overall == pytest.approx(result.overall)


@pytest.mark.parametrize("every", [7, None])
def test_scores_told_on_the_way_change_nothing_of_the_result(panel: Panel, every: int | None) -> None:
    silent, told = (backtest(panel, PLAIN, window_days=28, retrain_every=every, scored=scored) for scored in (None, lambda _: None))

    assert told.overall == silent.overall
    assert told.forecasts.equals(silent.forecasts)
    assert told.daily.equals(silent.daily)


def test_a_score_may_end_the_backtest_before_its_next_fit(panel: Panel) -> None:
    class Pruned(Exception):
        pass

    fitted: list[str] = []

    def prune(so_far: SoFar) -> None:
        if so_far.origins == 2:
            raise Pruned

    with pytest.raises(Pruned):
        backtest(panel, ONE_BY_ONE, window_days=28, retrain_every=7, progress=lambda _, text: fitted.append(text), scored=prune)
    assert fitted[-1] == "training 2 of 4"


def test_origins_of_a_frozen_model_are_scored_first(panel: Panel) -> None:
    frozen = NAIVE.fit(panel, through=FIRST + timedelta(days=181))
    told: list[SoFar] = []

    result = backtest(panel, NAIVE, window_days=28, frozen=frozen, scored=told.append)

    assert [(one.origins, one.fits_left) for one in told] == [(1, 1), (2, 1), (3, 0), (4, 0)]
    assert told[-1].overall == pytest.approx(result.overall)


def test_steps_shorter_than_the_horizon_forecast_days_more_than_once(panel: Panel) -> None:
    result = backtest(panel, NAIVE, window_days=14, step=1)

    assert result.daily.filter(pl.col("date") == date(2024, 7, 18))["n"].item() == 6 * 7


def test_a_panel_without_segments_has_none() -> None:
    panel = replace(make_panel([[1.0] * 100]), segments=())

    result = backtest(panel, NAIVE, window_days=14)

    assert result.segments.is_empty()
    assert result.by_segment.is_empty()
    assert result.overall["mae"] == 0.0


def test_a_window_as_long_as_the_panel_is_refused(panel: Panel) -> None:
    with pytest.raises(ForecastError, match="leaves none to learn from"):
        backtest(panel, NAIVE, window_days=200)
