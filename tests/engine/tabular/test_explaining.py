"""Contributions add up to the raw prediction, for every algorithm and task, and say how they were made."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.tabular import explaining
from engine.tabular.algorithms.protocol import answers_of
from engine.tabular.artifact import dump, load
from engine.tabular.explaining import MAX_SAMPLE, explain, importance, thinned, with_importance
from tests.engine.tabular.tables import ALL, FEATURES, TARGETS, houses, trained

NAMES = [params.get("kind", name) for name, params in ALL]
METHODS = {"sklearn": "shap_tree"}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_contributions_add_up_to_the_raw_prediction(algorithm: str, params: dict[str, Any], case: str) -> None:
    model = trained(case, algorithm, params).model
    frame = houses(40, seed=8)

    method, explanations = explain(model, frame)

    sums = np.array([one.base_value + sum(one.values.values()) for one in explanations])
    raw = model.raw(frame)
    told = raw if raw.ndim == 1 else raw.max(axis=1)
    np.testing.assert_allclose(sums, told, rtol=1e-6, atol=1e-6 * np.abs(told).mean())
    assert [one.raw for one in explanations] == told.tolist()
    assert method == ("linear_exact" if params.get("kind") == "linear" else METHODS.get(algorithm, "shap_native"))
    assert all(tuple(one.values) == FEATURES for one in explanations)


@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_base_is_much_the_same_for_every_row(algorithm: str, params: dict[str, Any]) -> None:
    """What is left for it is the average and, in 32 bits, rounding: no contribution is hidden in it."""
    bases = [one.base_value for one in explain(trained("regression", algorithm, params).model, houses(40, seed=8))[1]]

    assert max(bases) - min(bases) < 1e-4 * abs(bases[0])


@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_explained_class_is_the_predicted_one_of_several_and_the_second_of_two(algorithm: str, params: dict[str, Any]) -> None:
    frame = houses(20, seed=8)
    several, two = (trained(case, algorithm, params).model for case in ("multiclass", "binary"))

    assert [one.label for one in explain(several, frame)[1]] == several.predict(frame).values
    assert {one.label for one in explain(two, frame)[1]} == {True}
    assert {one.label for one in explain(trained("regression", algorithm, params).model, frame)[1]} == {None}


def test_raw_and_link_give_the_probability() -> None:
    model, frame = trained("binary", "catboost").model, houses(5)

    told = explain(model, frame)[1][0]

    assert answers_of(np.array([told.raw]), "logit")[0, 1] == pytest.approx((model.predict(frame).probabilities or [])[0]["true"])
    assert told.link == "logit"


def test_linear_contributions_are_those_of_the_closed_form() -> None:
    """Of one number: slope × deviation from the training mean."""
    train = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 3.0, 5.0, 7.0]})
    model = trained(
        "regression", "sklearn", {"kind": "linear", "alpha": 0.0}, train=train, validation=train, target="y", features=["x"]
    ).model  # fmt: skip

    told = explain(model, pl.DataFrame({"x": [2.5]}))[1][0]

    assert told.base_value == pytest.approx(4.0)
    assert told.values["x"] == pytest.approx(2.0)


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_importance_is_a_share_per_feature_and_finds_what_matters(algorithm: str, params: dict[str, Any], case: str) -> None:
    model = trained(case, algorithm, params).model

    measured, native = importance(model, houses(60, seed=8)), importance(model)

    for told in (measured, native):
        assert sorted(name for name, _ in told.values) == sorted(FEATURES)
        shares = [share for _, share in told.values]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1.0)
        assert {"town", "size"} & {name for name, _ in told.values[:2]}
    assert native.method == "native"
    assert measured.method != "native"


@pytest.mark.parametrize("deciding", ["town", "garden", "sold_at"])
@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_contributions_are_those_of_the_feature_that_decides(algorithm: str, params: dict[str, Any], deciding: str) -> None:
    """Libraries and encodings put columns in orders of their own."""
    value = {"town": (pl.col("town") == "Ulm"), "garden": pl.col("garden"), "sold_at": pl.col("sold_at").dt.epoch("d")}[deciding]
    parts = {
        part: houses(400, seed=seed).with_columns(price=value.cast(pl.Float64).fill_null(0.0))
        for seed, part in enumerate(("train", "validation"))
    }

    model = trained("regression", algorithm, params, **parts).model

    for told in (importance(model, parts["validation"]), importance(model)):
        assert told.values[0][0] == deciding
        assert told.values[0][1] > 0.5


def test_importance_measured_in_training_is_remembered_and_told_without_data() -> None:
    model = with_importance(trained("regression").model, houses(60))

    told = importance(load(dump(model)))

    assert told.method == "shap_native"
    assert told == importance(model, houses(60))


def test_feature_that_is_not_used_contributes_nothing() -> None:
    flat = {part: houses(120, seed=seed).with_columns(floor=pl.lit(2.0)) for seed, part in enumerate(("train", "validation"))}
    model = trained("regression", features=["size", "floor", "rooms"], **flat).model

    told = explain(model, flat["train"].head(2))[1]

    assert [one.values["floor"] for one in told] == [0.0, 0.0]
    assert importance(model, flat["train"]).values[-1] == ("floor", 0.0)


def test_large_frames_are_thinned_evenly() -> None:
    thin = thinned(pl.DataFrame({"n": range(5_000)}))

    assert thin.height == MAX_SAMPLE
    assert (thin["n"][0], thin["n"][-1]) == (0, 4_999)
    assert int(thin["n"].diff().drop_nulls().max() or 0) <= 6  # type: ignore[arg-type]  # whole numbers


def test_no_rows_need_no_explanation() -> None:
    assert explain(trained("regression").model, houses(3).clear()) == ("", [])


@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_the_steps_are_those_of_the_trees(algorithm: str, params: dict[str, Any]) -> None:
    """Of one tree of one split: two leaves, one deep."""
    stumps: dict[str, dict[str, Any]] = {
        "catboost": {"iterations": 3, "depth": 1, "early_stopping_rounds": 0},
        "xgboost": {"n_estimators": 3, "max_depth": 1, "early_stopping_rounds": 0},
        "lightgbm": {"n_estimators": 3, "num_leaves": 2, "early_stopping_rounds": 0},
        "hist_gradient_boosting": {"kind": "hist_gradient_boosting", "max_iter": 3, "max_leaf_nodes": 2, "early_stopping_rounds": 0},
        "random_forest": {"kind": "random_forest", "n_estimators": 3, "max_depth": 1},
    }
    kind = params.get("kind", algorithm)

    fitted = trained("regression", algorithm, stumps.get(kind, params)).model.fitted

    assert (fitted.trees, fitted.steps) == ((0, 0) if kind == "linear" else (3, 3 * 2))


@pytest.mark.parametrize(("algorithm", "params"), ALL[:-1], ids=NAMES[:-1])
def test_steps_grow_with_depth_and_count_all_classes(algorithm: str, params: dict[str, Any]) -> None:
    one, three = (trained(case, algorithm, params).model.fitted for case in ("regression", "multiclass"))

    assert one.steps > 20 * one.trees
    assert three.steps > 0
    assert load(dump(trained("regression", algorithm, params).model)).fitted.steps == one.steps


def test_importance_measured_in_training_is_thinned_for_large_trees_and_native_for_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained("regression").model
    thin = importance(model, thinned(houses(60), 15)).values

    monkeypatch.setattr(explaining, "STEPS_IN_TRAINING", 15 * model.fitted.steps)
    assert with_importance(model, houses(60)).importances == thin

    monkeypatch.setattr(explaining, "STEPS_IN_TRAINING", 9 * model.fitted.steps)
    assert with_importance(model, houses(60)).importance_method == "native"
    assert with_importance(model, houses(5)).importance_method == "shap_native"
