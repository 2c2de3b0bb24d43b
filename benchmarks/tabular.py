"""What studies find on real data: the product's own reading, cutting, spaces, sampler, pruner, training and measures, without a server.

Run: .venv/bin/python -m benchmarks.tabular [adult bike-daily bike-hourly retail] [--algorithms catboost,xgboost,lightgbm] [--trials 20]

Adult: cut by chance for train and validation, measured on the official test file. Bikes: by time, so that the test is the last 15 %, and
by chance, as papers often do; beside them the value of a week before. Retail: one store; a search of the forecast's recipe on 28 days,
then its best beside the default recipe on the 90 days after them. Data come from TILTYARD_SHARED.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import polars as pl

from benchmarks.panels import retail_panel, retail_path
from engine.forecasting.backtest import backtest
from engine.forecasting.recipe import LightGBMRecipe
from engine.frames.panel import Panel
from engine.tabular.algorithms import algorithm as algorithm_named
from engine.tabular.columns import PARTS
from engine.tabular.preparing import Prepared, prepare
from engine.tabular.splitting import SplitPlan
from engine.tabular.training import Trained, measure, train
from engine.tuning import defaults, samplers, spaces

SEED = 0
FRACTIONS = (0.7, 0.15, 0.15)
ADULT = (0.79, 0.2, 0.01)
"""The official test file is the test; the smallest part of the training file is left aside."""
BIKES = ("season", "yr", "mnth", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed")
"""Without the row number, and without `casual` and `registered`, whose sum is the target."""
RETAIL_SPACE: dict[str, Any] = {
    "rounds": spaces.Range(50, 400, whole=True, log=True),
    "learning_rate": spaces.Range(0.02, 0.2, whole=False, log=True),
    "num_leaves": spaces.Range(8, 127, whole=True, log=True),
    "min_data_in_leaf": spaces.Range(10, 200, whole=True, log=True),
    "feature_fraction": spaces.Range(0.5, 1.0, whole=False),
    "lambda_l2": spaces.Range(0.001, 30.0, whole=False, log=True),
}
"""What a forecast study searches by default."""
STORE = "CA_1"
JUDGED_DAYS, SEARCHED_DAYS = 90, 28


@dataclass(frozen=True)
class Cut:
    """A split in memory."""

    plan: SplitPlan
    prepared: Prepared
    parts: dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Line:
    """A row of the table that is printed."""

    data: str
    model: str
    trials: str
    seconds: float
    figures: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", default=["adult", "bike-daily", "bike-hourly", "retail"])
    parser.add_argument("--algorithms", default="catboost,xgboost,lightgbm")
    parser.add_argument("--trials", type=int, default=20)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    algorithms = arguments.algorithms.split(",")
    for name in arguments.data:
        if name == "adult":
            adult(algorithms, arguments.trials)
        elif name == "retail":
            retail(arguments.trials)
        else:
            bikes(name.removeprefix("bike-"), algorithms, arguments.trials)


def adult(algorithms: Sequence[str], trials: int) -> None:
    """Income over 50,000: AUC on the official test file."""
    plan = SplitPlan(target="income", task="classification", fractions=ADULT, seed=SEED)
    learned = cut(shared("adult_train.csv.gz"), plan)
    test = pl.concat(list(cut(shared("adult_test.csv.gz"), plan).parts.values()))
    for name in algorithms:
        show(search(learned, name, trials, metric="roc_auc", data="adult", test=test, figures=("roc_auc", "log_loss", "accuracy")))


def bikes(period: str, algorithms: Sequence[str], trials: int) -> None:
    """Rentals per day or hour, cut by time and by chance, beside the value of a week before."""
    path = shared("bike_sharing_daily.csv" if period == "daily" else "bike_sharing_hourly.csv.gz")
    features = BIKES if period == "daily" else (*BIKES, "hr")
    plan = SplitPlan(
        target="cnt", task="regression", strategy="time", time_column="instant", fractions=FRACTIONS, seed=SEED, features=features
    )
    warned = cut(path, replace(plan, features=())).prepared.warnings
    print(f"bike-{period}, nothing left out: warned about {', '.join(sorted({str(one.column) for one in warned}))}")
    for strategy in ("time", "random"):
        known = cut(path, replace(plan, strategy=strategy))
        show(week_before(period, path, known))
        for name in algorithms:
            found = search(
                known,
                name,
                trials,
                metric="rmse",
                data=f"bike-{period} by {strategy}",
                test=known.parts["test"],
                figures=("mae", "rmse", "r2"),
            )
            show(found)


def week_before(period: str, path: Path, known: Cut) -> Line:
    """The naive forecast: what was rented a week earlier, at the same hour. The rows are found again by their number."""
    keys = ["dteday"] if period == "daily" else ["dteday", "hr"]
    rows = pl.read_csv(path, try_parse_dates=True).select("instant", *keys, "cnt")
    before = rows.select(pl.col("dteday") + timedelta(days=7), *keys[1:], pl.col("cnt").alias("before"))
    both = rows.join(before, on=keys).join(known.parts["test"].select(pl.col("instant").cast(pl.Int64)), on="instant")
    error, target = both["cnt"] - both["before"], both["cnt"]
    spread = float(((target - target.mean()) ** 2).sum())
    figures = {"mae": float(error.abs().mean()), "rmse": float((error**2).mean()) ** 0.5, "r2": 1 - float((error**2).sum()) / spread}  # type: ignore[arg-type]  # numbers
    return Line(f"bike-{period} by {known.plan.strategy}", "a week before", "-", 0.0, figures)


def search(known: Cut, name: str, trials: int, *, metric: str, data: str, test: pl.DataFrame, figures: Sequence[str]) -> Line:
    """Trials as a study's worker makes them, one thread; the best is fitted again and measured on the test."""
    space = defaults.default(name, known.plan.task)
    rounds = space.largest(rounds_of(name), 1_000)
    study = optuna.create_study(
        direction="maximize" if metric == "roc_auc" else "minimize", pruner=samplers.pruner("median", rounds=rounds)
    )
    began = time.perf_counter()
    for number in range(trials):
        study.sampler = samplers.sampler("tpe", seed=SEED, number=number, space=space, n_trials=trials)
        study.optimize(lambda trial: fit(known, name, spaces.suggest(trial, space), metric, trial).value, n_trials=1)
    searched = time.perf_counter() - began
    best = fit(known, name, {**space.fixed, **study.best_params}, metric, None)
    measured = measure(best.model, test)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    told = {"validation": best.value} | {f"test {one}": measured[one] for one in figures}
    return Line(data, name, f"{trials} ({pruned} pruned)", searched, told)


def fit(known: Cut, name: str, params: dict[str, Any], metric: str, trial: optuna.Trial | None) -> Trained:
    """One fit; with a trial, given up where the pruner says so."""

    def report(step: int, value: float) -> None:
        if trial is not None:
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned

    return train(
        train=known.parts["train"],
        validation=known.parts["validation"],
        target=known.plan.target,
        features=known.prepared.features,
        task=known.plan.task,
        algorithm=name,
        params=params,
        metric=metric,
        seed=SEED,
        threads=1,
        report=report,
    )


def retail(trials: int) -> None:
    """One store's demand, seven days ahead: the best recipe of a search beside the default one, on days that the search never saw."""
    if not retail_path().exists():
        raise SystemExit(f"{retail_path()} is not there; set TILTYARD_SHARED.")
    panel = one_store(retail_panel())
    earlier = panel.until(panel.last_day - timedelta(days=JUDGED_DAYS))
    space = spaces.Space(RETAIL_SPACE)
    study = optuna.create_study(direction="minimize")
    began = time.perf_counter()
    for number in range(trials):
        study.sampler = samplers.sampler("tpe", seed=SEED, number=number, space=space, n_trials=trials)
        study.optimize(lambda trial: mae(earlier, spaces.suggest(trial, space), SEARCHED_DAYS), n_trials=1)
    searched = time.perf_counter() - began
    for title, params, seconds, count in (
        ("default recipe", {}, 0.0, "-"),
        ("best of the search", study.best_params, searched, str(trials)),
    ):
        told = {"searched mae": mae(earlier, params, SEARCHED_DAYS), "judged mae": mae(panel, params, JUDGED_DAYS)}
        show(Line(f"retail {STORE}", title, count, seconds, told))


def mae(panel: Panel, params: dict[str, Any], days: int) -> float:
    """The mean absolute error of a recipe on the last days, in units."""
    found = backtest(panel, LightGBMRecipe(seed=SEED, num_threads=1, **params), window_days=days, horizon=7, step=7).overall["mae"]
    if found is None:
        raise SystemExit("The window holds no day with known demand.")
    return found


def one_store(panel: Panel) -> Panel:
    """The series of STORE."""
    kept = panel.series.filter(pl.col("store_id") == STORE)
    return replace(panel, frame=panel.frame.join(kept.select("series"), on="series", how="semi", maintain_order="left"), series=kept)


def cut(path: Path, plan: SplitPlan) -> Cut:
    """Read and cut a file as the service's child does."""
    with tempfile.TemporaryDirectory(prefix="tiltyard-benchmark-") as folder, ExitStack() as streams:
        files = {part: Path(folder) / f"{part}.parquet" for part in PARTS}
        prepared = prepare(path, plan, {part: streams.enter_context(file.open("xb")) for part, file in files.items()})
        streams.close()
        return Cut(plan, prepared, {part: pl.read_parquet(file) for part, file in files.items()})


def rounds_of(name: str) -> str:
    """What the library calls its iterations."""
    return "iterations" if "iterations" in algorithm_named(name).parameters else "n_estimators"


def shared(name: str) -> Path:
    """A file of the shared data. Ends the program, saying so, where it is not there."""
    path = retail_path().with_name(name)
    if not path.exists():
        raise SystemExit(f"{path} is not there; set TILTYARD_SHARED.")
    return path


def show(line: Line) -> None:
    """One row, as soon as it is known."""
    figures = "  ".join(f"{name} {value:,.4f}" for name, value in line.figures.items())
    print(f"{line.data:22} {line.model:18} {line.trials:>14} trials {line.seconds:7.1f} s  {figures}", flush=True)


if __name__ == "__main__":
    main()
