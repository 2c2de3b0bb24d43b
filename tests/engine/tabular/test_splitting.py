"""Which row goes where: exact shares, whole times, whole entities, and always the same."""

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.frames.problems import Findings, FrameError
from engine.tabular import keys
from engine.tabular.columns import PARTS
from engine.tabular.keys import LEFT_OUT, KeyCounts, entity_keys, rank_thresholds, row_keys, time_keys
from engine.tabular.splitting import PlanError, SplitPlan, class_quotas, quotas, split
from tests.engine.frames.samples import shared_data
from tests.engine.tabular.samples import CLASSIFICATION, REGRESSION, at, cut, frames, parquet, table

shares = st.tuples(st.integers(1, 98), st.integers(1, 98)).filter(lambda two: sum(two) < 100)


def people(rows: int = 1_000) -> pl.DataFrame:
    """Rows with a class, a shop and a day."""
    chance = np.random.default_rng(1)
    start = at("2024-01-01")
    return pl.DataFrame(
        {
            "x": chance.normal(size=rows),
            "y": chance.choice(["common", "rare", "single digits"], rows, p=[0.8, 0.19, 0.01]),
            "amount": chance.normal(size=rows),
            "shop": [f"shop {number}" for number in chance.integers(0, 60, rows)],
            "day": [start + timedelta(days=int(day)) for day in chance.integers(0, 90, rows)],
        }
    )


def plan(strategy: Any, **values: Any) -> SplitPlan:
    given = {"target": "amount", "task": "regression", "time_column": "day", "entity_column": "shop"} | values
    return SplitPlan(strategy=strategy, **given)


@settings(deadline=None)
@given(rows=st.integers(0, 5_000), two=shares)
def test_quotas_sum_to_the_rows_and_miss_no_share_by_a_row(rows: int, two: tuple[int, int]) -> None:
    fractions = (two[0] / 100, two[1] / 100, (100 - sum(two)) / 100)

    given_out = quotas(rows, fractions)

    assert sum(given_out) == rows
    assert all(abs(part - rows * fraction) < 1 + 1e-6 for part, fraction in zip(given_out, fractions, strict=True))


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 200), min_size=1, max_size=30), two=shares)
def test_every_class_trains_and_keeps_its_shares(counts: list[int], two: tuple[int, int]) -> None:
    fractions = (two[0] / 100, two[1] / 100, (100 - sum(two)) / 100)

    wanted = class_quotas(counts, fractions)

    for count, own in zip(counts, wanted, strict=True):
        assert sum(own) == count
        assert own[0] >= 1
        assert all(part >= 0 for part in own)
        assert all(abs(part - count * fraction) <= 2 for part, fraction in zip(own[1:], fractions[1:], strict=True))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), sizes=st.lists(st.integers(2, 400), min_size=1, max_size=4), two=shares)
def test_thresholds_give_exactly_the_quotas(seed: int, sizes: list[int], two: tuple[int, int]) -> None:
    fractions = (two[0] / 100, two[1] / 100, (100 - sum(two)) / 100)
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.uint16)
    codes = np.append(codes, LEFT_OUT)
    wanted = class_quotas(sizes, fractions)

    low, high = rank_thresholds(codes, wanted, seed)

    row = row_keys(0, len(codes), seed)[:-1]
    known = codes[:-1]
    found = [(int((row[known == one] < low[one]).sum()), int((row[known == one] < high[one]).sum())) for one in range(len(sizes))]
    assert found == [(train, train + validation) for train, validation, _ in wanted]


def test_keys_of_rows_are_all_different_and_change_with_the_seed() -> None:
    first, second = row_keys(0, 100_000, 1), row_keys(0, 100_000, 2)

    assert len(np.unique(first)) == 100_000
    assert (first != second).all()
    assert (row_keys(500, 10, 1) == first[500:510]).all()


@settings(deadline=None)
@example(whole=[0, 0], floats=[0.0, -0.0])
@given(st.lists(st.one_of(st.integers(-(2**62), 2**62)), min_size=2), st.lists(st.floats(allow_nan=False), min_size=2))
def test_keys_of_times_keep_their_order(whole: list[int], floats: list[float]) -> None:
    for values in (pl.Series(whole, dtype=pl.Int64), pl.Series(floats, dtype=pl.Float64)):
        found = time_keys(values)
        order = np.argsort(found, kind="stable")

        assert values.gather(order).is_sorted()
        assert len(np.unique(found)) == values.n_unique()


def test_an_entity_has_one_key_wherever_it_stands_and_whatever_its_type() -> None:
    texts = entity_keys(pl.Series(["a", None, "b", "a", None]), 3)
    numbers = entity_keys(pl.Series([7, None, -7, 7, None]), 3)

    for found in (texts, numbers):
        assert found[0] == found[3] != found[2]
        assert found[1] == found[4]


def test_a_random_split_is_stratified_to_the_row() -> None:
    parts = split(people(), SplitPlan("y", "classification"))

    assert {part: frame.height for part, frame in parts.items()} == {"train": 700, "validation": 150, "test": 150}
    found = {part: dict(frame["y"].value_counts().iter_rows()) for part, frame in parts.items()}
    for name, count in people()["y"].value_counts().iter_rows():
        ideal = {"train": count * 0.7, "validation": count * 0.15, "test": count * 0.15}
        assert all(abs(found[part][name] - share) <= 1 for part, share in ideal.items())


def test_equal_times_never_straddle_parts() -> None:
    parts = split(people(), plan("time"))

    days = {part: frame["day"] for part, frame in parts.items()}
    assert days["train"].max() < days["validation"].min() <= days["validation"].max() < days["test"].min()
    assert sum(frame.height for frame in parts.values()) == 1_000


def test_an_entity_is_in_exactly_one_part() -> None:
    parts = split(people(), plan("entity"))

    shops = [set(frame["shop"]) for frame in parts.values()]
    assert sum(map(len, shops)) == len(set.union(*shops)) == 60
    assert abs(parts["train"].height - 700) < 40


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(0, 6), min_size=3, max_size=80).filter(lambda found: len(set(found)) >= 3),
    strategy=st.sampled_from(["time", "entity"]),
    two=shares,
)
def test_parts_never_share_a_time_or_an_entity_and_none_is_empty(times: list[int], strategy: str, two: tuple[int, int]) -> None:
    frame = pl.DataFrame({"amount": [float(number) for number in range(len(times))], "x": times, "day": times, "shop": times})
    fractions = (two[0] / 100, two[1] / 100, (100 - sum(two)) / 100)

    parts = split(frame, plan(strategy, fractions=fractions))

    values = [set(part["day"]) for part in parts.values()]
    assert all(values)
    assert sum(map(len, values)) == len(set(times))


def test_merged_keys_still_never_divide_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 50)
    frame = people(5_000).with_columns(day=pl.Series(np.random.default_rng(2).integers(0, 1_000, 5_000)))

    parts = split(frame, plan("time"))

    assert parts["train"]["day"].max() < parts["validation"]["day"].min()  # type: ignore[operator]  # numbers
    assert abs(parts["train"].height - 3_500) < 150


def test_counts_of_keys_say_when_they_were_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 8)
    counts = KeyCounts()
    for start in range(0, 100, 10):
        counts.add(np.arange(start, start + 10, dtype=np.uint64))
    counts.settle()

    assert not counts.exact
    assert (counts.counts.sum(), counts.keys[-1]) == (100, 99)


def test_rows_without_target_or_time_are_left_out_and_said() -> None:
    frame = people(100).with_columns(
        amount=pl.when(pl.int_range(100) < 10).then(None).otherwise("amount"),
        day=pl.when(pl.int_range(100) >= 95).then(None).otherwise("day"),
    )
    findings = Findings()

    parts = split(frame, plan("time"), findings=findings)

    assert sum(part.height for part in parts.values()) == 85
    assert [(one.code, one.rows) for one in findings.problems] == [("no_target", 10), ("no_time", 5)]


def test_rows_without_an_entity_stay_together() -> None:
    frame = people(300).with_columns(shop=pl.when(pl.int_range(300) % 10 == 0).then(None).otherwise("shop"))
    findings = Findings()

    parts = split(frame, plan("entity"), findings=findings)

    assert sorted(part["shop"].null_count() for part in parts.values()) == [0, 0, 30]
    assert "no_entity" in [one.code for one in findings.problems]


@pytest.mark.parametrize(
    ("frame", "wanted", "code"),
    [
        (people(50).with_columns(shop=pl.lit("one")), plan("entity"), "too_few_entities"),
        (people(50).with_columns(day=pl.lit(1)), plan("time"), "too_few_times"),
        (people(2), plan("random"), "too_few_rows"),
        (people(50).with_columns(amount=pl.lit(1.0)), plan("random"), "constant_target"),
        (people(4), plan("random", fractions=(0.98, 0.01, 0.01)), "empty_part"),
    ],
)
def test_rows_that_make_no_three_parts_are_refused(frame: pl.DataFrame, wanted: SplitPlan, code: str) -> None:
    with pytest.raises(FrameError) as caught:
        split(frame, wanted)

    assert code in caught.value.codes


def test_an_empty_part_is_named() -> None:
    with pytest.raises(FrameError, match="validation would be empty"):
        split(people(50), plan("random", fractions=(0.9, 0.001, 0.099)))


def test_entities_of_very_different_size_are_warned_of() -> None:
    findings = Findings()
    frame = people(300).with_columns(shop=pl.when(pl.int_range(300) < 200).then(pl.lit("big")).otherwise("shop"))

    split(frame, plan("entity", fractions=(0.4, 0.3, 0.3)), findings=findings)

    assert [one.code for one in findings.problems] == ["uneven_parts"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"fractions": (0.5, 0.3, 0.3)}, "fractions"),
        ({"fractions": (float("nan"), 0.5, 0.5)}, "fractions"),
        ({"fractions": (0.5, 0.5, 0.0)}, "fractions.test"),
        ({"fractions": (1.5, -0.25, -0.25)}, "fractions.train"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"strategy": "time", "time_column": None}, "time_column"),
        ({"strategy": "entity", "entity_column": None}, "entity_column"),
        ({"time_column": "amount"}, "target"),
        ({"features": ("x", "x")}, "features"),
        ({"features": ("amount",)}, "features"),
    ],
)
def test_a_plan_that_cannot_be_names_its_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan(**{"strategy": "random"} | values)

    assert caught.value.field == field


def test_fractions_may_miss_one_by_rounding() -> None:
    assert plan("random", fractions=(0.1 + 0.2, 0.3, 0.4)).fractions[0] == 0.1 + 0.2


@pytest.mark.parametrize("strategy", ["random", "time", "entity"])
def test_a_plan_survives_json(strategy: str) -> None:
    made = plan(strategy, features=("x",), seed=2**62)

    assert SplitPlan.from_json(made.to_json()) == made


@pytest.mark.parametrize("strategy", ["random", "time", "entity"])
def test_the_same_file_and_seed_give_the_same_bytes(tmp_path: Path, strategy: str) -> None:
    path = parquet(tmp_path, people())

    first, again = (cut(tmp_path, path, plan(strategy, seed=5))[1] for _ in range(2))

    assert first == again


def test_another_seed_gives_another_split(tmp_path: Path) -> None:
    path = parquet(tmp_path, people())

    digests = {hashlib.sha256(cut(tmp_path, path, plan("random", seed=seed))[1]["test"]).hexdigest() for seed in range(3)}

    assert len(digests) == 3


def test_a_seed_gives_the_split_it_always_gave(tmp_path: Path) -> None:
    _, parts = cut(tmp_path, table(20), REGRESSION)

    rows = {part: frame["y"].to_list() for part, frame in frames(parts).items()}

    # Changing these splits everybody's data anew.
    assert rows["validation"] + rows["test"] == [4, 10, 23, 11, 22, 8]


def test_splitting_in_memory_is_splitting_a_file(tmp_path: Path) -> None:
    frame = people()

    _, parts = cut(tmp_path, parquet(tmp_path, frame), plan("random", seed=9))

    in_memory = split(frame, plan("random", seed=9))
    assert all(frames(parts)[part].equals(in_memory[part].select(frames(parts)[part].columns)) for part in PARTS)


def test_real_categories_are_split_to_the_row(tmp_path: Path) -> None:
    prepared, parts = cut(tmp_path, shared_data() / "adult_train.csv.gz", SplitPlan("income", "classification", seed=1))

    assert prepared.parts == {"train": 22793, "validation": 4884, "test": 4884}
    rich = [frame["income"].eq(">50K").mean() for frame in frames(parts).values()]
    assert max(rich) - min(rich) < 0.0003  # type: ignore[operator,type-var]  # shares


def test_real_days_are_split_in_order(tmp_path: Path) -> None:
    prepared, parts = cut(tmp_path, shared_data() / "bike_sharing_daily.csv", SplitPlan("cnt", "regression", "time", time_column="dteday"))

    assert prepared.boundaries["train"]["last"] < prepared.boundaries["validation"]["first"]
    assert "instant" in [warning.column for warning in prepared.warnings if warning.code == "id_like"]
    assert {frame.schema["dteday"] for frame in frames(parts).values()} == {pl.Datetime("us")}


def test_classes_of_two_all_train(tmp_path: Path) -> None:
    rows = "".join(f"{number},{'abcdefghij'[number % 10]}\n" for number in range(20))

    _, parts = cut(tmp_path, "x,y\n" + rows, CLASSIFICATION)

    found = frames(parts)
    assert set(found["train"]["y"]) == set("abcdefghij")
    assert found["validation"].height + found["test"].height > 0


def test_whole_numbers_on_both_sides_of_zero_are_as_good_a_time_as_any() -> None:
    findings = Findings()
    frame = people(300).with_columns(when=pl.int_range(-290, 10))

    split(frame, plan("time", time_column="when"), findings=findings)

    assert [one.code for one in findings.problems if one.code == "uneven_parts"] == []
