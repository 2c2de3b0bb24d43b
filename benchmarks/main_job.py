"""The main job on real data: the last 90 days of the retail panel, seven days ahead, LightGBM beside the seasonal naive.

Run: .venv/bin/python -m benchmarks.main_job [--retrain 7] [--until 2015-10-25]
"""

import argparse
import time
from datetime import date

import polars as pl

from benchmarks.panels import retail_panel
from engine.forecasting.backtest import backtest
from engine.forecasting.naive import SeasonalNaiveRecipe
from engine.forecasting.recipe import LightGBMRecipe
from engine.frames.panel import Panel
from engine.significance import block_bootstrap, diebold_mariano


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retrain", type=int, default=None, help="days between trainings; once if not given")
    parser.add_argument("--until", type=date.fromisoformat, default=None, help="pretend the data ends on this day")
    arguments = parser.parse_args()
    panel = retail_panel()
    if arguments.until:
        panel = panel.until(arguments.until)
    compare(panel, retrain_every=arguments.retrain)


def compare(panel: Panel, *, retrain_every: int | None) -> None:
    results = {}
    for name, recipe in (("naive", SeasonalNaiveRecipe()), ("lightgbm", LightGBMRecipe())):
        began = time.perf_counter()
        results[name] = backtest(panel, recipe, window_days=90, horizon=7, step=7, retrain_every=retrain_every)
        seconds, fits = time.perf_counter() - began, results[name].fits
        print(f"{name:9} {seconds:6.1f} s, {fits} fits in {results[name].fit_seconds:.1f} s, {results[name].forecasts.height} rows")
    naive, lightgbm = results["naive"], results["lightgbm"]
    print(f"\n{'metric':20}{'naive':>10}{'lightgbm':>10}")
    for metric in naive.overall:
        print(f"{metric:20}{shown(naive.overall[metric])}{shown(lightgbm.overall[metric])}")
    both = naive.by_segment.join(lightgbm.by_segment, on=["column", "value"], suffix="_lightgbm")
    columns = ["column", "value", "mae", "mae_lightgbm", "wape", "wape_lightgbm", "bias_pct_lightgbm", "coverage_lightgbm"]
    with pl.Config(tbl_rows=-1, tbl_cols=-1, float_precision=4, tbl_hide_dataframe_shape=True, tbl_width_chars=140):
        print(both.select(columns))
    daily = lightgbm.daily.join(naive.daily, on="date", suffix="_naive")
    for test in (diebold_mariano, block_bootstrap):
        found = test(daily["mae"].to_numpy(), daily["mae_naive"].to_numpy())
        print(f"{found.method}: n={found.n}, difference {found.mean_difference:.4f}, p={found.p_value:.2g}")


def shown(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4f'):>10}"


if __name__ == "__main__":
    main()
