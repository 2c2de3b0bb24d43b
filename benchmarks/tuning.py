"""What a study's storage costs per trial: ours on PostgreSQL and on SQLite beside Optuna's own storages, in one interleaved run.

Run: .venv/bin/python -m benchmarks.tuning [--trials 40] [--repeats 3]

The same seeded TPE study of five parameters on an objective that costs nothing, without reports, then with 20 reports and median pruning;
every side has to find the same best value. Then ours on PostgreSQL beside memory at a LightGBM objective. Each of our databases is a
process of its own, since Django knows one; sides take turns. PostgreSQL commits to the disk, as it does by default, for both.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import optuna

from tests.servers import LOGIN, PostgresServer

ROOT = Path(__file__).resolve().parents[1]
REPORTS = 20
PEER = "peer"

Objective = Callable[[optuna.Trial], float]
Step = Callable[[], None]


@dataclass(frozen=True)
class Work:
    """What every side does in a round."""

    trials: int
    reports: int = 0
    boosting: bool = False


@dataclass(frozen=True)
class Side:
    """A storage under test: the milliseconds per trial and the best value of one round."""

    name: str
    run: Callable[[Work], tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help="be one of our sides; used by the benchmark itself")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if arguments.serve:
        serve()
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiltyard-benchmark-")))
        postgres = stack.enter_context(PostgresServer(durable=True))
        postgres.execute(f"CREATE DATABASE {PEER} OWNER {LOGIN}")
        ours = stack.enter_context(our_side("tiltyard PostgreSQL", postgres.url, folder / "a"))
        sides = [ours, stack.enter_context(our_side("tiltyard SQLite", f"sqlite:///{folder / 'ours.sqlite3'}", folder / "b"))]
        sides += optunas_sides(folder, postgres)
        for title, reports in (("no reports", 0), (f"{REPORTS} reports, median pruning", REPORTS)):
            show(title, measure(sides, Work(arguments.trials, reports), arguments.repeats))
        memory = next(side for side in sides if side.name == "memory")
        show("LightGBM objective", measure([ours, memory], Work(arguments.trials, REPORTS, boosting=True), arguments.repeats))


def measure(sides: list[Side], work: Work, repeats: int) -> dict[str, float]:
    """Median milliseconds per trial. The sides take turns; the first turn only warms up. All have to find the same best value."""
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for repetition in range(-1, repeats):
        found = set()
        for side in sides:
            took, best = side.run(Work(5, work.reports, work.boosting) if repetition < 0 else work)
            found.add(round(best, 12))
            if repetition >= 0:
                times[side.name].append(took)
        if len(found) > 1:
            raise AssertionError(f"the sides found different optima: {sorted(found)}")
    return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, measured: dict[str, float]) -> None:
    """A line per side: milliseconds, how often ours on PostgreSQL fits into it, and what it adds to memory."""
    first = next(iter(measured.values()))
    print(f"\n{title:34}{'ms/trial':>10}{'x ours':>9}{'over memory':>13}")
    for name, took in measured.items():
        print(f"{name:34}{took:10.2f}{took / first:9.2f}{took - measured['memory']:13.2f}", flush=True)


def nothing() -> None:
    """What Optuna's storages do when ours confirms and settles."""


def run_study(study: optuna.Study, work: Work, *, seed: int = 7, confirm: Step = nothing, settle: Step = nothing) -> tuple[float, float]:
    """One round: the time per trial, in milliseconds, and the best value. As a search does, ours confirms each trial before its work."""
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=5) if work.reports else optuna.pruners.NopPruner()
    objective = boosting_objective(confirm) if work.boosting else cheap_objective(work.reports, confirm)
    began = time.perf_counter()
    for _ in range(work.trials):
        trial = study.ask()
        try:
            study.tell(trial, objective(trial))
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    settle()
    return 1000 * (time.perf_counter() - began) / work.trials, study.best_value


def cheap_objective(reports: int, confirm: Step) -> Objective:
    """A bowl in five dimensions; with reports, approached from above."""

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", 0.01, 0.3, log=True)
        leaves = trial.suggest_int("num_leaves", 8, 128, log=True)
        share = trial.suggest_float("subsample", 0.5, 1.0)
        penalty = trial.suggest_float("reg_lambda", 1e-3, 30.0, log=True)
        kind = trial.suggest_categorical("boosting", ["gbdt", "dart"])
        confirm()
        value = (math.log(rate) + 3) ** 2 + (math.log(leaves) - 3.5) ** 2 + (share - 0.8) ** 2 + math.log(penalty) ** 2 / 10
        value += kind == "dart"
        for step in range(reports):
            trial.report(value * (1 + 1 / (step + 1)), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    return objective


def boosting_objective(confirm: Step) -> Objective:
    """LightGBM on 10,000 rows of 20 features, 100 rounds, 20 reports."""
    import lightgbm

    generator = np.random.default_rng(1)
    features = generator.normal(size=(12_500, 20))
    target = features[:, 0] * features[:, 1] + np.sin(3 * features[:, 2]) + 0.3 * generator.normal(size=len(features))
    train = lightgbm.Dataset(features[:10_000], target[:10_000], free_raw_data=False)
    valid = lightgbm.Dataset(features[10_000:], target[10_000:], reference=train, free_raw_data=False)

    def objective(trial: optuna.Trial) -> float:
        params = {"objective": "l2", "metric": "l2", "verbosity": -1, "num_threads": 1, "seed": 1, "deterministic": True}
        params["learning_rate"] = trial.suggest_float("learning_rate", 0.02, 0.3, log=True)
        params["num_leaves"] = trial.suggest_int("num_leaves", 8, 64, log=True)
        params["feature_fraction"] = trial.suggest_float("feature_fraction", 0.5, 1.0)
        confirm()
        value = math.inf

        def report(environment: Any) -> None:
            nonlocal value
            value = environment.evaluation_result_list[0][2]
            if environment.iteration % 5 == 4:
                trial.report(value, environment.iteration)
                if trial.should_prune():
                    raise optuna.TrialPruned

        lightgbm.train(params, train, num_boost_round=100, valid_sets=[valid], callbacks=[report])
        return value

    return objective


def optunas_sides(folder: Path, postgres: PostgresServer) -> list[Side]:
    """Optuna's storages; a new study each round."""
    from optuna.storages.journal import JournalFileBackend

    address = f"postgresql+psycopg://{LOGIN}@/{PEER}?host={quote(str(postgres.folder), safe='')}"
    storages: dict[str, optuna.storages.BaseStorage] = {
        "memory": optuna.storages.InMemoryStorage(),
        "journal": optuna.storages.JournalStorage(JournalFileBackend(str(folder / "journal"))),
        "RDB SQLite": optuna.storages.get_storage(f"sqlite:///{folder / 'theirs.sqlite3'}"),
        "RDB PostgreSQL": optuna.storages.get_storage(address),
    }

    def side(name: str, storage: optuna.storages.BaseStorage) -> Side:
        return Side(name, lambda work: run_study(optuna.create_study(storage=storage, direction="minimize"), work))

    return [side(name, storage) for name, storage in storages.items()]


@contextmanager
def our_side(name: str, url: str, folder: Path) -> Iterator[Side]:
    """A process with our storage on a database; it answers a line for each round."""
    environment = {**os.environ, "DATABASE_URL": url, "VAR_DIR": str(folder), "SECRET_KEY": "only-for-this-benchmark-" + "x" * 40}
    environment |= {"LOG_LEVEL": "ERROR", "DJANGO_SETTINGS_MODULE": "mlops.settings"}
    subprocess.run([sys.executable, str(ROOT / "manage.py"), "migrate", "-v", "0"], check=True, timeout=300, cwd=ROOT, env=environment)
    command = [sys.executable, "-m", "benchmarks.tuning", "--serve"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment)

    def run(work: Work) -> tuple[float, float]:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        print(json.dumps(vars(work)), file=process.stdin, flush=True)
        took, best = json.loads(process.stdout.readline())
        return took, best

    try:
        yield Side(name, run)
    finally:
        process.kill()
        process.communicate()


def serve() -> None:
    """Our side: a study of our tables per line read."""
    import django

    django.setup()
    from django.db import transaction

    from experiments.models import Split, Study
    from experiments.services.trial_storage import TrialStorage
    from mlops.tenancy.principals import acting
    from mlops.tenancy.roles import system
    from mlops.tenancy.services import create_customer
    from registry.models import RegisteredModel

    now = datetime.now(UTC)
    made = {"created_by": "benchmark", "created_at": now}
    with acting(system(create_customer(name="Benchmark", at=now).pk)):
        with transaction.atomic():
            model = RegisteredModel.objects.create(name="tuned", task="regression", **made)
            split = Split.objects.create(
                name="rows", task="regression", target="y", strategy="random", fractions={}, source="records", updated_at=now, **made
            )
        for line in sys.stdin:
            work = Work(**json.loads(line))
            with transaction.atomic():
                row = Study.objects.create(
                    name="benchmark",
                    status="running",
                    split=split,
                    model=model,
                    algorithm="lightgbm",
                    task="regression",
                    metric="rmse",
                    direction="minimize",
                    n_trials=work.trials,
                    updated_at=now,
                    **made,
                )
            storage = TrialStorage(row, shared=False, chained=True)
            study = optuna.load_study(study_name=storage.get_study_name_from_id(0), storage=storage)
            print(json.dumps(run_study(study, work, confirm=storage.confirm, settle=storage.settle)), flush=True)


if __name__ == "__main__":
    main()
