"""Training as a whole: every algorithm and task, what is refused, what is told, and that it can be repeated."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.tabular.algorithms import ALGORITHMS
from engine.tabular.postprocessing import PostprocessingOptions, Values
from engine.tabular.problems import PredictError
from engine.tabular.training import TrainingError, measure
from tests.engine.tabular.tables import ALL, FEATURES, KINDS, TARGETS, houses, trained

REPORTING = [pair for pair in ALL if pair[1].get("kind") != "linear"]
NAMES = [params.get("kind", name) for name, params in ALL]
ROUNDS = {"catboost": "iterations", "xgboost": "n_estimators", "lightgbm": "n_estimators"}


class Stopped(Exception):
    """What a receiver raises to end a trial."""


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_every_algorithm_learns_every_task(algorithm: str, params: dict[str, Any], case: str) -> None:
    result = trained(case, algorithm, params)

    good = {"regression": ("r2", 0.6), "binary": ("roc_auc", 0.8), "multiclass": ("accuracy", 0.55)}[case]
    assert result.metrics[good[0]] > good[1]
    assert result.value == result.metrics[TARGETS[case][2]]
    told = result.model.predict(houses(5, seed=3))
    assert len(told.values) == 5
    if told.probabilities is not None:
        np.testing.assert_allclose([sum(row.values()) for row in told.probabilities], 1.0)
        assert type(told.values[0]) is (bool if case == "binary" else str)


@pytest.mark.parametrize("case", ["regression", "multiclass"])
@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_same_seed_gives_the_same_model(algorithm: str, params: dict[str, Any], case: str) -> None:
    sampled = {"xgboost": {"subsample": 0.7}, "lightgbm": {"subsample": 0.7, "subsample_freq": 1}}.get(algorithm, {})
    frame = houses(50, seed=4)

    first, second = (trained(case, algorithm, {**params, **sampled}, seed=5).model.raw(frame) for _ in range(2))

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("algorithm", "params"), REPORTING, ids=[params.get("kind", name) for name, params in REPORTING])
def test_reports_are_the_metric_after_so_many_iterations(algorithm: str, params: dict[str, Any]) -> None:
    told: list[tuple[int, float]] = []

    result = trained(
        "binary", algorithm, {**params, **_no_stopping(algorithm, params)}, report=lambda step, value: told.append((step, value))
    )

    assert [step for step, _ in told] == list(range(1, 21))
    assert told[-1][1] == pytest.approx(result.value, abs=1e-6)


@pytest.mark.parametrize("raised", [Stopped("enough"), ValueError("mine"), KeyboardInterrupt()], ids=["own", "value", "interrupt"])
@pytest.mark.parametrize(("algorithm", "params"), REPORTING, ids=[params.get("kind", name) for name, params in REPORTING])
def test_what_a_report_raises_comes_out_unchanged(algorithm: str, params: dict[str, Any], raised: BaseException) -> None:
    told: list[int] = []

    def report(step: int, _: float) -> None:
        told.append(step)
        if step >= 3:
            raise raised

    with pytest.raises(type(raised)) as caught:
        trained("regression", algorithm, params, report=report)

    assert caught.value is raised
    assert told == [1, 2, 3]


def test_many_rounds_are_reported_some_fifty_times() -> None:
    told: list[int] = []

    trained("regression", "lightgbm", {"n_estimators": 333, "early_stopping_rounds": 0}, report=lambda step, _: told.append(step))

    assert len(told) == 48
    assert told[-1] == 333


@pytest.mark.parametrize(("algorithm", "rounds"), [*ROUNDS.items(), ("sklearn", "max_iter")])
def test_early_stopping_keeps_the_best_iteration(algorithm: str, rounds: str) -> None:
    told: dict[int, float] = {}
    params = {rounds: 400, "learning_rate": 0.5, "early_stopping_rounds": 20}

    result = trained("multiclass", algorithm, params, report=told.__setitem__)

    assert result.best_iteration is not None
    assert result.best_iteration <= 400 - 20
    assert result.value <= min(told.values()) + 1e-6


@pytest.mark.parametrize("algorithm", [*ROUNDS, "sklearn"])
@pytest.mark.parametrize(("case", "metric"), [("binary", "f1"), ("multiclass", "roc_auc"), ("regression", "mape")])
def test_metric_that_the_library_lacks_is_reported_too(algorithm: str, case: str, metric: str) -> None:
    told: list[float] = []
    params = {ROUNDS.get(algorithm, "max_iter"): 10, "learning_rate": 0.3, "early_stopping_rounds": 0}

    result = trained(case, algorithm, params, metric=metric, report=lambda _, value: told.append(value))

    assert len(told) == 10
    assert told[-1] == pytest.approx(result.value, rel=1e-4)


@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("catboost", {"loss_function": "Poisson"}),
        ("lightgbm", {"objective": "poisson"}),
        ("xgboost", {"objective": "count:poisson"}),
    ],
)
def test_counts_are_learnt_on_a_logarithmic_scale(algorithm: str, params: dict[str, Any]) -> None:
    few = {ROUNDS[algorithm]: 40, "learning_rate": 0.3}
    reports: list[float] = []

    result = trained("regression", algorithm, {**few, **params}, report=lambda _, value: reports.append(value))

    assert result.metrics["r2"] > 0.4
    assert min(reports) == pytest.approx(result.value, rel=1e-4)
    told = result.model.predict(houses(5, seed=3))
    np.testing.assert_allclose(told.values, np.exp(told.raw))
    with pytest.raises(TrainingError, match="at least 0"):
        trained("regression", algorithm, {**few, **params}, train=houses().with_columns(price=pl.col("price") - 400))


def test_best_threshold_is_learnt_on_request() -> None:
    plain, tuned = (trained("binary", metric="f1", postprocessing=PostprocessingOptions(threshold=choice)) for choice in (0.5, "f1"))

    assert tuned.model.postprocessor.to_json()["threshold"] != 0.5
    assert tuned.value >= plain.value


def test_answers_are_clipped_scaled_and_rounded_on_request() -> None:
    options = PostprocessingOptions(clip=True, factor=0.001, decimals=3)

    result = trained("regression", "sklearn", KINDS["linear"], postprocessing=options)
    told = result.model.predict(houses(3).with_columns(size=pl.Series([1e6, -1e6, 100.0])))

    prices = houses(240)["price"]
    assert told.values[:2] == [round(float(prices.max() or 0) / 1000, 3), round(float(prices.min() or 0) / 1000, 3)]  # type: ignore[arg-type]
    assert result.metrics["mae"] < 20  # in the target's own unit


def test_answers_beyond_every_number_are_told() -> None:
    model = trained("regression", "sklearn", KINDS["linear"]).model
    huge = replace(model, postprocessor=Values(factor=1e307))

    told = huge.predict(houses(3))

    assert np.isfinite(told.values).all()
    assert told.notes[-1].startswith("3 answers are larger")
    assert len(model.predict(houses(3)).notes) == len(told.notes) - 1


def test_probabilities_and_measures_of_another_part_are_those_of_the_model() -> None:
    result = trained("binary")

    again = measure(result.model, houses(120, seed=1))

    assert again == pytest.approx(result.metrics)


def test_extra_columns_and_unseen_categories_are_told() -> None:
    model = trained("regression").model
    frame = houses(3).with_columns(town=pl.lit("Paris"), color=pl.lit("red"))

    told = model.predict(frame)

    assert told.notes == [
        "Columns that are no feature of this model were ignored: band, color, dear.",
        "town: 3 rows hold a category that training did not see.",
    ]
    assert told.values == model.predict(frame.select(sorted(FEATURES))).values


def test_missing_feature_and_wrong_type_are_named() -> None:
    model = trained("regression").model

    with pytest.raises(PredictError, match=r"size: The feature is missing.; town"):
        model.predict(houses(3).drop("size", "town"))
    with pytest.raises(PredictError, match="row 0, rooms: Must be a number, not 'abc'"):
        model.read([{**dict.fromkeys(FEATURES), "rooms": "abc"}])


@pytest.mark.parametrize("features", [["town"], ["garden"], ["sold_at"], ["town", "kind"], ["size"]], ids="-".join)
@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_features_of_one_kind_are_enough(algorithm: str, params: dict[str, Any], features: list[str]) -> None:
    parts = {
        part: houses(90, seed=seed).with_columns(kind=pl.when("garden").then(pl.lit("house")).otherwise(pl.lit("flat")))
        for seed, part in enumerate(("train", "validation"))
    }

    model = trained("binary", algorithm, params, features=features, **parts).model

    assert len(model.predict(parts["validation"]).values) == 90


def test_codes_of_categories_may_come_as_whole_numbers() -> None:
    parts = {
        part: houses(90, seed=seed).with_columns(town=pl.col("rooms").cast(pl.String)) for seed, part in enumerate(("train", "validation"))
    }
    model = trained("regression", features=["size", "town"], **parts).model
    frame = parts["validation"].select("size", "town")

    told = model.predict(frame.with_columns(pl.col("town").cast(pl.Float64)))

    assert told.values == model.predict(frame).values
    assert told.notes == []


def test_no_rows_get_no_answers() -> None:
    for case in TARGETS:
        assert trained(case, "lightgbm").model.predict(houses(3).clear()).values == []


def test_signature_tells_types_categories_and_ranges() -> None:
    features = {entry["name"]: entry for entry in trained("regression").model.signature["features"]}

    assert list(features) == list(FEATURES)
    assert [entry["dtype"] for entry in features.values()] == ["number", "integer", "category", "boolean", "datetime"]
    assert sorted(features["town"]["categories"]) == ["Bonn", "Jena", "Trier", "Ulm"]
    assert (features["rooms"]["low"], features["rooms"]["high"]) == (1.0, 6.0)


def test_whole_numbers_serve_as_classes() -> None:
    data = {
        part: houses(200, seed=seed).with_columns(stars=pl.col("rooms").clip(1, 3)) for seed, part in enumerate(("train", "validation"))
    }

    told = trained("multiclass", target="stars", features=["size", "rooms"], **data).model.predict(data["train"].head(4))

    assert set(told.values) <= {1, 2, 3}
    assert list((told.probabilities or [])[0]) == ["1", "2", "3"]


def _bad(change: Callable[[pl.DataFrame], pl.DataFrame], part: str = "train", case: str = "regression", **more: Any) -> dict[str, Any]:
    return {"case": case, part: change(houses(60)), **more}


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "constant target": (_bad(lambda frame: frame.with_columns(price=pl.lit(1.0))), "price", "nothing to learn"),
    "one class": (_bad(lambda frame: frame.filter("dear"), case="binary"), "dear", "one class"),
    "class that only validation has": (
        {"case": "multiclass", "validation": houses(20).with_columns(band=pl.lit("odd"))}, "band", "'odd', which training did not see",
    ),
    "class unknown to training": (
        _bad(lambda f: f.with_columns(band=pl.Series(["odd", *f["band"][1:]])), "validation", "multiclass"), "band", "'odd'",
    ),
    "one class to check": (_bad(lambda frame: frame.filter("dear"), "validation", "binary"), "metric", "both classes"),
    "missing target": (_bad(lambda f: f.with_columns(price=pl.Series([None, *f["price"][1:]]))), "price", "missing or not finite in 1"),
    "NaN target": (_bad(lambda f: f.with_columns(price=pl.Series([float("nan"), *f["price"][1:]]))), "price", "in 1 of 60"),
    "infinite target": (_bad(lambda f: f.with_columns(price=pl.Series([float("inf"), *f["price"][1:]]))), "price", "not finite"),
    "missing class": (
        _bad(lambda f: f.with_columns(band=pl.Series([None, *f["band"][1:]])), case="multiclass"), "band", "missing in 1",
    ),
    "text target of a regression": (_bad(lambda frame: frame, target="band"), "band", "must hold numbers"),
    "moment as a class": (_bad(lambda frame: frame, case="binary", target="sold_at", features=["size"]), "sold_at", "cannot be"),
    "too many classes": (_bad(lambda f: f, case="binary", train=houses(300), target="price"), "price", "Is it a regression"),
    "infinite feature": (_bad(lambda f: f.with_columns(size=pl.lit(float("inf")))), "size", "finite"),
    "infinite feature to check": (_bad(lambda f: f.with_columns(size=pl.lit(float("-inf"))), "validation"), "size", "validation part"),
    "one row": (_bad(lambda frame: frame.head(1)), "train", "at least 2 rows"),
    "no row to check": (_bad(lambda frame: frame.clear(), "validation"), "validation", "1 to check"),
    "all features missing": (
        _bad(lambda f: f.with_columns(size=pl.lit(None, dtype=pl.Float64)), features=["size"]), "features", "No feature varies",
    ),
    "10,000 columns": (
        _bad(lambda f: f.with_columns(pl.lit(1.0).alias(f"f{n}") for n in range(10_000)), features=[f"f{n}" for n in range(10_000)],
             validation=houses(5).with_columns(pl.lit(1.0).alias(f"f{n}") for n in range(10_000))), "features", "at most 2000",
    ),
    "name given twice": ({"features": ["size", "size"]}, "features", "twice"),
    "target among the features": ({"features": ["size", "price"]}, "features", "nor the target"),
    "no features": ({"features": []}, "features", "at least one"),
    "absent column": ({"features": ["size", "cellar"]}, "train", "'cellar'"),
    "foreign column type": (_bad(lambda f: f.with_columns(size=pl.lit([1, 2])), features=["size"]), "features", "no canonical table"),
    "unknown algorithm": ({"algorithm": "oracle"}, "algorithm", "catboost, xgboost, lightgbm, sklearn"),
    "unknown task": ({"task": "ranking"}, "task", "regression, classification"),
    "unknown metric": ({"metric": "auc"}, "metric", "there are rmse"),
    "unknown parameter": ({"params": {"n_jobs": 8}}, "n_jobs", "no parameter"),
    "list as a parameter": ({"params": {"max_depth": [3]}}, "max_depth", "finite number"),
    "infinite parameter": ({"params": {"learning_rate": float("inf")}}, "learning_rate", "finite number"),
    "endless target name": (_bad(lambda f: f.rename({"price": "p" * 201}), validation=houses().rename({"price": "p" * 201}),
                                 target="p" * 201), "target", "1 to 200"),
    "wrong rounds": ({"params": {"n_estimators": 1.5}}, "n_estimators", "whole number"),
    "wrong objective": ({"params": {"objective": "rank"}}, "objective", "poisson"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_on_is_refused_by_name(case: str) -> None:
    changes, field, message = BAD[case]

    with pytest.raises(TrainingError, match=message) as caught:
        trained(**changes)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("catboost", {"depth": -3}),
        ("xgboost", {"max_depth": "deep"}),
        ("lightgbm", {"num_leaves": -1}),
        ("sklearn", {"kind": "random_forest", "max_depth": -1}),
        ("sklearn", {"kind": "linear", "alpha": "much"}),
    ],
)
def test_parameters_a_library_refuses_are_a_training_error(algorithm: str, params: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match="The library refuses"):
        trained("regression", algorithm, params)


@pytest.mark.parametrize(
    ("case", "params", "field"),
    [
        ("regression", {"kind": "forest"}, "kind"),
        ("regression", {"kind": "linear", "C": 1.0}, "C"),
        ("binary", {"kind": "linear", "alpha": 1.0}, "alpha"),
        ("regression", {"kind": "random_forest", "learning_rate": 0.1}, "learning_rate"),
        ("regression", {"loss": "poisson"}, "loss"),
    ],
)
def test_parameters_of_another_kind_are_refused_by_name(case: str, params: dict[str, Any], field: str) -> None:
    with pytest.raises(TrainingError) as caught:
        trained(case, "sklearn", params)

    assert caught.value.field == field


def test_no_machine_learning_library_is_imported_with_the_modules() -> None:
    """A web process imports them all."""
    heavy = ("catboost", "xgboost", "lightgbm", "sklearn", "shap", "skops", "scipy", "pandas")
    code = "import engine.tabular.training, engine.tabular.artifact, engine.tabular.explaining, sys;"
    code += f"print([name for name in {heavy} if name in sys.modules])"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert told.strip() == "[]"
    assert list(ALGORITHMS) == ["catboost", "xgboost", "lightgbm", "sklearn"]


def _no_stopping(algorithm: str, params: dict[str, Any]) -> dict[str, int]:
    return {} if params.get("kind") == "random_forest" else {"early_stopping_rounds": 0}
