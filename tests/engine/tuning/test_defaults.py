"""The default spaces, and whether what they search matters."""

from itertools import product
from typing import Any

import numpy as np
import optuna
import pytest

from engine.tabular.columns import TASKS, Task
from engine.tuning import combinations, limits, spaces
from engine.tuning.defaults import default
from engine.tuning.spaces import Choice
from tests.engine.tabular.tables import FEW, KINDS, TARGETS, houses, trained

ASKED = [(algorithm, "") for algorithm in limits.ALGORITHMS] + [("sklearn", kind) for kind in limits.SKLEARN_KINDS]


@pytest.mark.parametrize(("asked", "task"), list(product(ASKED, TASKS)))
def test_a_default_space_suggests_within_itself(asked: tuple[str, str], task: Task) -> None:
    algorithm, kind = asked
    space = default(algorithm, task, kind=kind)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))

    params = spaces.suggest(study.ask(), space)
    combinations.check(space, algorithm)
    combinations.check_many_classes(space, algorithm, 3)

    assert space.misfit(params) == ""
    assert set(params) == {*space.searched, *space.fixed}
    assert space.searched


DIMENSIONS = [
    (case, algorithm, kind, name)
    for algorithm, kind in [*((name, "") for name in FEW), *(("sklearn", kind) for kind in KINDS)]
    for case in ("regression", "multiclass")
    for name in default(algorithm, TARGETS[case][0], kind=kind).searched
]


@pytest.mark.parametrize(("case", "algorithm", "kind", "name"), DIMENSIONS)
def test_every_dimension_of_a_default_space_changes_the_model(case: str, algorithm: str, kind: str, name: str) -> None:
    space, frame = default(algorithm, TARGETS[case][0], kind=kind), houses(20, seed=7)
    one = space.searched[name]
    assert not isinstance(one, Choice)
    few: dict[str, Any] = {"kind": kind} if kind else {}
    few |= {} if kind == "linear" else {limits.rounds_parameter(algorithm, kind)[0]: 10}
    few |= {"subsample_freq": 1} if algorithm == "lightgbm" else {}

    low, high = (trained(case, algorithm, {**few, name: value}).model.raw(frame) for value in (one.low, one.high))

    assert np.abs(low - high).max() > 1e-6
