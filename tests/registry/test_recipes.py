"""Recipes as JSON: what the check accepts, the engine can make."""

import pytest

from registry.rules.recipes import OBJECTIVES, RANGES, WHOLE, RecipeError, build, check


@pytest.mark.parametrize(("name", "value"), [(name, bound) for name, bounds in RANGES.items() for bound in bounds])
def test_what_the_check_accepts_the_engine_makes(name: str, value: float) -> None:
    given = {name: int(value) if name in WHOLE else value}

    assert getattr(build(given, horizon=7), name) == value


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_one_of_the_engines(objective: str) -> None:
    assert build({"objective": objective}, horizon=7).to_json()["objective"] == objective


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ({"kind": "prophet"}, "kind"),
        ({"kind": "seasonal_naive", "rounds": 3}, "rounds"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 1.5}, "rounds"),
        ({"rounds": True}, "rounds"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"objective": "l9"}, "objective"),
        ({"trees": 3}, "trees"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(recipe: dict[str, object], field: str) -> None:
    with pytest.raises(RecipeError) as refused:
        check(recipe)

    assert refused.value.field == field
