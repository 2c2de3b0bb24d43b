"""Preparing a split beside what one would write by hand: pandas reads the file, scikit-learn cuts it, three Parquet files are written.

Run: .venv/bin/python -m benchmarks.splits [--rows 1000000] [--columns 20] [--repeats 3] [--formats csv parquet]

A made-up table of numbers, categories, dates and missing values, classified, cut 70/15/15 with each class's share kept. Each run is a
process of its own, ours and theirs in turn; printed are medians of the wall time and of the peak memory of the whole process, the time
of its imports left out, and ours over theirs. Both must write equally many rows to each part, give or take one for each class. Ours does
more meanwhile: it infers and checks types, profiles each column, looks for leaks, and gives the same parts for a seed, byte for byte.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SEED = 7
FRACTIONS = (0.7, 0.15, 0.15)
PARTS = ("train", "validation", "test")
CLASSES = ("a", "b", "c")
NAMES = {"ours": "engine.tabular", "peer": "pandas, scikit-learn"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=("csv", "parquet"), default=["csv", "parquet"])
    parser.add_argument("--side", choices=tuple(NAMES), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({"ours": run_ours, "peer": run_peer}[arguments.side](arguments.data)))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("VAR_DIR")) as folder:
        for kind in arguments.formats:
            compare(write_table(Path(folder) / f"table.{kind}", arguments.rows, arguments.columns), arguments)


def compare(data: Path, arguments: argparse.Namespace) -> None:
    """Run both sides in turn, and print a line for each and the ratios."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in NAMES}
    for _ in range(arguments.repeats):
        for side, found in runs.items():
            found.append(run_child(side, data))
    size = data.stat().st_size / 1e6
    print(f"{arguments.rows:,} rows x {arguments.columns} columns, {data.suffix.removeprefix('.')}, {size:,.0f} MB")
    medians = {
        side: {name: statistics.median(run[name] for run in found) for name in ("seconds", "megabytes")} for side, found in runs.items()
    }
    for side, median in medians.items():
        times = " ".join(f"{run['seconds']:.2f}" for run in runs[side])
        print(f"  {NAMES[side]:20} {median['seconds']:7.2f} s ({times})  {median['megabytes']:7.0f} MB")
    ours, peer = medians["ours"], medians["peer"]
    counts = [runs[side][0]["rows"] for side in NAMES]
    equal = all(abs(mine - theirs) <= len(CLASSES) for mine, theirs in zip(*counts, strict=True))
    ratios = f"{ours['seconds'] / peer['seconds']:.2f} x time, {ours['megabytes'] / peer['megabytes']:.2f} x memory"
    print(f"  {ratios}, rows of the parts {'equal' if equal else f'DIFFER: {counts}'}")


def run_child(side: str, data: Path) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.splits", "--side", side, "--data", str(data)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def write_table(path: Path, rows: int, columns: int) -> Path:
    """Numbers, categories and dates in turn, a twentieth of them missing, and a class that depends on two of them."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(SEED)
    frame: dict[str, pl.Series] = {}
    for place in range(columns):
        match place % 4:
            case 0 | 1:
                values = pl.Series(rng.normal(size=rows).round(4))
            case 2:
                values = pl.Series(rng.integers(0, 50, size=rows)).cast(pl.String).str.replace("^", "town ")
            case _:
                values = pl.Series(rng.integers(0, 3_650, size=rows)).cast(pl.Int32).cast(pl.Date)
        frame[f"c{place}"] = pl.select(pl.when(pl.Series(rng.random(rows) > 0.05)).then(values)).to_series()
    score = pl.select(frame["c0"].fill_null(0) + pl.Series(rng.normal(size=rows))).to_series()
    table = pl.DataFrame(frame | {"label": score.cut([-1, 1], labels=list(CLASSES)).cast(pl.String)})
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)
    return path


def run_ours(data: Path) -> dict[str, Any]:
    """What a split's job does in its child, without the confinement around it."""
    from engine.tabular.preparing import prepare
    from engine.tabular.splitting import SplitPlan

    plan = SplitPlan(target="label", task="classification", fractions=FRACTIONS, seed=SEED)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=data.parent) as folder, ExitStack() as streams:
        opened = {part: streams.enter_context((Path(folder) / f"{part}.parquet").open("xb")) for part in PARTS}
        made = prepare(data, plan, opened)  # type: ignore[arg-type]  # the parts by their names
    return report(began, [made.parts[part] for part in PARTS])  # type: ignore[index]  # as above


def run_peer(data: Path) -> dict[str, Any]:
    """Read all, cut twice, write three files: what most would write."""
    import pandas as pd
    from sklearn.model_selection import train_test_split

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=data.parent) as folder:
        frame = pd.read_csv(data) if data.suffix == ".csv" else pd.read_parquet(data)
        train, rest = train_test_split(frame, train_size=FRACTIONS[0], stratify=frame["label"], random_state=SEED)
        validation, test = train_test_split(rest, train_size=0.5, stratify=rest["label"], random_state=SEED)
        parts = (train, validation, test)
        for name, part in zip(PARTS, parts, strict=True):
            part.to_parquet(Path(folder) / f"{name}.parquet", index=False)
    return report(began, [len(part) for part in parts])


def report(began: float, rows: list[int]) -> dict[str, Any]:
    """Seconds since, and the peak of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - began, "megabytes": peak, "rows": rows}


if __name__ == "__main__":
    main()
