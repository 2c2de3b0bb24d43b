"""The census income data: missing values, categories, a known split. Each booster as it comes reaches an area of 0.92."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.tabular.explaining import explain, importance
from engine.tabular.training import Trained, measure, train
from tests.engine.frames.samples import shared_data

ROWS = 12_000


@pytest.fixture(scope="module")
def adult() -> dict[str, pl.DataFrame]:
    """A part of the official training file, cut in two, and the whole official test file."""
    folder: Path = shared_data()
    rows = pl.read_csv(folder / "adult_train.csv.gz").sample(ROWS, seed=0, shuffle=True)
    return {"train": rows[: ROWS - 2_000], "validation": rows[ROWS - 2_000 :], "test": pl.read_csv(folder / "adult_test.csv.gz")}


def fitted(adult: dict[str, pl.DataFrame], algorithm: str, **params: Any) -> Trained:
    features = [name for name in adult["train"].columns if name != "income"]
    return train(
        train=adult["train"],
        validation=adult["validation"],
        target="income",
        features=features,
        task="classification",
        algorithm=algorithm,
        params=params,
        metric="roc_auc",
    )


@pytest.mark.parametrize(
    ("algorithm", "params"), [("catboost", {"learning_rate": 0.15, "iterations": 300}), ("xgboost", {}), ("lightgbm", {})]
)
def test_each_booster_reaches_an_area_of_092_on_the_official_test_file(
    adult: dict[str, pl.DataFrame], algorithm: str, params: dict[str, Any]
) -> None:
    result = fitted(adult, algorithm, **params)

    assert measure(result.model, adult["test"])["roc_auc"] >= 0.92


def test_explanations_hold_on_real_rows_and_name_what_is_known_to_matter(adult: dict[str, pl.DataFrame]) -> None:
    model = fitted(adult, "lightgbm", n_estimators=100, learning_rate=0.1).model
    rows = adult["test"].head(50)

    told = explain(model, rows)[1]

    raw = model.raw(rows)
    assert [one.base_value + sum(one.values.values()) for one in told] == pytest.approx(raw.tolist(), rel=1e-6, abs=1e-9)
    first = {name for name, _ in importance(model, adult["validation"]).values[:5]}
    assert {"capital_gain", "age"} <= first
