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
from engine.frames.panel import Panel
from engine.significance import diebold_mariano


@pytest.fixture(scope="module")
def panel() -> Panel:
    shared = Path(os.environ.get("TILTYARD_SHARED") or Path(__file__).resolve().parents[3] / ".." / "shared")
    path = shared / "data" / "retail_daily_sales.parquet"
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("TILTYARD_SHARED does not lead to the real data sets")
        pytest.skip("the real data sets are not here (TILTYARD_SHARED)")
    return retail_panel(path)


def value(result: BacktestResult, metric: str) -> float:
    found = result.overall[metric]
    assert found is not None
    return found


def test_naive_reaches_the_reference_numbers(panel: Panel) -> None:
    naive = backtest(panel, SeasonalNaiveRecipe())

    assert naive.daily["date"].min() == date(2016, 1, 26)
    assert naive.forecasts.height == 25_200
    assert value(naive, "mae") == pytest.approx(2.7092, abs=5e-5)
    assert value(naive, "wape") == pytest.approx(0.5396, abs=5e-5)
    assert 0.89 <= value(naive, "coverage") <= 0.94


def test_lightgbm_wins_on_every_count(panel: Panel, subtests: pytest.Subtests) -> None:
    """One test, because the training is the cost of it."""
    naive, lightgbm = backtest(panel, SeasonalNaiveRecipe()), backtest(panel, LightGBMRecipe())

    with subtests.test("error"):
        assert value(lightgbm, "wape") <= 0.42
    with subtests.test("bias"):
        assert abs(value(lightgbm, "bias_pct")) <= 2.0
    with subtests.test("significance"):
        found = diebold_mariano(lightgbm.daily["mae"].to_numpy(), naive.daily["mae"].to_numpy(), alternative="less")
        assert found.p_value is not None
        assert found.p_value < 0.001
    with subtests.test("no department and no store loses"):
        both = lightgbm.by_segment.join(naive.by_segment, on=["column", "value"], suffix="_naive")
        assert both.height == 17
        assert both.filter(pl.col("mae") >= pl.col("mae_naive")).is_empty()
    with subtests.test("intervals"):
        assert lightgbm.nominal == 0.9
        assert 0.89 <= value(lightgbm, "coverage") <= 0.94
    for metric in ("stockout_miss_rate", "overstock_rate"):
        with subtests.test(metric):
            assert value(lightgbm, metric) <= value(naive, metric) + 0.005
