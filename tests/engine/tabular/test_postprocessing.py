import numpy as np
import pytest

from engine.tabular.documents import ArtifactError
from engine.tabular.postprocessing import (
    Classes,
    PostprocessingOptions,
    Values,
    best_f1_threshold,
    classes_from_json,
    learn_values,
    values_from_json,
)
from engine.tabular.problems import TrainingError

CHANCES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])


def test_two_classes_are_told_apart_by_the_threshold() -> None:
    assert Classes(("no", "yes")).answers(CHANCES) == ["no", "no", "yes"]
    assert Classes(("no", "yes"), 0.4).answers(CHANCES) == ["no", "yes", "yes"]


def test_most_probable_of_several_classes_is_answered() -> None:
    assert Classes((1, 2, 3), 0.1).answers(np.array([[0.2, 0.3, 0.5], [0.4, 0.3, 0.3]])) == [3, 1]


def test_labels_are_written_as_json_writes_them() -> None:
    assert list(Classes((False, True)).named(CHANCES)[0]) == ["false", "true"]
    assert Classes((3, 4)).named(CHANCES)[2] == {"3": 0.2, "4": 0.8}


def test_best_f1_threshold_beats_every_other() -> None:
    chance = np.random.default_rng(0)
    truth = (chance.random(300) < 0.2).astype(np.int64)
    scores = np.round(np.clip(0.3 * truth + chance.random(300) * 0.7, 0, 1), 2)
    chances = np.column_stack([1 - scores, scores])

    def f1(threshold: float) -> float:
        told = scores >= threshold
        return 2 * float((told & (truth == 1)).sum()) / float(told.sum() + truth.sum())

    best = best_f1_threshold(truth, chances)

    assert f1(best) == pytest.approx(max(f1(threshold) for threshold in np.unique(scores)))
    assert best_f1_threshold(np.zeros(3, dtype=np.int64), CHANCES) == 0.5


def test_values_are_clipped_then_change_unit_then_rounded() -> None:
    values = learn_values([10.0, 2_000.0], PostprocessingOptions(clip=True, factor=0.001, decimals=2))

    assert values.answers(np.array([-5.0, 1_234.0, 9_999.0])) == [0.01, 1.23, 2.0]
    assert values.bounded(np.array([-5.0])).tolist() == [10.0]
    assert Values().answers(np.array([-5.25])) == [-5.25]


@pytest.mark.parametrize("decimals", [None, 12])
def test_answers_are_finite_however_large_the_values(decimals: int | None) -> None:
    values, large = Values(factor=-1e12, decimals=decimals), np.array([1e300, -1e300, 1e290, 2.0])

    told = values.answers(large)

    border = float(np.finfo(np.float64).max)
    assert told == [-border, border, -1e302, -2e12]
    assert (values.beyond(large), values.beyond(large[2:])) == (2, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 1e308},
        {"factor": -1e13},
        {"factor": 1e-13},
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"threshold": "best"},
        {"factor": 0.0},
        {"factor": float("nan")},
        {"decimals": 13},
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(TrainingError) as caught:
        PostprocessingOptions(**options)  # type: ignore[arg-type]  # wrong values are the point

    assert caught.value.field == next(iter(options))


def test_round_trips_are_exact() -> None:
    classes, values = Classes(("a", 1, True, 2.5), 0.3), Values(-1.0, 2.0, 0.5, 3)

    assert classes_from_json(classes.to_json()) == classes
    assert values_from_json(values.to_json()) == values


@pytest.mark.parametrize(
    ("read", "change"),
    [
        (classes_from_json, {"labels": ["a"]}),
        (classes_from_json, {"labels": ["1", 1]}),
        (classes_from_json, {"labels": ["a", None]}),
        (classes_from_json, {"threshold": 1.5}),
        (values_from_json, {"low": 5, "high": 1}),
        (values_from_json, {"factor": 0}),
        (values_from_json, {"decimals": 2.5}),
        (values_from_json, {"extra": 1}),
    ],
)
def test_changed_documents_are_refused(read: object, change: dict[str, object]) -> None:
    made = Classes(("a", "b")) if read is classes_from_json else Values()

    with pytest.raises(ArtifactError):
        read({**made.to_json(), **change})  # type: ignore[operator]  # either reader
