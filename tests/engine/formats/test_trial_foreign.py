"""Models of other libraries: really loaded and scored in the child, and whatever is evil in them refused with a reason."""

import os
import random
from pathlib import Path

import pytest

from engine.formats.sniff import UnsafeArtifact
from engine.formats.trial import TrialLimits, try_model
from tests.engine.formats import foreign
from tests.engine.formats.samples import saved

# Kept few: each is a process that imports a library.
MUTANTS = 10_000 if os.environ.get("TORTURE") == "1" else 5
BROKEN = {"malformed", "not_finite", "unknown_format", "crashed", "timed_out", "memory", "unsupported_features", "too_nested"}
BROKEN |= {"untrusted_type", "too_large", "pickle_refused"}


def refusal(path: Path, **limits: int) -> str:
    with pytest.raises(UnsafeArtifact) as caught:
        try_model(path, limits=TrialLimits(**limits))
    return caught.value.reason


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from skops.io import dumps

    rows, target = foreign.table()
    return {
        "xgboost": foreign.xgboost_model(),
        "catboost": foreign.catboost_model(tmp_path_factory.mktemp("catboost")),
        "onnx": foreign.onnx_model(),
        "skops": dumps(HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5).fit(rows, target)),
    }


@pytest.mark.parametrize(
    ("kind", "features", "trees"),
    [("xgboost", foreign.NAMES, 3), ("catboost", foreign.NAMES, 3), ("onnx", ("x0", "x1", "x2"), 0), ("skops", ("x0", "x1", "x2"), 0)],
)
def test_model_of_each_library_is_loaded_and_scored(
    tmp_path: Path, models: dict[str, bytes], kind: str, features: tuple[str, ...], trees: int
) -> None:
    facts = try_model(saved(tmp_path / "model.bin", models[kind]))

    assert (facts.format, facts.features, facts.trees, facts.outputs) == (kind, features, trees, 1)
    assert facts.peak_memory_bytes < 400 << 20


def test_xgboost_tells_its_objective_and_names_features_that_have_no_name(tmp_path: Path) -> None:
    import numpy
    import xgboost

    rows, target = foreign.table()
    unnamed = xgboost.train({"max_depth": 2}, xgboost.DMatrix(numpy.array(rows), target), num_boost_round=1).save_raw("ubj")

    logistic = try_model(saved(tmp_path / "a", foreign.xgboost_model(objective="binary:logistic")))
    bare = try_model(saved(tmp_path / "b", bytes(unnamed)))

    assert logistic.objective == "binary:logistic"
    assert bare.features == ("f0", "f1", "f2")


def test_xgboost_of_many_classes_says_how_many_outputs_it_has(tmp_path: Path) -> None:
    import numpy
    import xgboost

    rows, _ = foreign.table()
    data = xgboost.DMatrix(numpy.array(rows), [row[2] for row in rows])
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3, "max_depth": 2}, data, num_boost_round=1)

    assert try_model(saved(tmp_path / "m", bytes(booster.save_raw("ubj")))).outputs == 3


def test_catboost_with_categories_and_classes_is_scored(tmp_path: Path) -> None:
    facts = try_model(saved(tmp_path / "m", foreign.catboost_model(tmp_path, categories=True, classes=3)))

    assert (facts.outputs, facts.features, facts.objective) == (3, foreign.NAMES, "MultiClass")


def test_onnx_with_an_input_for_each_feature_names_them(tmp_path: Path) -> None:
    inputs = [foreign.onnx_input("price", width=1), foreign.onnx_input("stock", width=1)]
    model = foreign.onnx_model(
        nodes=[foreign.onnx_node("Add", ("price", "stock"), "y")], tensors=[foreign.onnx_tensor("w", (1.0,) * 3)], inputs=inputs
    )

    assert try_model(saved(tmp_path / "m", model)).features == ("price", "stock")


EXTERNAL = foreign.onnx_tensor(
    "w", (), foreign.text(13, foreign.text(1, "location") + foreign.text(2, "../../etc/passwd")), foreign.number(14, 1)
)
INNER = foreign.message(foreign.text(1, foreign.onnx_node("Evil", ("X",), "y", foreign.text(7, "evil.domain"))), foreign.text(2, "inner"))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (foreign.onnx_model(tensors=[EXTERNAL]), "untrusted_type"),
        (foreign.onnx_model(domain="com.microsoft"), "untrusted_type"),
        (foreign.onnx_model(nodes=[foreign.onnx_node("Evil", ("X",), "y", foreign.text(7, "evil.domain"))]), "untrusted_type"),
        (foreign.onnx_model(nodes=[foreign.onnx_node("If", ("X",), "y", foreign.text(5, foreign.text(6, INNER)))]), "untrusted_type"),
        (foreign.onnx_model(inputs=[foreign.onnx_input("X", kind=16)]), "malformed"),
        (foreign.onnx_model(tensors=[foreign.onnx_tensor("w", (float("inf"),) * 3)]), "not_finite"),
        (foreign.onnx_model(tensors=[foreign.onnx_tensor("w", (1.0,), shape=(1 << 40, 1))]), "malformed"),
        (foreign.onnx_model()[:-9], "malformed"),
    ],
    ids=["tensor in a file", "foreign domain", "foreign operator", "foreign operator inside", "wrong type", "infinite", "bomb", "cut"],
)
def test_evil_onnx_is_refused(tmp_path: Path, model: bytes, reason: str) -> None:
    assert refusal(saved(tmp_path / "m.onnx", model)) == reason


@pytest.mark.parametrize("kind", ["xgboost", "catboost", "skops"])
def test_cut_models_are_refused(tmp_path: Path, models: dict[str, bytes], kind: str) -> None:
    whole = models[kind]

    assert refusal(saved(tmp_path / "m", whole[: len(whole) // 2])) in BROKEN


def test_xgboost_that_declares_a_huge_array_is_refused(tmp_path: Path, models: dict[str, bytes]) -> None:
    """A typed array's length stands before its content: 2**40 values in a file of some kilobytes."""
    whole = models["xgboost"]
    place = whole.index(b"[$d#L")

    evil = whole[: place + 5] + (1 << 40).to_bytes(8, "big") + whole[place + 13 :]

    assert refusal(saved(tmp_path / "m", evil)) in {"malformed", "memory", "crashed"}


@pytest.mark.parametrize("kind", ["xgboost", "catboost", "onnx", "skops"])
def test_mutants_of_each_format_are_accepted_or_refused_and_nothing_else(tmp_path: Path, models: dict[str, bytes], kind: str) -> None:
    chance = random.Random(7)
    ends: dict[str, int] = {}
    # XGBoost fills what it gets before it breaks, which takes seconds; it is the one whose library needs little itself.
    limits = TrialLimits(memory_bytes=768 << 20) if kind == "xgboost" else TrialLimits()

    for _ in range(MUTANTS):
        data = bytearray(models[kind])
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            try_model(saved(tmp_path / "m", bytes(data)), limits=limits)
            end = "accepted"
        except UnsafeArtifact as error:
            end = error.reason
        ends[end] = ends.get(end, 0) + 1

    assert sum(ends.values()) == MUTANTS
    assert ends.keys() <= BROKEN | {"accepted"}, ends
    assert ends.keys() & BROKEN, ends


def test_a_library_that_finds_no_room_is_told_from_one_that_is_not_there(tmp_path: Path, models: dict[str, bytes]) -> None:
    assert refusal(saved(tmp_path / "m", models["catboost"]), memory_bytes=300 << 20) in {"memory", "crashed"}
