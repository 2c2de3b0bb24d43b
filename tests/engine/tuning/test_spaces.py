"""Search spaces: what users may write, and what is suggested from it."""

from itertools import product
from typing import Any

import pytest

from engine.tabular.algorithms import algorithm as algorithm_named
from engine.tabular.columns import TASKS, Task
from engine.tuning import limits, spaces
from engine.tuning.defaults import default
from engine.tuning.spaces import Choice, Range, Space, SpaceError

PAIRS = list(product(limits.ALGORITHMS, TASKS))


def parse(value: dict[str, Any], algorithm: str = "lightgbm", task: Task = "regression") -> Space:
    return spaces.parse(value, algorithm=algorithm, task=task)


@pytest.mark.parametrize(("algorithm", "task"), PAIRS)
def test_every_allowed_parameter_is_one_the_algorithm_takes(algorithm: str, task: Task) -> None:
    kinds = limits.SKLEARN_KINDS if algorithm == "sklearn" else ("",)

    allowed = {name for kind in kinds for name in limits.limits_of(algorithm, task, kind=kind)}

    assert allowed <= algorithm_named(algorithm).parameters


@pytest.mark.parametrize(("algorithm", "task"), PAIRS)
def test_nothing_that_reaches_outside_the_trial_is_allowed(algorithm: str, task: Task) -> None:
    forbidden = {"n_jobs", "nthread", "thread_count", "num_threads", "device", "task_type", "train_dir", "callbacks", "verbose", "seed"}

    assert not forbidden & set(limits.limits_of(algorithm, task))


def test_a_space_is_written_as_it_was_read() -> None:
    written = {
        "learning_rate": {"type": "float", "low": 0.01, "high": 0.3, "log": True},
        "num_leaves": {"type": "int", "low": 8, "high": 64, "step": 8},
        "objective": {"type": "categorical", "choices": ["regression", "huber"]},
        "n_estimators": 300,
    }

    assert parse(written).to_json() == written


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, ""),
        ({"num_leafs": 3}, "num_leafs"),
        ({"num_leaves": 1}, "num_leaves"),
        ({"num_leaves": 3.5}, "num_leaves"),
        ({"num_leaves": True}, "num_leaves"),
        ({"num_leaves": None}, "num_leaves"),
        ({"num_leaves": []}, "num_leaves"),
        ({"extra_trees": 1}, "extra_trees"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": {"low": 0.1, "high": 0.2}}, "learning_rate.type"),
        ({"learning_rate": {"type": ["float"], "low": 0.1, "high": 0.2}}, "learning_rate.type"),
        ({"learning_rate": {"type": "float", "low": 0.1, "high": 5.0}}, "learning_rate.high"),
        ({"learning_rate": {"type": "float", "low": 0.3, "high": 0.1}}, "learning_rate.high"),
        ({"learning_rate": {"type": "float", "low": 0.1, "high": 0.2, "steps": 3}}, "learning_rate.steps"),
        ({"learning_rate": {"type": "float", "low": 0.1, "high": 0.2, "log": 1}}, "learning_rate.log"),
        ({"learning_rate": {"type": "float", "low": 0.1, "high": 0.2, "log": True, "step": 0.1}}, "learning_rate.step"),
        ({"learning_rate": {"type": "float", "low": 0.1, "high": 0.2, "step": 0}}, "learning_rate.step"),
        ({"reg_alpha": {"type": "float", "low": 0.0, "high": 1.0, "log": True}}, "reg_alpha.low"),
        ({"num_leaves": {"type": "float", "low": 2, "high": 8}}, "num_leaves.type"),
        ({"num_leaves": {"type": "categorical", "choices": []}}, "num_leaves.choices"),
        ({"num_leaves": {"type": "categorical", "choices": [8, 8]}}, "num_leaves.choices"),
        ({"num_leaves": {"type": "categorical", "choices": [8, 1]}}, "num_leaves.choices"),
        ({"objective": {"type": "categorical", "choices": ["custom"]}}, "objective.choices"),
        ({"objective": {"type": "int", "low": 1, "high": 2}}, "objective.type"),
        ({"is_unbalance": True}, "is_unbalance"),
    ],
)
def test_what_cannot_be_searched_is_refused_where_it_stands(value: dict[str, Any], field: str) -> None:
    with pytest.raises(SpaceError) as refused:
        parse(value)

    assert refused.value.field == field


def test_the_kind_of_a_scikit_learn_model_is_fixed_and_brings_its_own_parameters() -> None:
    forest = parse({"kind": "random_forest", "max_depth": {"type": "int", "low": 2, "high": 9}}, "sklearn")

    with pytest.raises(SpaceError) as searched:
        parse({"kind": {"type": "categorical", "choices": ["linear", "random_forest"]}}, "sklearn")
    with pytest.raises(SpaceError) as foreign:
        parse({"kind": "linear", "max_depth": 3}, "sklearn")

    assert forest.fixed == {"kind": "random_forest"}
    assert (searched.value.field, foreign.value.field) == ("kind", "max_depth")


def test_a_seed_means_the_same_in_whatever_order_a_space_is_kept() -> None:
    # PostgreSQL's jsonb keeps the shorter names first, and samplers draw one parameter after the other.
    written = default("lightgbm", "classification").to_json()
    kept = dict(sorted(written.items(), key=lambda item: (len(item[0]), item[0])))

    assert list(kept) != list(written)
    assert list(parse(kept, task="classification").searched) == list(default("lightgbm", "classification").searched)


@pytest.mark.parametrize(
    ("searched", "single"),
    [
        ({}, True),
        ({"a": Range(3, 3, whole=True), "b": Choice(("x",))}, True),
        ({"a": Range(3, 4, whole=True)}, False),
        ({"a": Range(0.1, 0.2, whole=False), "b": Choice(("x",))}, False),
    ],
)
def test_a_space_of_one_point_is_known(searched: dict[str, Range | Choice], single: bool) -> None:
    assert Space(searched, {"c": 1}).single is single


def test_a_grid_holds_every_point_once() -> None:
    space = Space({"a": Range(1, 3, whole=True), "b": Range(0.1, 0.5, whole=False, step=0.2), "c": Choice(("x", True))})

    points = [tuple(point.values()) for point in space.grid()]

    assert len(points) == len(set(points)) == space.grid_size() == 18


@pytest.mark.parametrize("one", [Range(0.1, 0.2, whole=False), Range(1, 50_000, whole=True)])
def test_a_grid_needs_an_end(one: Range) -> None:
    with pytest.raises(SpaceError):
        Space({"a": one}).grid_size()


@pytest.mark.parametrize(
    ("params", "misfit"),
    [
        ({"a": 3, "b": 1}, False),
        ({"a": 3, "b": 1, "fixed": 7}, False),
        ({"a": 3}, True),
        ({"a": 9, "b": 1}, True),
        ({"a": 4, "b": 1}, True),
        ({"a": 3.0, "b": 1}, True),
        ({"a": 3, "b": True}, True),
        ({"a": 3, "b": 1, "fixed": 8}, True),
        ({"a": 3, "b": 1, "other": 0}, True),
    ],
)
def test_parameters_fit_a_space_or_the_misfit_is_told(params: dict[str, Any], misfit: bool) -> None:
    space = Space({"a": Range(1, 7, whole=True, step=2), "b": Choice((1, "x"))}, {"fixed": 7})

    assert bool(space.misfit(params)) is misfit
