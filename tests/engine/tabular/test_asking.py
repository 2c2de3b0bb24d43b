"""A question and its answer: what a model was not taught is told, whatever it is asked."""

import pytest

from engine.tabular.asking import Question, ask
from tests.engine.tabular.tables import trained

ROW = {"size": 90.0, "rooms": 3, "town": "Ulm", "garden": True, "sold_at": "2021-05-01"}


@pytest.mark.parametrize("explain", [False, True], ids=["predict", "importance"])
def test_unseen_categories_and_fields_that_are_no_feature_are_told(explain: bool) -> None:
    model = trained("regression").model

    answer = ask(model, Question([ROW, ROW | {"town": "Paris", "color": "red"}], explain))

    assert answer["notes"] == [
        "Fields that are no feature of this model were ignored: color.",
        "town: 1 rows hold a category that training did not see.",
    ]
    assert ask(model, Question([ROW], explain))["notes"] == []


def test_importance_without_rows_has_no_notes() -> None:
    assert ask(trained("regression").model, Question([], explain=True))["notes"] == []
