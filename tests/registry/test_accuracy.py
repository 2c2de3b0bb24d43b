"""The daily validation: which days are scored, by which forecasts, and what is written."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.db import transaction

from mlops.tenancy.roles import Principal
from mlops.upkeep import apply_retention
from registry.models import Actual, BacktestResult, ForecastAccuracy, ModelVersion, RegisteredModel
from registry.services import panels
from registry.services.accuracy import first_origin, validate_new_days
from registry.services.actuals import ActualRow, record_actuals
from registry.services.panels import series_key_of
from tests.experiments.chain import LAST_DAY, NOON, chain, do_each_work_once, give_data, make_chain_model, retrain

TRAINED = LAST_DAY - timedelta(days=16)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work is done once in the whole run."""
    do_each_work_once(monkeypatch)


@pytest.fixture
def champion(scope: Principal, tmp_path: Path) -> ModelVersion:
    """A champion that saw all but the last 16 days of its model's data."""
    run = retrain(make_chain_model(tmp_path, scope), scope, as_of=TRAINED)
    assert run.produced.status == "champion"
    return run.produced


def day(number: int) -> date:
    """The number-th day after training."""
    return TRAINED + timedelta(days=number)


def validate(version: ModelVersion, **options: Any) -> dict[str, Any]:
    return validate_new_days(**({"model": version.model, "at": NOON} | options))


def scores(version: ModelVersion) -> dict[tuple[date, str, str], tuple[float | None, ...]]:
    """Per day, column and segment: n, MAE, sum of absolute errors, coverage."""
    rows = ForecastAccuracy.objects.filter(version_ref=version)
    measures = ("n", "mae", "sum_abs_error", "coverage")
    return {(row.forecast_date, row.segment_column, row.segment): tuple(rounded(getattr(row, name)) for name in measures) for row in rows}


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 9)


@pytest.mark.django_db
def test_only_days_that_are_new_are_scored(champion: ModelVersion) -> None:
    answers = [validate(champion, through=day(number))["days"] for number in (3, 3, 2, 10)]

    days = sorted({when for when, _, _ in scores(champion)})
    assert answers == [3, 0, 0, 7]
    assert days == [day(number) for number in range(1, 11)]


@pytest.mark.django_db
@pytest.mark.parametrize("ends", [(3, 10, 16), (7, 8, 16), (1, 2, 14, 15, 16)])
def test_day_by_day_gives_the_same_scores_as_all_at_once(champion: ModelVersion, ends: tuple[int, ...]) -> None:
    with transaction.atomic():
        validate(champion)
        at_once = scores(champion)
        ForecastAccuracy.objects.all().delete()

    for end in ends:
        validate(champion, through=day(end))

    assert len(at_once) == 16 * (1 + 2 + 4)
    assert scores(champion) == at_once


@pytest.mark.django_db
def test_a_kept_day_that_has_lost_a_segment_is_scored_again(champion: ModelVersion) -> None:
    validate(champion)
    before = scores(champion)
    with transaction.atomic():
        ForecastAccuracy.objects.filter(version_ref=champion, forecast_date=day(9), segment_column="store", segment="S1").delete()

    answers = [validate(champion)["days"] for _ in range(2)]

    assert (answers, scores(champion)) == ([8, 0], before)


@pytest.mark.django_db
def test_a_day_older_than_the_retention_is_whole_without_its_segments(champion: ModelVersion) -> None:
    with transaction.atomic():
        RegisteredModel.objects.filter(pk=champion.model_id).update(retention_days=7)
    champion.model.refresh_from_db()
    validate(champion)
    removed = apply_retention(at=NOON)["accuracy by segment"]

    answer = validate(champion)["days"]

    assert (removed, answer) == (8 * (2 + 4), 0)


@pytest.mark.django_db
def test_truth_of_series_that_the_data_does_not_have_is_told_and_kept(champion: ModelVersion, scope: Principal) -> None:
    keys = dict.fromkeys(champion.dataset_version.mapping["keys"], "nowhere")
    record_actuals(model=champion.model, rows=[ActualRow(day=day(1), keys=keys, value=3.0)], by=scope, at=NOON)

    first, second = validate(champion, through=day(3)), validate(champion, through=day(3))

    assert [one["unknown_series"] for one in (first, second)] == [{"count": 1, "examples": [series_key_of(keys)]}] * 2
    assert (first["days"], Actual.objects.count()) == (3, 1)


@pytest.mark.django_db
def test_segments_add_up_to_the_whole(champion: ModelVersion) -> None:
    validate(champion)

    sums: dict[str, float] = {}
    for (_, column, _), (_, _, error, _) in scores(champion).items():
        sums[column] = sums.get(column, 0.0) + float(error or 0.0)
    assert sorted(sums) == ["department", "overall", "store"]
    assert sums["store"] == pytest.approx(sums["overall"])
    assert sums["department"] == pytest.approx(sums["overall"])


@pytest.mark.django_db
def test_scored_days_stand_in_the_backtest_results(champion: ModelVersion) -> None:
    validate(champion, through=day(5))

    rows = champion.backtest_results.filter(forecast_date__gt=TRAINED).order_by("forecast_date")
    assert [(row.forecast_date, round(row.mae or 0.0, 9)) for row in rows] == [
        (when, scores(champion)[when, "overall", "overall"][1]) for when in map(day, range(1, 6))
    ]


@pytest.mark.django_db
def test_the_days_of_a_backtest_stay_its_own(champion: ModelVersion, scope: Principal) -> None:
    retrain(champion.model, scope, as_of=day(12))

    validate(champion)

    run = champion.backtest_runs.get(window_end=day(12))
    rows = BacktestResult.objects.filter(run=run)
    assert rows.count() == 28
    assert sum(row.sum_abs_error for row in rows) / sum(row.n for row in rows) == pytest.approx(run.metrics["mae"])
    assert champion.backtest_results.filter(forecast_date__gt=day(12)).count() == 4


@pytest.mark.django_db
def test_truth_by_api_extends_the_data_and_is_scored(champion: ModelVersion, scope: Principal) -> None:
    validate(champion)
    record_actuals(model=champion.model, rows=actuals(LAST_DAY + timedelta(days=1)), by=scope, at=NOON)

    answer = validate(champion)

    assert (answer["days"], answer["through"]) == (1, "2026-03-01")
    assert scores(champion)[LAST_DAY + timedelta(days=1), "overall", "overall"][0] == 8


@pytest.mark.django_db
def test_truth_that_comes_late_is_scored_again(champion: ModelVersion, scope: Principal) -> None:
    validate(champion)
    before = scores(champion)
    record_actuals(model=champion.model, rows=actuals(day(10), value=500.0), by=scope, at=NOON + timedelta(hours=1))

    answer = validate(champion, at=NOON + timedelta(hours=2))

    after = scores(champion)
    changed = {
        when for (when, _, _), row in after.items() if row[2] != pytest.approx(before[when, "overall", "overall"][2]) and row[2] > 3000
    }
    assert answer["days"] == 7
    assert changed == {day(10)}
    assert validate(champion, at=NOON + timedelta(hours=3))["days"] == 0


def actuals(when: date, *, value: float = 5.0) -> list[ActualRow]:
    series = chain().select("store", "item").unique().rows(named=True)
    return [ActualRow(day=when, keys=keys, value=value) for keys in series]


def chain_with_more_in(store: str) -> pl.DataFrame:
    """The chain, with 100 more sold of each item in this store on the tenth day after training."""
    there = (pl.col("date") == day(10)) & (pl.col("store") == store)
    return chain().with_columns(pl.col("units_sold") + 100 * there)


@pytest.mark.django_db
@pytest.mark.parametrize("whole_day", [False, True])
def test_a_file_that_becomes_complete_later_is_scored_again(scope: Principal, tmp_path: Path, whole_day: bool) -> None:
    missing = (pl.col("date") == day(10)) & (pl.lit(whole_day) | (pl.col("store") == "S1"))
    model = make_chain_model(tmp_path, scope, frame=chain().filter(~missing))
    champion = retrain(model, scope, as_of=TRAINED).produced
    validate(champion, model=model)
    half = on_day_10(champion)
    give_data(model, tmp_path, scope, chain())

    answers = [validate(champion, model=model)["days"] for _ in range(2)]

    whole = on_day_10(champion)
    assert answers == [7, 0]
    assert not half if whole_day else (half["S1"].sum_actual, half["S2"].sum_actual) == (0.0, whole["S2"].sum_actual)
    assert whole["S1"].sum_actual > 0


@pytest.mark.django_db
def test_a_file_that_is_corrected_is_scored_again_though_its_sums_stay(champion: ModelVersion, scope: Principal, tmp_path: Path) -> None:
    model, sums = champion.model, []
    answers = [validate(champion)["days"]]

    for frame in (chain_with_more_in("S1"), chain_with_more_in("S2"), chain_with_more_in("S2")):
        give_data(model, tmp_path, scope, frame)
        answers.append(validate(champion, model=model)["days"])
        sums.append({name: row.sum_actual for name, row in on_day_10(champion).items()})

    assert answers == [16, 7, 7, 0]
    assert sums[0]["overall"] == sums[1]["overall"]
    assert sums[0]["S1"] - sums[1]["S1"] == sums[1]["S2"] - sums[0]["S2"] == 400


def on_day_10(version: ModelVersion) -> dict[str, ForecastAccuracy]:
    return {row.segment: row for row in ForecastAccuracy.objects.filter(version_ref=version, forecast_date=day(10))}


@pytest.mark.django_db
def test_a_file_that_only_brings_more_days_has_nothing_scored_again(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope, frame=chain().filter(pl.col("date") <= day(9)))
    champion = retrain(model, scope, as_of=TRAINED).produced
    validate(champion, model=model)
    give_data(model, tmp_path, scope, chain())

    assert validate(champion, model=model)["days"] == 7


@pytest.mark.django_db
def test_days_on_which_nothing_is_known_are_passed_over(champion: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = pl.col("date").is_in([day(1), day(2), day(5), day(16)])
    real = panels.panel_of

    def partly_unknown(data: Any) -> Any:
        panel = real(data)
        return type(panel)(
            panel.frame.with_columns(target=pl.when(~unknown).then("target")), panel.series, panel.keys, panel.segments, panel.known
        )

    monkeypatch.setattr(panels, "panel_of", partly_unknown)

    answers = [validate(champion, through=day(number)).get("days") for number in (2, 5, 16, 16)]

    assert answers == [0, 2, 10, 0]
    assert {when for when, _, _ in scores(champion)} == {day(number) for number in range(1, 17)} - {day(1), day(2), day(5), day(16)}


MAPPING: dict[str, Any] = {
    "shape": "long",
    "date": "date",
    "target": "units_sold",
    "keys": ["store", "item"],
    "segments": ["store", "department"],
    "attributes": ["department"],
    "missing_days": "unknown",
}


def chain_moving_to(store: str) -> pl.DataFrame:
    """The chain, all of whose stores close after the ninth day after training, while another one opens."""
    moved = chain().filter((pl.col("store") == "S1") & (pl.col("date") > day(9))).with_columns(store=pl.lit(store))
    return pl.concat([chain().filter(pl.col("date") <= day(9)), moved])


@pytest.mark.django_db
def test_days_that_no_model_can_forecast_are_looked_at_once(scope: Principal, tmp_path: Path) -> None:
    """A series that began after an origin has no forecast from it: the new store's first are those of the origin on day 14."""
    champion = retrain(make_chain_model(tmp_path, scope, frame=chain_moving_to("S9"), mapping=MAPPING), scope, as_of=TRAINED).produced

    answers = [validate(champion) for _ in range(2)]

    nothing = {when: row for (when, _, _), row in scores(champion).items() if not row[0]}
    assert [(one["days"], one.get("without_forecast")) for one in answers] == [(11, 5), (0, None)]
    assert nothing == dict.fromkeys(map(day, range(10, 15)), (0, None, 0.0, None))


@pytest.mark.django_db
def test_days_that_no_model_can_forecast_are_looked_at_again_when_their_truth_changes(scope: Principal, tmp_path: Path) -> None:
    frame = chain_moving_to("S9")
    champion = retrain(make_chain_model(tmp_path, scope, frame=frame, mapping=MAPPING), scope, as_of=TRAINED).produced
    validate(champion)
    corrected = frame.with_columns(units_sold=pl.when(pl.col("date") == day(12)).then(77).otherwise("units_sold"))
    give_data(champion.model, tmp_path, scope, corrected, mapping=MAPPING)

    answers = [validate(champion) for _ in range(2)]

    assert [(one["days"], one.get("without_forecast")) for one in answers] == [(2, 3), (0, None)]


@pytest.mark.django_db
def test_a_day_that_loses_its_series_keeps_no_score_of_them(champion: ModelVersion, scope: Principal, tmp_path: Path) -> None:
    validate(champion)
    give_data(champion.model, tmp_path, scope, chain_moving_to("S9"), mapping=MAPPING)

    validate(champion)

    assert [(row.segment, row.n) for row in on_day_10(champion).values()] == [("overall", 0)]
    assert champion.backtest_results.get(forecast_date=day(10)).n == 0


@pytest.mark.django_db
def test_a_model_without_a_champion_that_predicts_has_nothing_to_validate(scope: Principal, tmp_path: Path) -> None:
    model: RegisteredModel = make_chain_model(tmp_path, scope)

    assert validate_new_days(model=model, at=NOON)["said"] == "There is no champion that predicts here."


@pytest.mark.parametrize(("horizon", "step"), [(1, 1), (3, 3), (7, 7), (14, 7), (10, 7)])
def test_a_day_is_forecast_from_every_origin_that_reaches_it(horizon: int, step: int) -> None:
    origins = [TRAINED + timedelta(days=step * number) for number in range(80)]

    found = [first_origin(day(number), trained_through=TRAINED, horizon=horizon, step=step) for number in range(1, 60)]

    assert found == [next(origin for origin in origins if origin + timedelta(days=horizon) >= day(number)) for number in range(1, 60)]


@pytest.mark.django_db
@pytest.mark.parametrize("horizon", [3, 14])
def test_every_day_is_scored_whatever_the_horizon(scope: Principal, tmp_path: Path, horizon: int) -> None:
    model = make_chain_model(tmp_path, scope, policy={"horizon": horizon})
    retrain(model, scope, as_of=TRAINED)

    answer = validate_new_days(model=model, at=NOON)

    assert answer["days"] == 16
