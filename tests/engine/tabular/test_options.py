"""Options written as JSON: read strictly, refused by name, said in words, and what they make of answers."""

from typing import Any

import numpy as np
import pytest

from engine.tabular.artifact import dump, load
from engine.tabular.asking import Question, ask
from engine.tabular.documents import ArtifactError
from engine.tabular.options import in_words, postprocessing_of, preprocessing_of
from engine.tabular.postprocessing import PostprocessingOptions, Values, learn_values, values_from_json
from engine.tabular.preprocessing import PreprocessingOptions
from engine.tabular.problems import TrainingError
from tests.engine.tabular.tables import trained

EUROS: dict[str, Any] = {"clip": True, "low": 200.0, "factor": 0.001, "decimals": 2, "unit": "thousand €"}


def test_options_are_read_as_they_are_written() -> None:
    assert postprocessing_of({"threshold": "f1"}, "classification") == PostprocessingOptions(threshold="f1")
    assert postprocessing_of(EUROS, "regression") == PostprocessingOptions(**EUROS)
    assert postprocessing_of({"low": None, "decimals": None}, "regression") == PostprocessingOptions()
    assert preprocessing_of({"most_categories": 20, "min_category_rows": 5}) == PreprocessingOptions(20, 5)


@pytest.mark.parametrize(
    ("task", "given", "field"),
    [
        ("classification", {"clip": True}, "clip"),
        ("classification", {"threshold": 1}, "threshold"),
        ("classification", {"threshold": "0.5"}, "threshold"),
        ("classification", {"threshold": True}, "threshold"),
        ("classification", {"threshold": None}, "threshold"),
        ("regression", {"threshold": 0.3}, "threshold"),
        ("regression", {"clip": "yes"}, "clip"),
        ("regression", {"factor": 0}, "factor"),
        ("regression", {"factor": float("nan")}, "factor"),
        ("regression", {"factor": 10**400}, "factor"),
        ("regression", {"factor": "2"}, "factor"),
        ("regression", {"decimals": 1.5}, "decimals"),
        ("regression", {"decimals": -1}, "decimals"),
        ("regression", {"decimals": 13}, "decimals"),
        ("regression", {"low": 2, "high": 1}, "high"),
        ("regression", {"low": float("inf")}, "low"),
        ("regression", {"unit": 3}, "unit"),
        ("regression", {"unit": "x" * 41}, "unit"),
        ("regression", {"unit": "a\nb"}, "unit"),
        ("regression", {"colour": 1}, "colour"),
        ("", {"most_categories": 0}, "most_categories"),
        ("", {"most_categories": 1_001}, "most_categories"),
        ("", {"min_category_rows": 0}, "min_category_rows"),
        ("", {"min_category_rows": True}, "min_category_rows"),
        ("", {"scale": True}, "scale"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(task: Any, given: dict[str, Any], field: str) -> None:
    with pytest.raises(TrainingError) as caught:
        postprocessing_of(given, task) if task else preprocessing_of(given)

    assert caught.value.field == field


def test_bounds_of_ones_own_go_before_those_of_training() -> None:
    values = learn_values([10.0, 50.0], PostprocessingOptions(clip=True, low=20.0))

    assert (values.low, values.high) == (20.0, 50.0)
    assert learn_values([10.0, 50.0], PostprocessingOptions(low=0.0)).answers(np.array([-3.0, 90.0])) == [0.0, 90.0]
    with pytest.raises(TrainingError, match="Nothing lies between 60 and 50"):
        learn_values([10.0, 50.0], PostprocessingOptions(clip=True, low=60.0))


def test_a_unit_survives_the_file_and_files_without_one_are_as_they_were() -> None:
    assert values_from_json(Values(unit="€").to_json()) == Values(unit="€")
    assert "unit" not in Values().to_json()
    with pytest.raises(ArtifactError, match="unit"):
        values_from_json(Values(unit="x" * 41).to_json())


def test_options_of_answers_travel_with_the_model_and_its_unit_comes_with_them() -> None:
    made = trained("regression", postprocessing=postprocessing_of(EUROS, "regression"))
    model = load(dump(made.model))
    row = {"size": 90.0, "rooms": 3, "town": "Ulm", "garden": True, "sold_at": "2021-05-01"}

    answer = ask(model, Question([row, row | {"size": 10.0, "rooms": 1}]))

    assert answer["unit"] == "thousand €"
    assert answer["predictions"][0] == round(answer["predictions"][0], 2)
    assert min(answer["predictions"]) >= 0.2
    assert ask(trained("binary").model, Question([row]))["unit"] == ""


def test_rare_categories_are_pooled_where_asked() -> None:
    made = trained("regression", preprocessing=preprocessing_of({"most_categories": 2}))

    town = next(one for one in made.model.preprocessor.features if one.column.name == "town")
    assert (len(town.categories), town.pooled) == (2, True)
    assert "town: all but 2 categories are pooled as one." in made.model.notes


def test_options_are_said_in_words() -> None:
    assert in_words({}, {}) == []
    assert in_words({}, {"threshold": 0.5, "factor": 1}) == []
    assert in_words({"min_category_rows": 5}, EUROS) == [
        ("Rare categories", "those of fewer than 5 rows are pooled"),
        ("Answers", "clipped to the range of the training target, at least 200, times 0.001, rounded to 2 decimals, in thousand €"),
    ]
    assert in_words({}, {"threshold": "f1"}) == [("Threshold", "the one with the best F1 on validation")]
