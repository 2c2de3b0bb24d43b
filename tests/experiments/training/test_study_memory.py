"""How much memory a study is expected to take."""

from typing import Any

import pytest

from engine.tuning.limits import ALGORITHMS, SKLEARN_KINDS
from experiments.services.study_memory import COPIES, copies_of_row
from experiments.services.study_settings import settings_of
from mlops.tenancy.roles import Principal
from tests.experiments.training.studying import make_split

pytestmark = pytest.mark.django_db

NUMBER, WORD = {"name": "x", "kind": "numeric", "distinct": 900}, {"name": "w", "kind": "categorical", "distinct": 30}


@pytest.fixture(autouse=True)
def _customer(scope: Principal) -> None:
    """Splits belong to somebody."""


def copies(algorithm: str, *profile: dict[str, Any], classes: int = 0, kind: str = "") -> int:
    task = "classification" if classes else "regression"
    target = {"name": "y", "kind": "categorical" if classes else "numeric", "distinct": classes or 900}
    split = make_split(task=task, features=[one["name"] for one in profile], profile=[*profile, target])
    space = {"kind": kind} if kind else None
    return copies_of_row(split, settings_of({"algorithm": algorithm, "search_space": space}, task=task))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"algorithm": "lightgbm"}, 4 + 7),
        ({"algorithm": "catboost"}, 4 + 9),
        ({"algorithm": "catboost", "classes": 2}, 4 + 9),
        ({"algorithm": "catboost", "classes": 5}, 4 + 9 + 10 * 5),
        ({"algorithm": "sklearn"}, 3 + 6),
        ({"algorithm": "sklearn", "kind": "random_forest"}, 3 + 6),
        ({"algorithm": "sklearn", "kind": "linear"}, 4 + 4 * 30),
    ],
)
def test_values_are_counted_as_the_algorithm_holds_them(asked: dict[str, Any], expected: int) -> None:
    assert copies(asked.pop("algorithm"), NUMBER, WORD, **asked) == expected


def test_a_linear_model_makes_columns_of_the_most_frequent_categories_alone() -> None:
    assert copies("sklearn", WORD | {"distinct": 4_000}, kind="linear") == 4 * 50


def test_every_algorithm_is_counted() -> None:
    assert set(COPIES) == {*ALGORITHMS, *SKLEARN_KINDS} - {"sklearn"}
    for name in COPIES:
        kind = {} if name in ("catboost", "xgboost", "lightgbm") else {"kind": name}
        assert copies("sklearn" if kind else name, NUMBER, **kind) == COPIES[name][0]
