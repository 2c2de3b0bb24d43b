"""What may be asked of an algorithm, tried on the algorithm."""

from typing import Any

import pytest

from engine.tuning import limits
from engine.tuning.limits import Words
from tests.engine.tabular.tables import FEW, KINDS, TARGETS, trained

FOUND = [("", name) for name in FEW] + [(kind, "sklearn") for kind in KINDS]
WORDS = [
    (case, algorithm, kind, name, word)
    for kind, algorithm in FOUND
    for case, (task, _, _) in TARGETS.items()
    for name, limit in limits.limits_of(algorithm, task, kind=kind).items()
    if isinstance(limit, Words) and name != limits.KIND
    for word in limit.choices
]


@pytest.mark.filterwarnings("ignore:class_weight presets")
@pytest.mark.parametrize(("case", "algorithm", "kind", "name", "word"), WORDS)
def test_every_allowed_word_trains(case: str, algorithm: str, kind: str, name: str, word: str | bool) -> None:
    few: dict[str, Any] = KINDS[kind] if kind else FEW[algorithm]
    rounds = {} if kind == "linear" else {limits.rounds_parameter(algorithm, kind)[0]: 3}

    result = trained(case, algorithm, {**few, **rounds, name: word})

    assert result.model.params[name] == word
