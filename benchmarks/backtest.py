"""Rolling-origin backtest beside mlforecast's cross_validation: the same series, folds, features and parameters.

Run: .venv/bin/python -m benchmarks.backtest [--series 1000] [--days 730] [--retrain] [--repeats 3]

The last 91 days in 13 windows of 7, trained once or (--retrain) before each window. Each run is a process of its own, ours
and theirs in turn; printed are medians of the wall time of the backtest alone (data already in memory), the peak memory
of the whole process, and the MAE. Trained once it must agree to three decimals. Trained weekly ours bins the data once, by
borders from what the first origin knows (later rows may not shift them, and binning thirteen times is most of what can be
saved), the peer anew for each fit; so there ours is run once more the peer's way, and that MAE must agree. Where
the cores are busy the ratio says nothing: the peer's threads wait for each other by spinning. mlforecast is installed once
into an environment of its own under VAR_DIR.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("VAR_DIR") or ROOT / "var").resolve() / "benchmarks"
PEER_PACKAGES = ("mlforecast==1.1.0", "lightgbm==4.7.0", "pyarrow")
WINDOWS, HORIZON = 13, 7
LAGS, MEANS = (7, 14, 21, 28), (7, 28)
ROUNDS, RATE, LEAVES, MIN_LEAF = 200, 0.05, 31, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--retrain", action="store_true", help="train before each window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=("ours", "peer", "ours-anew"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measure = {"ours": run_ours, "peer": run_peer, "ours-anew": partial(run_ours, anew=True)}[arguments.side]
        print(json.dumps(measure(arguments.data, retrain=arguments.retrain)))
        return
    compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    data = write_data(series=arguments.series, days=arguments.days)
    sides = {"ours": Path(sys.executable), "peer": peer_python()}
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(arguments.repeats):
        for side, python in sides.items():
            runs[side].append(run_child(python, side, data, retrain=arguments.retrain))
    medians = {side: {key: statistics.median(run[key] for run in found) for key in found[0]} for side, found in runs.items()}
    print(f"{arguments.series} series x {arguments.days} days, {'trained weekly' if arguments.retrain else 'trained once'}")
    for side, found in medians.items():
        name = {"ours": "engine.forecasting", "peer": "mlforecast"}[side]
        times = " ".join(f"{run['seconds']:.2f}" for run in runs[side])
        print(f"{name:20} {found['seconds']:7.2f} s ({times})  {found['megabytes']:7.0f} MB  MAE {found['mae']:.5f}")
    ours, peer = medians["ours"], medians["peer"]
    ratios = f"{ours['seconds'] / peer['seconds']:.2f} x time, {ours['megabytes'] / peer['megabytes']:.2f} x memory"
    same = ours["mae"]
    if arguments.retrain:
        same = run_child(sides["ours"], "ours-anew", data, retrain=False)["mae"]
        print(f"{'binned anew each time':20} {'':21} MAE {same:.5f}")
    equal = round(same, 3) == round(peer["mae"], 3)
    print(f"{ratios}, MAE of the same work {'equal' if equal else 'DIFFERS'} to three decimals")


def run_child(python: Path, side: str, data: Path, *, retrain: bool) -> dict[str, float]:
    command = [str(python), str(ROOT / "benchmarks" / "backtest.py"), "--side", side, "--data", str(data)]
    done = subprocess.run(
        [*command, *(["--retrain"] if retrain else [])],
        capture_output=True,
        check=False,
        text=True,
        timeout=1800,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "" if side == "peer" else str(ROOT), "PYTHONWARNINGS": "ignore"},
    )
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def write_data(*, series: int, days: int) -> Path:
    """The panel's frame as Parquet, written once."""
    from benchmarks.panels import synthetic_panel

    path = FOLDER / f"panel_{series}_{days}.parquet"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        synthetic_panel(series=series, days=days).frame.select("series", "date", "target").write_parquet(path)
    return path


def peer_python() -> Path:
    """The interpreter of an environment that has mlforecast, made on first use."""
    home = FOLDER / "mlforecast"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        print(f"installing {', '.join(PEER_PACKAGES)} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True, timeout=1200)
        (home / "ready").touch()
    return python


def run_ours(data: Path, *, retrain: bool, anew: bool = False) -> dict[str, float]:
    """`anew` bins the data before each fit, as the peer does, instead of once."""
    import polars as pl

    from engine.forecasting.backtest import backtest
    from engine.forecasting.boosting import library
    from engine.forecasting.features import FeatureSet
    from engine.forecasting.recipe import LightGBMRecipe
    from engine.frames.panel import Panel

    rows = pl.read_parquet(data)
    frame = rows.select("series", "date", "target", pl.lit(value=False).alias("closed"))
    names = frame.select("series").unique(maintain_order=True).with_columns(item_id=pl.col("series").cast(pl.String))
    panel = Panel(frame, names, ("item_id",), (), ())
    del rows
    features = FeatureSet(
        kind="plain", horizon=HORIZON, lags=LAGS, windows=MEANS, calendar=("weekday", "month"), warmup=HORIZON + max(MEANS) - 1
    )
    recipe = LightGBMRecipe(
        features=features,
        objective="regression",
        typical=None,
        rounds=ROUNDS,
        learning_rate=RATE,
        num_leaves=LEAVES,
        min_data_in_leaf=MIN_LEAF,
        feature_fraction=1.0,
        bagging_fraction=1.0,
        history_days=None,
        calibration_days=0,
    )
    library()  # imported before the clock starts, as the peer does
    began = time.perf_counter()
    if anew:
        ends = [panel.last_day - timedelta(days=HORIZON * window) for window in range(WINDOWS)]
        parts = [backtest(panel.until(end), recipe, window_days=HORIZON, horizon=HORIZON, step=HORIZON).forecasts for end in ends]
        errors = pl.concat(parts).select((pl.col("prediction") - pl.col("target")).abs().mean()).item()
        return report(time.perf_counter() - began, float(errors))
    result = backtest(
        panel, recipe, window_days=WINDOWS * HORIZON, horizon=HORIZON, step=HORIZON, retrain_every=HORIZON if retrain else None
    )
    return report(time.perf_counter() - began, float(result.overall["mae"] or 0.0))


def run_peer(data: Path, *, retrain: bool) -> dict[str, float]:
    import lightgbm as lgb
    import pandas as pd
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean

    frame: Any = pd.read_parquet(data).rename(columns={"series": "unique_id", "date": "ds", "target": "y"})
    frame["ds"] = pd.to_datetime(frame["ds"])
    frame["y"] = frame["y"].astype("float32")
    model = lgb.LGBMRegressor(
        n_estimators=ROUNDS, learning_rate=RATE, num_leaves=LEAVES, min_child_samples=MIN_LEAF, num_threads=os.cpu_count(), verbose=-1
    )
    forecast = MLForecast(
        models={"lightgbm": model},
        freq="D",
        lags=list(LAGS),
        lag_transforms={HORIZON: [RollingMean(window) for window in MEANS]},
        date_features=["dayofweek", "month"],
    )
    began = time.perf_counter()
    found: Any = forecast.cross_validation(
        frame, n_windows=WINDOWS, h=HORIZON, step_size=HORIZON, refit=1 if retrain else False, static_features=[]
    )
    # Demand is not negative, and our forecasts are cut at zero.
    mae = float((found["y"] - found["lightgbm"].clip(lower=0)).abs().mean())
    return report(time.perf_counter() - began, mae)


def report(seconds: float, mae: float) -> dict[str, float]:
    # Not `ru_maxrss`: a process begins with what the one that started it held, which is more where that has just written the data.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return {"seconds": seconds, "megabytes": int(peak.split()[1]) / 1024, "mae": mae}


if __name__ == "__main__":
    main()
