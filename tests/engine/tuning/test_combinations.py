"""What does not go together: each rule beside the library it is about."""

from typing import Any

import pytest

from engine.tabular.problems import TrainingError
from engine.tuning import combinations, spaces
from engine.tuning.spaces import SpaceError
from tests.engine.tabular.tables import FEW, KINDS, TARGETS, trained

FOREST = {"kind": "random_forest"}
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("regression", "catboost", {"max_leaves": 8}, "max_leaves"),
    ("regression", "catboost", {"max_leaves": 8, "grow_policy": "Depthwise"}, "max_leaves"),
    ("regression", "catboost", {"subsample": 0.7, "bootstrap_type": "Bayesian"}, "subsample"),
    ("binary", "catboost", {"subsample": 0.7, "bootstrap_type": "No"}, "subsample"),
    ("binary", "catboost", {"bagging_temperature": 0.7, "bootstrap_type": "Bernoulli"}, "bagging_temperature"),
    ("binary", "catboost", {"bagging_temperature": 0.7, "bootstrap_type": "No"}, "bagging_temperature"),
    ("regression", "catboost", {"boosting_type": "Ordered", "grow_policy": "Lossguide"}, "boosting_type"),
    ("regression", "catboost", {"boosting_type": "Ordered", "grow_policy": "Depthwise"}, "boosting_type"),
    ("binary", "catboost", {"scale_pos_weight": 2.0, "auto_class_weights": "Balanced"}, "scale_pos_weight"),
    ("binary", "catboost", {"scale_pos_weight": 2.0, "auto_class_weights": "None"}, "scale_pos_weight"),
    ("multiclass", "catboost", {"scale_pos_weight": 2.0}, "scale_pos_weight"),
    ("multiclass", "catboost", {"subsample": 0.7}, "subsample"),
    ("binary", "lightgbm", {"is_unbalance": True, "scale_pos_weight": 2.0}, "scale_pos_weight"),
    ("binary", "sklearn", {**FOREST, "bootstrap": False, "max_samples": 0.5}, "max_samples"),
]
TAKEN: list[tuple[str, str, dict[str, Any]]] = [
    ("regression", "catboost", {"max_leaves": 8, "grow_policy": "Lossguide"}),
    ("regression", "catboost", {"subsample": 0.7}),
    ("multiclass", "catboost", {"subsample": 0.7, "bootstrap_type": "MVS"}),
    ("multiclass", "catboost", {"subsample": 0.7, "bootstrap_type": "Bernoulli"}),
    ("multiclass", "catboost", {"bagging_temperature": 0.7, "bootstrap_type": "Bayesian"}),
    ("binary", "catboost", {"bagging_temperature": 0.7}),
    ("binary", "catboost", {"boosting_type": "Plain", "grow_policy": "Lossguide"}),
    ("multiclass", "catboost", {"boosting_type": "Ordered"}),
    ("binary", "catboost", {"scale_pos_weight": 2.0}),
    ("binary", "lightgbm", {"is_unbalance": False, "scale_pos_weight": 2.0}),
    ("regression", "sklearn", {**FOREST, "bootstrap": True, "max_samples": 0.5}),
    ("regression", "sklearn", {**FOREST, "max_samples": 0.5}),
]


def check(case: str, algorithm: str, value: dict[str, Any]) -> None:
    space = spaces.parse(value, algorithm=algorithm, task=TARGETS[case][0])
    combinations.check(space, algorithm)
    if case == "multiclass":
        combinations.check_many_classes(space, algorithm, 3)


def train(case: str, algorithm: str, params: dict[str, Any]) -> None:
    few = KINDS["random_forest"] if algorithm == "sklearn" else FEW[algorithm]
    trained(case, algorithm, {**few, **params})


@pytest.mark.parametrize(("case", "algorithm", "params", "field"), REFUSED)
def test_what_a_library_refuses_is_refused_before(case: str, algorithm: str, params: dict[str, Any], field: str) -> None:
    with pytest.raises(TrainingError, match="The library refuses"):
        train(case, algorithm, params)

    with pytest.raises(SpaceError) as refused:
        check(case, algorithm, params)

    assert refused.value.field == field


@pytest.mark.parametrize(("case", "algorithm", "params"), TAKEN)
def test_what_a_library_takes_is_taken(case: str, algorithm: str, params: dict[str, Any]) -> None:
    check(case, algorithm, params)

    train(case, algorithm, params)


def test_a_space_that_trains_in_some_trials_alone_is_refused_and_says_why() -> None:
    policies = {"type": "categorical", "choices": ["SymmetricTree", "Lossguide"]}
    leaves = {"type": "int", "low": 8, "high": 32}

    with pytest.raises(SpaceError) as refused:
        check("regression", "catboost", {"grow_policy": policies, "max_leaves": leaves})
    with pytest.raises(SpaceError) as left_out:
        check("regression", "catboost", {"max_leaves": leaves})

    assert str(refused.value) == "Needs grow_policy to be Lossguide in every trial; here it can be SymmetricTree."
    assert str(left_out.value) == "Needs grow_policy to be Lossguide in every trial; left out, it is SymmetricTree."
