"""What a fit takes in memory beyond an idle worker, in copies of 8 bytes per value of train and validation.

Run: .venv/bin/python -m benchmarks.training_memory [--rows 100000] [--features 20] [--algorithms catboost linear]

Each line is a process of its own: a tiny fit loads the libraries, then the tables are made and a model of few trees is fitted on them. What
is printed is the growth of the process's peak. `experiments.services.study_memory` counts with these figures, rounded up.
"""

import argparse
import resource
import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl

from engine.tabular.training import train

FEW: dict[str, tuple[str, dict[str, Any]]] = {
    "catboost": ("catboost", {"iterations": 10}),
    "xgboost": ("xgboost", {"n_estimators": 10}),
    "lightgbm": ("lightgbm", {"n_estimators": 10}),
    "hist_gradient_boosting": ("sklearn", {"kind": "hist_gradient_boosting", "max_iter": 10}),
    "random_forest": ("sklearn", {"kind": "random_forest", "n_estimators": 5, "max_depth": 8}),
    "linear": ("sklearn", {"kind": "linear"}),
}
TABLES = ("numbers", "categories", "classes")
CATEGORIES, CLASSES = 30, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--algorithms", nargs="+", choices=tuple(FEW), default=list(FEW))
    parser.add_argument("--one", nargs=2, metavar=("ALGORITHM", "TABLE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(*arguments.one, rows=arguments.rows, features=arguments.features)
        return
    size = ["--rows", str(arguments.rows), "--features", str(arguments.features)]
    for name in arguments.algorithms:
        for table in TABLES:
            subprocess.run([sys.executable, "-m", "benchmarks.training_memory", *size, "--one", name, table], check=True)


def measure(name: str, table: str, *, rows: int, features: int) -> None:
    """Print one line: copies of 8 bytes per value of the table, or per value of the columns that linear models make of categories."""
    fit(name, table, 500, features)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fit(name, table, rows, features)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    width = features * (CATEGORIES if name == "linear" and table == "categories" else 1)
    sys.stdout.write(f"{name:24}{table:12}{grown / (rows * width * 8):6.1f} copies, {grown >> 20} MB\n")
    sys.stdout.flush()


def fit(name: str, table: str, rows: int, features: int) -> None:
    algorithm, params = FEW[name]
    several = table == "classes"
    train(
        train=made(table, rows * 4 // 5, features, seed=0),
        validation=made(table, rows // 5, features, seed=1),
        target="y",
        features=[f"f{number}" for number in range(features)],
        task="classification" if several else "regression",
        algorithm=algorithm,
        params=params,
        metric="log_loss" if several else "rmse",
    )


def made(table: str, rows: int, features: int, *, seed: int) -> pl.DataFrame:
    """Noise: memory does not depend on what can be learned."""
    chance = np.random.default_rng(seed)
    if table == "categories":
        columns = {f"f{number}": pl.Series(chance.integers(0, CATEGORIES, rows)).cast(pl.String) for number in range(features)}
    else:
        columns = {f"f{number}": pl.Series(chance.normal(size=rows)) for number in range(features)}
    target = pl.Series(chance.integers(0, CLASSES, rows)).cast(pl.String) if table == "classes" else pl.Series(chance.normal(size=rows))
    return pl.DataFrame(columns | {"y": target})


if __name__ == "__main__":
    main()
