"""Samplers and pruners by name: reproducible trial by trial, and CMA-ES that finds what it should."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from engine.tuning import samplers, spaces
from engine.tuning.evolution import Evolution, replay
from engine.tuning.spaces import Choice, Range, Space

SPACE = Space({"x": Range(-5.0, 5.0, whole=False), "n": Range(1, 64, whole=True, log=True), "kind": Choice(("a", "b"))})
FINITE = Space({"a": Range(1, 3, whole=True), "b": Choice(("x", "y"))})


def bowl(params: dict[str, Any]) -> float:
    return float((params["x"] - 1) ** 2 + (params["n"] - 8) ** 2 / 50 + (params["kind"] == "b"))


def search(
    name: str, *, trials: int, seed: int = 3, space: Space = SPACE, study: optuna.Study | None = None, value: Callable[..., float] = bowl
) -> optuna.Study:
    study = study or optuna.create_study()
    for _ in range(trials):
        trial = study.ask()
        study.sampler = samplers.sampler(name, seed=seed, number=trial.number, space=space, n_trials=30)
        study.tell(trial, value(spaces.suggest(trial, space)))
    return study


def params_of(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", ["tpe", "random", "cmaes"])
def test_a_seed_gives_the_same_trials_and_another_gives_others(name: str) -> None:
    first, second, other = search(name, trials=15), search(name, trials=15), search(name, trials=15, seed=4)

    assert params_of(first) == params_of(second)
    assert params_of(first) != params_of(other)


@pytest.mark.parametrize("name", ["tpe", "random", "cmaes"])
def test_a_search_taken_up_by_another_process_goes_on_as_if_nothing_had_happened(name: str) -> None:
    whole = search(name, trials=20)
    taken_up = optuna.create_study()
    taken_up.add_trials(whole.trials[:12])

    search(name, trials=8, study=taken_up)

    assert params_of(taken_up) == params_of(whole)


def test_a_grid_is_walked_once_in_an_order_of_the_seed() -> None:
    study = search("grid", trials=6, space=FINITE, value=lambda params: float(params["a"]))

    seen = [tuple(params.values()) for params in params_of(study)]

    assert sorted(seen) == sorted(tuple(point.values()) for point in FINITE.grid())


def test_points_of_a_grid_that_were_tried_are_not_tried_again() -> None:
    space = Space({"rate": Range(0.1, 0.7, whole=False, step=0.1), "flag": Choice((True, 1))})
    tried = [space.point({"rate": 0.3, "flag": True}), space.point({"rate": 0.1 + 0.2, "flag": 1})]

    drawn = [samplers.grid_sampler(space, seed=3, index=index, tried=tried)._point for index in range(12)]  # type: ignore[attr-defined]

    assert {samplers.key_of(point) for point in [*tried, *drawn]} == {samplers.key_of(point) for point in space.grid()}
    assert len({samplers.key_of(point) for point in drawn}) == 12


def test_cma_es_comes_closer_than_chance_on_a_bowl_in_five_dimensions() -> None:
    names = [f"x{i}" for i in range(5)]
    space = Space({name: Range(-5.0, 5.0, whole=False) for name in names})

    def value(params: dict[str, Any]) -> float:
        return float(sum((params[name] - 1.7) ** 2 for name in names))

    evolved = search("cmaes", trials=160, space=space, value=value)
    drawn = search("random", trials=160, space=space, value=value)

    assert evolved.best_value < 0.3 < drawn.best_value
    assert replay(evolved, names).generation > 10


def test_the_evolution_moves_its_mean_to_the_best_points() -> None:
    evolution, rng = Evolution.start(3), np.random.default_rng(1)
    goal = np.array([0.2, 0.8, 0.5])

    for _ in range(40):
        points = [evolution.ask(rng) for _ in range(evolution.population)]
        evolution.tell(sorted(points, key=lambda point: float(np.square(point - goal).sum())))

    assert np.abs(evolution.mean - goal).max() < 0.02
    assert all(0 <= value <= 1 for point in points for value in point)


def test_median_pruning_stops_a_trial_that_is_worse_than_the_others() -> None:
    study = optuna.create_study(pruner=samplers.pruner("median", rounds=20))
    for value in (1.0, 1.1, 1.2, 1.3, 1.4):
        trial = study.ask()
        for step in range(20):
            trial.report(value, step)
        study.tell(trial, value)

    bad = study.ask()
    bad.report(9.0, 1)
    early = bad.should_prune()
    bad.report(9.0, 5)

    assert (early, bad.should_prune()) == (False, True)


def test_no_pruner_prunes_nothing() -> None:
    study = optuna.create_study(pruner=samplers.pruner("none", rounds=20))
    study.add_trials([optuna.trial.create_trial(value=0.0, intermediate_values={1: 0.0}, state=TrialState.COMPLETE)] * 9)

    bad = study.ask()
    bad.report(9.0, 1)

    assert not bad.should_prune()


@pytest.mark.parametrize("make", [lambda: samplers.sampler("x", seed=0, number=0, space=SPACE), lambda: samplers.pruner("x", rounds=1)])
def test_names_are_of_a_closed_list(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="There is no"):
        make()
