"""The main job on the real retail panel: one training, the last 90 days, seven days ahead."""

import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from benchmarks.panels import retail_panel
from engine.forecasting.backtest import BacktestResult, backtest
from engine.forecasting.naive import SeasonalNaiveRecipe
from engine.forecasting.recipe import LightGBMRecipe
from engine.significance import diebold_mariano


@pytest.fixture(scope="module")
def results() -> dict[str, BacktestResult]:
    shared = Path(os.environ.get("TILTYARD_SHARED") or Path(__file__).resolve().parents[3] / ".." / "shared")
    path = shared / "data" / "retail_daily_sales.parquet"
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("TILTYARD_SHARED does not lead to the real data sets")
        pytest.skip("the real data sets are not here (TILTYARD_SHARED)")
    panel = retail_panel(path)
    return {"naive": backtest(panel, SeasonalNaiveRecipe()), "lightgbm": backtest(panel, LightGBMRecipe())}


def value(result: BacktestResult, metric: str) -> float:
    found = result.overall[metric]
    assert found is not None
    return found


def test_naive_reaches_the_reference_numbers(results: dict[str, BacktestResult]) -> None:
    naive = results["naive"]

    assert naive.daily["date"].min() == date(2016, 1, 26)
    assert naive.forecasts.height == 25_200
    assert value(naive, "mae") == pytest.approx(2.7092, abs=5e-5)
    assert value(naive, "wape") == pytest.approx(0.5396, abs=5e-5)


def test_lightgbm_wins_overall_without_bias(results: dict[str, BacktestResult]) -> None:
    lightgbm, naive = results["lightgbm"], results["naive"]

    assert value(lightgbm, "wape") <= 0.42
    assert abs(value(lightgbm, "bias_pct")) <= 2.0
    found = diebold_mariano(lightgbm.daily["mae"].to_numpy(), naive.daily["mae"].to_numpy(), alternative="less")
    assert found.p_value is not None
    assert found.p_value < 0.001


def test_no_department_and_no_store_loses(results: dict[str, BacktestResult]) -> None:
    both = results["lightgbm"].by_segment.join(results["naive"].by_segment, on=["column", "value"], suffix="_naive")

    assert both.height == 17
    assert both.filter(pl.col("mae") >= pl.col("mae_naive")).is_empty()


@pytest.mark.parametrize("kind", ["naive", "lightgbm"])
def test_intervals_cover_about_what_they_promise(results: dict[str, BacktestResult], kind: str) -> None:
    assert results[kind].nominal == 0.9
    assert 0.89 <= value(results[kind], "coverage") <= 0.94


@pytest.mark.parametrize("metric", ["stockout_miss_rate", "overstock_rate"])
def test_neither_shelf_rate_is_worse_than_naive(results: dict[str, BacktestResult], metric: str) -> None:
    assert value(results["lightgbm"], metric) <= value(results["naive"], metric) + 0.005
