"""Parts from which nothing can be learned are refused when they are cut; parts that tell little are warned of."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.tabular import limits, parts, training
from engine.tabular.sources import TableLimits
from engine.tabular.splitting import SplitPlan
from tests.engine.tabular.samples import CLASSIFICATION, codes, cut, frames, parquet
from tests.engine.tabular.tables import ALL

ROWS = 100
"""By time: 70 train, 15 validation, 15 test."""
DAY = pl.int_range(ROWS)


def by_time(folder: Path, task: Any = "regression", **columns: Any) -> tuple[Path, SplitPlan]:
    """A table in the order of its days, and its plan."""
    table = pl.select(day=DAY, x=DAY * 7 % 23, z=DAY * 5 % 19, y=DAY * 11 % 31).with_columns(**columns)
    return parquet(folder, table), SplitPlan("y", task, "time", time_column="day")


def told(folder: Path, task: Any = "regression", **columns: Any) -> list[tuple[str, str | None]]:
    prepared, _ = cut(folder, *by_time(folder, task, **columns))
    return [(one.code, one.column) for one in prepared.warnings]


LATE = pl.when(DAY < 70)
CLASSES = pl.when(DAY % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b"))


def test_parts_as_they_should_be_are_not_warned_of(tmp_path: Path) -> None:
    assert told(tmp_path) == []
    assert told(tmp_path, "classification", y=CLASSES) == []


@pytest.mark.parametrize(
    ("task", "columns", "code"),
    [
        ("regression", {"y": LATE.then(4).otherwise(DAY)}, "constant_target"),
        ("classification", {"y": LATE.then(pl.lit("a")).otherwise(CLASSES)}, "constant_target"),
        ("regression", {"x": LATE.then(4).otherwise(DAY), "z": LATE.then(None).otherwise(DAY)}, "constant_in_train"),
        ("classification", {"y": pl.when(DAY.is_between(70, 80)).then(pl.lit("new")).otherwise(CLASSES)}, "unknown_class"),
        ("regression", {"y": pl.when(DAY % 2 == 0).then(1.7e308).otherwise(-1.7e308)}, "target_too_large"),
        ("regression", {"y": pl.when(DAY == 99).then(-1e151).otherwise(DAY)}, "target_too_large"),
    ],
    ids=["one number", "one class", "no feature varies", "a class of validation", "ends of the numbers", "one row of test"],
)
def test_a_train_part_that_teaches_nothing_is_refused(tmp_path: Path, task: Any, columns: dict[str, Any], code: str) -> None:
    assert code in codes(tmp_path, *by_time(tmp_path, task, **columns))


@pytest.mark.parametrize(
    ("task", "columns", "warning"),
    [
        ("regression", {"z": LATE.then(4).otherwise(DAY)}, ("constant_in_train", "z")),
        ("regression", {"y": pl.when(DAY < 85).then(DAY).otherwise(4)}, ("constant_target_in_part", "y")),
        ("regression", {"y": DAY * 11 % 31 * 1e100}, ("target_beyond_single", "y")),
        ("classification", {"y": pl.when(DAY.is_between(70, 84)).then(pl.lit("a")).otherwise(CLASSES)}, ("constant_target_in_part", "y")),
        ("classification", {"y": pl.when(DAY > 90).then(pl.lit("new")).otherwise(CLASSES)}, ("unknown_class", "y")),
        ("classification", {"y": pl.when(DAY.is_in([3, 99])).then(pl.lit("c")).otherwise(CLASSES)}, ("rare_in_train", "y")),
    ],
    ids=["a feature", "test of one number", "large numbers", "validation of one class", "a class of test", "a rare class"],
)
def test_parts_that_tell_little_are_warned_of(tmp_path: Path, task: Any, columns: dict[str, Any], warning: tuple[str, str]) -> None:
    assert told(tmp_path, task, **columns) == [warning]


def test_a_feature_that_never_varies_is_told_once(tmp_path: Path) -> None:
    assert told(tmp_path, z=pl.lit(1)) == [("constant_feature", "z")]


def test_what_varies_only_in_a_later_batch_varies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.tabular.sources.batch_rows", lambda columns: 10)

    assert told(tmp_path, z=pl.when(DAY < 65).then(4).otherwise(DAY)) == []


@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=lambda value: value if isinstance(value, str) else "")
def test_whatever_is_ready_can_be_learned_from(tmp_path: Path, algorithm: str, params: dict[str, Any]) -> None:
    """Classes of two rows, of which some have one in train, in a table at the limits."""
    name, few = "n" * limits.MAX_NAME, 40
    rows = "".join(f"{number * 7 % 23},{number % 3},class {number % few}\n" for number in range(2 * few))
    _, files = cut(tmp_path, f"{name},x,y\n{rows}", CLASSIFICATION)
    found = frames(files)

    made = training.train(
        train=found["train"], validation=found["validation"], target="y", features=[name, "x"], task="classification",
        algorithm=algorithm, params=params, metric="log_loss",
    )  # fmt: skip

    assert set(found["train"]["y"].value_counts()["count"]) > {1}
    assert len(made.model.labels) == few


def test_the_largest_target_that_is_ready_can_be_measured(tmp_path: Path) -> None:
    found = frames(cut(tmp_path, *by_time(tmp_path, y=(DAY * 11 % 31 - 15) / 15 * parts.MOST))[1])

    made = training.train(
        train=found["train"], validation=found["validation"], target="y", features=["x", "z"], task="regression",
        algorithm="lightgbm", params={"n_estimators": 2}, metric="rmse",
    )  # fmt: skip

    assert 0 < made.value < parts.MOST


def test_reading_allows_what_training_does() -> None:
    assert (TableLimits().max_features, TableLimits().max_classes) == (limits.MAX_FEATURES, limits.MAX_CLASSES)
