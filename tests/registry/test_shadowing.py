"""Shadow: pairs on the same inputs, truth that joins them, sums that stay, and what the paired test says."""

import math
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from engine.forecasting.artifact import dump
from engine.forecasting.naive import SeasonalNaiveRecipe
from engine.significance import minimum_detectable_effect
from mlops.outbox.models import Message
from mlops.outbox.services import handle
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from registry.models import Actual, BacktestResult, BacktestSegment, ModelVersion, RegisteredModel, ShadowDay, ShadowPrediction
from registry.queries.health import health_of
from registry.queries.shadow import shadow_of
from registry.queries.shadow_plan import shadow_plan
from registry.rules.recipes import build
from registry.services import moves, shadowing
from registry.services.actuals import ActualRow, record_actuals
from registry.services.panels import model_panel, newest_data
from registry.services.promotion import promote
from registry.services.registration import register_version
from tests.experiments.chain import GOOD, LAST_DAY, NOON, chain, do_each_work_once, give_data, make_chain_model
from tests.registry.factories import make_arena, make_champion, make_model, make_verdict, make_version

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
TRAINED = LAST_DAY - timedelta(days=28)
SERIES = 8


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work is done once in the whole run."""
    do_each_work_once(monkeypatch)


def forecasting(model: RegisteredModel, recipe: Any, folder: Path, by: Principal, *, through: date = TRAINED) -> ModelVersion:
    """A version whose artifact was trained up to that day."""
    panel = model_panel(model, newest_data(model))
    path = folder / "forecaster.json"
    path.write_bytes(dump(recipe.fit(panel, through=through)))
    return register_version(model=model, by=by, at=NOON, artifact=path, trained_through=through)


@pytest.fixture
def pair(scope: Principal, tmp_path: Path) -> tuple[ModelVersion, ModelVersion]:
    """A seasonal naive champion and a small trained version in shadow, both four weeks old."""
    model = make_chain_model(tmp_path, scope, frame=chain(days=200))
    champion = forecasting(model, SeasonalNaiveRecipe(), tmp_path, scope)
    promote(version_id=champion.pk, by=scope, at=NOON)
    rival = forecasting(model, build(GOOD, horizon=7), tmp_path, scope)
    moves.shadow(version_id=rival.pk, by=scope, at=NOON)
    return champion, rival


def run(pair: tuple[ModelVersion, ModelVersion], **options: Any) -> dict[str, Any]:
    return shadowing.shadow_new_days(model=RegisteredModel.objects.get(pk=pair[0].model_id), at=NOON, **options)


def test_both_predict_the_same_series_and_days_from_the_same_origins(pair: tuple[ModelVersion, ModelVersion]) -> None:
    result = run(pair)

    rows = ShadowPrediction.objects.all()
    origins = sorted(set(rows.values_list("origin", flat=True)))
    assert origins == [TRAINED + timedelta(days=7 * week) for week in range(5)]
    assert result["pairs"] == rows.count() == SERIES * 35
    assert {(row.day - row.origin).days for row in rows} == set(range(1, 8))
    assert {(row.version_id, row.champion_id) for row in rows} == {(pair[1].pk, pair[0].pk)}
    assert all(row.prediction != row.champion_prediction for row in rows[:20])


def test_days_whose_truth_is_unknown_are_predicted_ahead(pair: tuple[ModelVersion, ModelVersion]) -> None:
    run(pair)

    later = ShadowPrediction.objects.filter(day__gt=LAST_DAY)
    assert (later.count(), later.filter(actual=None, ahead=True).count()) == (SERIES * 7, SERIES * 7)
    assert not ShadowPrediction.objects.filter(day__lte=LAST_DAY, ahead=True).exists()
    assert not ShadowDay.objects.filter(day__gt=LAST_DAY).exists()


def test_sums_are_those_of_the_pairs_overall_and_by_segment(pair: tuple[ModelVersion, ModelVersion]) -> None:
    run(pair)

    known = [row for row in ShadowPrediction.objects.filter(day=LAST_DAY) if row.actual is not None]
    total = ShadowDay.objects.get(day=LAST_DAY, segment_column="overall")
    assert total.n == len(known) > 0
    assert total.sum_abs_error == pytest.approx(sum(abs(row.prediction - row.actual) for row in known))
    assert total.champion_sum_abs_error == pytest.approx(sum(abs(row.champion_prediction - row.actual) for row in known))
    for column in set(ShadowDay.objects.exclude(segment_column="overall").values_list("segment_column", flat=True)):
        parts = ShadowDay.objects.filter(day=LAST_DAY, segment_column=column)
        assert sum(part.sum_abs_error for part in parts) == pytest.approx(total.sum_abs_error)


def test_a_second_run_without_news_writes_nothing(pair: tuple[ModelVersion, ModelVersion]) -> None:
    run(pair)

    assert run(pair)["pairs"] == 0


def test_truth_that_arrives_joins_what_was_predicted_before(
    pair: tuple[ModelVersion, ModelVersion], scope: Principal, tmp_path: Path
) -> None:
    run(pair)
    before = {(row.day, row.series_key): row.prediction for row in ShadowPrediction.objects.filter(day__gt=LAST_DAY)}
    model = RegisteredModel.objects.get(pk=pair[0].model_id)
    give_data(model, tmp_path, scope, chain(days=203, last_day=LAST_DAY + timedelta(days=3)))

    run(pair)

    joined = ShadowPrediction.objects.filter(day__gt=LAST_DAY, day__lte=LAST_DAY + timedelta(days=3))
    assert {(row.day, row.series_key): row.prediction for row in joined} == {
        key: before[key] for key in before if key[0] <= LAST_DAY + timedelta(3)
    }
    assert joined.filter(actual=None).count() == 0
    assert {row.n_ahead for row in ShadowDay.objects.filter(day__gt=LAST_DAY, segment_column="overall")} == {SERIES}


def test_negative_actuals_by_api_are_no_truth_to_join(pair: tuple[ModelVersion, ModelVersion], scope: Principal) -> None:
    run(pair)
    tomorrow = LAST_DAY + timedelta(days=1)
    waiting = ShadowPrediction.objects.filter(day=tomorrow)[0]
    Actual.objects.create(model_id=pair[0].model_id, day=tomorrow, series_key=waiting.series_key, value=-5.0, received_at=NOON)

    assert shadowing.join_actuals(model_id=pair[0].model_id, days=[tomorrow], at=NOON) == 0


def test_actuals_by_api_join_the_pairs_of_their_series_and_day(pair: tuple[ModelVersion, ModelVersion], scope: Principal) -> None:
    run(pair)
    model, tomorrow = RegisteredModel.objects.get(pk=pair[0].model_id), LAST_DAY + timedelta(days=1)
    keys = {"store": "S1", "item": "TOYS_01"}
    mapped = newest_data(model).mapping["keys"]

    record_actuals(model=model, rows=[ActualRow(tomorrow, {name: keys[name] for name in mapped}, 5.0)], by=scope, at=NOON)
    message = Message.objects.get(topic="registry.actuals_recorded")
    handle(message_id=message.pk, attempts=0, at=NOON)

    joined = ShadowPrediction.objects.get(day=tomorrow, actual__isnull=False)
    counted = ShadowDay.objects.get(day=tomorrow, segment_column="overall")
    assert (joined.actual, counted.n, counted.n_ahead) == (5.0, 1, 1)
    assert counted.sum_abs_error == pytest.approx(abs(joined.prediction - 5.0))


def test_a_version_that_does_not_compete_is_not_shadowed(pair: tuple[ModelVersion, ModelVersion], scope: Principal) -> None:
    moves.archive(version_id=pair[1].pk, by=scope, at=NOON, reason="Worse.")

    assert "Nothing competes" in run(pair)["said"]
    assert not ShadowPrediction.objects.exists()


def test_no_version_predicts_what_it_was_trained_on(pair: tuple[ModelVersion, ModelVersion], scope: Principal, tmp_path: Path) -> None:
    model = RegisteredModel.objects.get(pk=pair[0].model_id)
    younger = forecasting(model, build(GOOD, horizon=7), tmp_path, scope, through=LAST_DAY - timedelta(days=7))
    moves.shadow(version_id=younger.pk, by=scope, at=NOON)

    run(pair)

    assert ShadowPrediction.objects.filter(version=younger).order_by("day").first().day == LAST_DAY - timedelta(days=6)


def test_the_table_stays_bounded(pair: tuple[ModelVersion, ModelVersion], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadowing, "MOST_SERIES", 3)
    monkeypatch.setattr(shadowing, "MOST_DAYS", 14)

    run(pair)
    monkeypatch.setattr(shadowing, "MOST_DAYS", 5)
    kept = ShadowDay.objects.filter(segment_column="overall").count()
    run(pair)

    assert len(set(ShadowPrediction.objects.values_list("series_key", flat=True))) == 3
    assert min(ShadowPrediction.objects.values_list("day", flat=True)) == LAST_DAY - timedelta(days=5)
    assert ShadowDay.objects.filter(segment_column="overall").count() == kept


def test_a_run_takes_the_same_queries_for_any_number_of_series(
    pair: tuple[ModelVersion, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for most in (2, 8):
        monkeypatch.setattr(shadowing, "MOST_SERIES", most)
        ShadowPrediction.objects.all().delete()
        ShadowDay.objects.all().delete()
        with CaptureQueriesContext(connection) as captured:
            run(pair)
        counts.append(len(captured))

    assert counts[0] == counts[1]


def make_days(version: ModelVersion, champion: ModelVersion, *, mine: float, theirs: float, days: int = 28) -> None:
    """Measured days up to the last one, with some noise."""
    ShadowDay.objects.bulk_create(
        ShadowDay(
            version=version,
            champion=champion,
            day=LAST_DAY - timedelta(days=day),
            segment_column=column,
            segment=segment,
            n=10,
            n_ahead=4,
            sum_actual=100.0,
            sum_error=0.0,
            champion_sum_error=0.0,
            sum_abs_error=10 * (mine + 0.1 * (day % 3)),
            champion_sum_abs_error=10 * (theirs + 0.1 * (day % 4)),
            scored_at=NOON,
        )
        for day in range(days)
        for column, segment in (("overall", "overall"), ("dept", "TOYS"))
    )


def test_the_paired_test_tells_better_from_chance(scope: Principal) -> None:
    champion, rival = make_arena()
    make_days(rival, champion, mine=1.5, theirs=2.0)

    found = shadow_of(rival, champion)

    assert found.p_value is not None
    assert found.p_value < 0.05
    assert found.interval is not None
    assert found.interval[0] < (found.mean_difference or 0) < found.interval[1] < 0
    assert found.said.startswith("In shadow v3 is 25.7 % better by MAE than v2 over 28 days and 280 pairs")
    assert [(one.column, one.segment) for one in found.segments] == [("dept", "TOYS")]


def test_too_few_days_are_not_tested(scope: Principal) -> None:
    champion, rival = make_arena()
    make_days(rival, champion, mine=1.5, theirs=2.0, days=9)

    found = shadow_of(rival, champion)

    assert (found.p_value, found.interval, found.reason) == (None, None, "9 days, 14 needed")


@pytest.mark.parametrize(("mine", "eligible"), [(1.5, True), (2.6, False)])
def test_shadow_feeds_the_models_health(scope: Principal, mine: float, eligible: bool) -> None:
    champion, rival = make_arena()
    make_verdict(rival, champion)
    make_days(rival, champion, mine=mine, theirs=2.0)

    side = health_of(RegisteredModel.objects.get(), at=NOON).challenger

    assert side is not None
    assert side.promotion_eligible is eligible
    assert side.confidence == pytest.approx(1 - (side.shadow.p_value if side.shadow else 1))


def test_the_api_shows_summary_days_and_segments(api: Api, scope: Principal) -> None:
    champion, rival = make_arena()
    make_days(rival, champion, mine=1.5, theirs=2.0)
    client = api("viewer")

    body = client.get("/api/v1/models/demand_forecast/shadow?version=v3").json()

    assert (body["version"], body["champion"], len(body["days"]), len(body["segments"])) == ("v3", "v2", 28, 1)
    assert (body["summary"]["n"], body["summary"]["n_ahead"]) == (280, 112)
    assert body["days"][-1]["forecast_date"] == LAST_DAY.isoformat()
    assert body["interval_low"] < body["mean_difference"] < body["interval_high"]
    assert client.get("/api/v1/models/demand_forecast/shadow").json()["version"] == "v3"
    assert len(client.get("/api/v1/models/demand_forecast/shadow?days=7").json()["days"]) == 7
    assert client.get("/api/v1/models/demand_forecast/shadow?days=0").status_code == 400


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?version=v9", "The model demand_forecast has no version v9."),
        ("?version=v2", "v2 is the champion itself. Name a version that stands beside it."),
        ("", "demand_forecast has no version in shadow and no challenger: nothing is measured beside v2."),
    ],
)
def test_what_is_not_shadowed_is_not_found(api: Api, scope: Principal, query: str, said: str) -> None:
    _, rival = make_arena()
    moves.archive(version_id=rival.pk, by=scope, at=NOON, reason="Enough.")

    answer = api("viewer").get(f"/api/v1/models/demand_forecast/shadow{query}")

    assert (answer.status_code, answer.json()["detail"]) == (404, said)


@pytest.mark.parametrize(
    ("measured", "ended", "shown"),
    [([], [], "v4"), (["v3"], [], "v3"), (["v3"], ["v3"], "v4"), (["v4", "v3"], [], "v3"), (["v3"], ["v3", "v4"], "v3")],
)
def test_the_version_that_competes_is_shown(api: Api, scope: Principal, measured: list[str], ended: list[str], shown: str) -> None:
    champion, rival = make_arena()
    newest = moves.shadow(version_id=make_version(champion.model).pk, by=scope, at=NOON)
    rivals = {"v3": rival, "v4": newest}
    for hour, label in enumerate(measured):
        make_days(rivals[label], champion, mine=1.5, theirs=2.0)
        ShadowDay.objects.filter(version=rivals[label]).update(scored_at=NOON + timedelta(hours=hour))
    for label in ended:
        moves.archive(version_id=rivals[label].pk, by=scope, at=NOON, reason="Enough.")

    body = api("viewer").get("/api/v1/models/demand_forecast/shadow").json()

    assert (body["version"], body["champion"], body["days"] != []) == (shown, "v2", shown in measured)
    assert body["plan"]["said"]


def test_another_tenants_shadow_is_not_there(api: Api, scope: Principal, other_customer: Customer) -> None:
    champion, rival = make_arena()
    make_days(rival, champion, mine=1.5, theirs=2.0)

    assert api("admin", of=other_customer).get("/api/v1/models/demand_forecast/shadow").status_code == 404


def test_a_decision_keeps_the_shadow_days_it_rested_on(scope: Principal) -> None:
    champion, rival = make_arena()
    make_days(rival, champion, mine=1.5, theirs=2.0)
    measured = ShadowDay.objects.filter(segment_column="overall").order_by("day")

    decision = promote(version_id=rival.pk, by=scope, at=NOON, reason="Better.").decision

    assert decision is not None
    shadow = decision.rests_on["shadow"]
    assert shadow["ids"] == [str(day.pk) for day in measured]
    assert (shadow["champion"], shadow["last_day"], shadow["pairs"]) == (str(champion.pk), LAST_DAY.isoformat(), 280)
    assert shadow["mae"] == pytest.approx(sum(day.sum_abs_error for day in measured) / 280)
    assert shadow["mae"] < shadow["champion_mae"]


def test_the_auditors_page_shows_what_shadow_said(api: Api, scope: Principal) -> None:
    champion, rival = make_arena()
    make_days(rival, champion, mine=1.5, theirs=2.0)
    promote(version_id=rival.pk, by=scope, at=NOON, reason="Better.")

    page = api("viewer").get("/api/v1/models/demand_forecast/versions/v3/evidence?format=html").content.decode()

    assert "shadow 28 days" in page
    assert "280 pairs" in page


def make_measured_days() -> None:
    """What a backtest keeps of each day, for the runs that are there."""
    BacktestSegment.objects.bulk_create(
        BacktestSegment(
            run=row.run,
            forecast_date=row.forecast_date,
            segment_column="overall",
            segment="overall",
            n=row.n,
            sum_actual=row.sum_actual,
            sum_error=0.0,
            sum_abs_error=row.sum_abs_error,
        )
        for row in BacktestResult.objects.exclude(run=None)
    )


def test_the_plan_says_before_the_start_what_a_shadow_would_notice(scope: Principal) -> None:
    champion, rival = make_arena()
    make_measured_days()
    judged = shadow_plan(rival, champion)
    unjudged = shadow_plan(make_version(champion.model), champion)

    assert (judged.basis, judged.pilot_days, [one.days for one in judged.detectable]) == ("pairs", 90, [14, 28, 56, 91])
    assert [one.pct for one in judged.detectable] == sorted((one.pct for one in judged.detectable), reverse=True)
    assert judged.detectable[1].mae == pytest.approx(judged.detectable[1].pct / 100 * (judged.champion_mae or 0))
    assert (unjudged.basis, "at worst" in unjudged.said) == ("champion", True)
    rows = BacktestResult.objects.filter(version_ref=champion).order_by("forecast_date")
    alone = minimum_detectable_effect([row.sum_abs_error / row.n for row in rows], days=28)
    assert unjudged.detectable[1].mae == pytest.approx(math.sqrt(2) * (alone or 0))
    assert judged.detectable[1].mae < unjudged.detectable[1].mae


def test_without_backtests_the_plan_says_that_it_knows_nothing(scope: Principal) -> None:
    model = make_model()
    champion = make_champion(model)

    plan = shadow_plan(make_version(model), champion)

    assert (plan.basis, plan.detectable, plan.days_for_policy) == (None, [], None)
    assert "is not known" in plan.said


def test_the_api_has_the_plan_before_anything_is_measured(api: Api, scope: Principal) -> None:
    make_arena()
    make_measured_days()

    body = api("viewer").get("/api/v1/models/demand_forecast/shadow?version=v3").json()

    assert (body["summary"], body["days"]) == (None, [])
    assert (body["plan"]["basis"], body["plan"]["power"], body["plan"]["detectable"][0]["days"]) == ("pairs", 0.8, 14)
    assert body["plan"]["said"].startswith("In 28 days a difference of ")
