"""Which parameters matter: what was put into the values is found again, and Optuna's own evaluator agrees."""

import math
import random
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator

from engine.tuning.influence import BEST, FEWEST, MOST, influence
from engine.tuning.spaces import Choice, Range, Space

SPACE = Space(
    {
        "rate": Range(0.001, 1.0, whole=False, log=True),
        "depth": Range(2, 12, whole=True),
        "kind": Choice(("a", "b", "c")),
        "dust": Range(0, 1, whole=False),
    }
)
Trials = list[tuple[float, dict[str, Any]]]


def trials(count: int, *, seed: int = 5) -> Trials:
    """The rate decides, the kind has a say, the depth and the dust have none."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        params = {"rate": 10 ** draw.uniform(-3, 0), "depth": draw.randint(2, 12), "kind": draw.choice("abc"), "dust": draw.random()}
        made.append((4 * abs(math.log10(params["rate"]) + 1.5) + (params["kind"] == "a"), params))
    return made


def test_the_parameter_that_decides_comes_first() -> None:
    found = influence(trials(120), space=SPACE, maximize=False)

    assert [name for name, _ in found][:2] == ["rate", "kind"]
    assert sum(share for _, share in found) == pytest.approx(1)


def test_the_direction_turns_with_the_values() -> None:
    made = trials(120)
    turned = [(-value, params) for value, params in made]

    assert influence(turned, space=SPACE, maximize=True) == influence(made, space=SPACE, maximize=False)


def test_optunas_evaluator_orders_them_alike() -> None:
    made = trials(120)
    distributions = {
        "rate": FloatDistribution(0.001, 1.0, log=True),
        "depth": optuna.distributions.IntDistribution(2, 12),
        "kind": CategoricalDistribution(("a", "b", "c")),
        "dust": FloatDistribution(0, 1),
    }
    study = optuna.create_study()
    study.add_trials([optuna.trial.create_trial(params=params, distributions=distributions, value=value) for value, params in made])
    theirs = PedAnovaImportanceEvaluator(target_quantile=BEST).evaluate(study)
    total = sum(theirs.values())

    ours = dict(influence(made, space=SPACE, maximize=False))

    assert list(theirs)[:2] == ["rate", "kind"]
    assert ours["rate"] == pytest.approx(theirs["rate"] / total, abs=0.1)


@pytest.mark.parametrize("count", [0, FEWEST - 1])
def test_few_trials_say_nothing(count: int) -> None:
    assert influence(trials(count), space=SPACE, maximize=False) == []


def test_very_many_trials_are_thinned_without_another_answer() -> None:
    found = influence(trials(4 * MOST), space=SPACE, maximize=False)

    assert found[0][0] == "rate"
    assert found[0][1] > 0.7


def test_values_that_are_no_numbers_are_left_out() -> None:
    made = trials(40)

    assert influence([*made, (math.nan, made[0][1])], space=SPACE, maximize=False) == influence(made, space=SPACE, maximize=False)
