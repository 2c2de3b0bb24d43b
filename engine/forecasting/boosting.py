"""LightGBM under the forecaster: binning once, training several boosters side by side, scoring. The library is imported on first use."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.forecasting.features import Schema
from engine.forecasting.grid import Floats

_SAMPLE = 200_000
"""Rows bin borders are chosen from; LightGBM's own default."""


_CONVENIENCES = ("sklearn", "pandas", "pyarrow", "matplotlib", "graphviz", "dask")
_importing = Lock()


def library() -> Any:
    """LightGBM without what it imports for its wrappers and plots, which would take 130 MB and seconds of every worker and child.

    Where one of those is imported already it stays. While LightGBM is imported here, no other thread can import one of them.
    """
    if "lightgbm" not in sys.modules:
        with _importing:
            hidden = [name for name in _CONVENIENCES if name not in sys.modules]
            sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python is told that there is no such module
            try:
                return importlib.import_module("lightgbm")
            finally:
                for name in hidden:
                    del sys.modules[name]
    return importlib.import_module("lightgbm")


@dataclass(frozen=True)
class Job:
    """One booster to train: the rows it may see (None for all) and its parameters."""

    rows: NDArray[np.int32] | None
    params: Mapping[str, Any]
    rounds: int


def available_cores() -> int:
    """Cores this process may use, not those the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Binned:
    """A feature matrix as LightGBM holds it, binned once and shared by every booster trained on a part of it.

    Bin borders come from the rows of `visible` alone, so that a booster trained on those sees nothing of later ones
    through the borders either.
    """

    def __init__(self, matrix: Floats, label: Floats, schema: Schema, *, visible: NDArray[np.bool_], max_bin: int) -> None:
        lgb = library()
        self._label = label
        # By rows it trains the same trees as by columns, faster and without threads waiting for each other.
        self._params = {"max_bin": max_bin, "feature_pre_filter": False, "verbose": -1, "force_row_wise": True}
        shape: dict[str, Any] = {"feature_name": list(schema.names), "categorical_feature": list(schema.categories), "params": self._params}
        if visible.all():
            self._full = lgb.Dataset(matrix, label, **shape).construct()
            return
        chosen = np.flatnonzero(visible)
        if len(chosen) > _SAMPLE:
            chosen = np.sort(np.random.default_rng(0).choice(chosen, _SAMPLE, replace=False))
        sample: Floats = np.empty((len(chosen), matrix.shape[1]), dtype=np.float32, order="F")
        for column in range(matrix.shape[1]):  # all at once would be by rows first: twice the memory
            sample[:, column] = matrix[chosen, column]
        reference = lgb.Dataset(sample, label[chosen], **shape).construct()
        self._full = lgb.Dataset(matrix, label, reference=reference, **shape).construct()

    def train(self, jobs: Sequence[Job], *, num_threads: int = 0) -> list[str]:
        """Model texts of the jobs, in order.

        Jobs run side by side with the cores divided between them: boosters scale better beside each other than
        within. The answers do not depend on the number of cores.
        """
        cores = num_threads or available_cores()
        workers = min(cores, len(jobs))
        if workers == 1:
            # In the thread that binned: each thread that calls LightGBM has a team of OpenMP's own, and where there are more members of
            # teams than cores, they sleep between two loops rather than wait for the next one, which takes half as long again.
            return [self._train_one(job, threads=cores) for job in jobs]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda job: self._train_one(job, threads=cores // workers), jobs))

    def _train_one(self, job: Job, *, threads: int) -> str:
        lgb = library()
        params = {**self._params, "deterministic": True, "num_threads": threads, **job.params}
        label = self._label if job.rows is None else self._label[job.rows]
        if params.get("objective") in {"tweedie", "poisson"} and not label.any():
            params["objective"] = "regression"  # a rate of nothing but zeros has no logarithm
        data = self._full if job.rows is None else self._full.subset(cast("list[int]", job.rows), params=params)
        text: str = lgb.train(params, data, num_boost_round=job.rounds).model_to_string()
        return text


def load_booster(text: str) -> Any:
    """A LightGBM booster from its model text."""
    return library().Booster(model_str=text)


def score(booster: Any, matrix: Floats, *, num_threads: int = 0) -> NDArray[np.float64]:
    """Predictions, cut at zero."""
    if not len(matrix):
        return np.empty(0)
    values = booster.predict(matrix, num_threads=num_threads or available_cores())
    return np.maximum(np.asarray(values, dtype=np.float64), 0.0)
