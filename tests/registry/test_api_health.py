"""Health, history, backtests, production, deployment history, retraining and actuals."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal, system
from registry.models import Actual, BacktestResult, ForecastAccuracy, RegisteredModel
from registry.queries.health import errors_of
from registry.services import promotion
from registry.states import RetrainingStatus
from tests.registry.counting import frame
from tests.registry.factories import (
    NOW,
    TODAY,
    make_accuracy,
    make_arena,
    make_champion,
    make_dataset,
    make_model,
    make_retraining,
    make_version,
)

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
BASE = "/api/v1/models/demand_forecast"
HEALTH = "/api/v1/models/health"


def test_health_shows_both_sides(api: Api, scope: Principal) -> None:
    make_arena()

    body = api("viewer").get(HEALTH).json()

    champion, challenger = body["champion"], body["challenger"]
    assert {"version", "status", "mae_7d", "mae_30d", "trend", "promoted_at", "last_retrain", "next_retrain"} <= set(champion)
    assert {"version", "status", "mae_7d", "promotion_eligible", "confidence", "gates"} <= set(challenger)
    assert (champion["version"], champion["mae_source"], champion["as_of"]) == ("v2", "validation", str(TODAY - timedelta(days=1)))
    assert champion["mae_7d"] == pytest.approx(1.36, rel=0.1)
    assert (challenger["version"], challenger["status"], challenger["promotion_eligible"]) == ("v3", "challenger", True)
    assert challenger["confidence"] == pytest.approx(0.996)
    assert len(challenger["gates"]) == 13
    assert set(body["retraining_triggers"]) == {"scheduled", "drift_detected", "new_data"}
    assert body["recent_retraining_events"][0]["version_produced"] == "v3"


def test_the_next_retraining_is_the_schedules(api: Api, scope: Principal) -> None:
    make_arena()

    champion = api("viewer").get(HEALTH).json()["champion"]

    when = champion["next_retrain"]
    assert when.endswith("T02:00:00Z")
    assert date.fromisoformat(when[:10]).weekday() == 6
    assert champion["last_retrain"] == "2026-03-02T03:10:00Z"


def test_a_model_outside_the_schedule_has_no_next_retraining(api: Api, scope: Principal) -> None:
    make_champion(make_model(scheduled=False))

    assert api("viewer").get(HEALTH).json()["champion"]["next_retrain"] is None


@pytest.mark.parametrize(
    ("drifted", "status", "trend", "fired"),
    [
        (1.0, "healthy", "stable", False),
        (1.25, "warning", "degrading", True),
        (1.6, "critical", "degrading", True),
        (0.5, "healthy", "improving", False),
    ],
)
def test_the_status_follows_the_last_week(api: Api, scope: Principal, drifted: float, status: str, trend: str, fired: bool) -> None:
    champion = make_champion(make_model(), metrics={"mae": 1.0})
    make_accuracy(champion, level=1.0, drifted=drifted)

    body = api("viewer").get(HEALTH).json()

    assert (body["champion"]["status"], body["champion"]["trend"]) == (status, trend)
    assert body["retraining_triggers"]["drift_detected"]["active"] is fired


def test_either_side_may_be_null(api: Api, scope: Principal) -> None:
    model = make_model()
    client = api("viewer")

    nobody = client.get(HEALTH).json()
    make_champion(model)
    alone = client.get(HEALTH).json()

    assert (nobody["champion"], nobody["challenger"]) == (None, None)
    assert (alone["champion"]["version"], alone["challenger"]) == ("v1", None)


def test_what_was_never_measured_is_a_warning_that_says_so(api: Api, scope: Principal) -> None:
    make_champion(make_model(), metrics={"mae": 11.2})

    champion = api("viewer").get(HEALTH).json()["champion"]

    assert (champion["status"], champion["mae_7d"], champion["trend"], champion["as_of"]) == ("warning", None, None, None)
    assert "never measured" in champion["status_reason"]


def test_without_validated_days_the_backtest_speaks(api: Api, scope: Principal) -> None:
    champion, _ = make_arena()
    ForecastAccuracy.objects.all().delete()

    found = api("viewer").get(HEALTH).json()["champion"]

    assert (found["mae_source"], found["as_of"]) == ("backtest", str(TODAY - timedelta(days=1)))
    assert errors_of(champion).mae_30d == found["mae_30d"]


def test_windows_are_days_and_pool_all_series(scope: Principal) -> None:
    champion = make_champion(make_model())
    rows = [(0, 10, 10.0), (6, 30, 90.0), (7, 10, 50.0), (29, 10, 70.0), (30, 10, 9000.0)]
    ForecastAccuracy.objects.bulk_create(
        ForecastAccuracy(
            version_ref=champion,
            model_name="demand_forecast",
            model_version="v1",
            forecast_date=TODAY - timedelta(days=ago),
            created_at=NOW,
            n=n,
            sum_abs_error=error,
            sum_actual=1.0,
            sum_error=0.0,
        )
        for ago, n, error in rows
    )

    found = errors_of(champion)

    assert (found.mae_7d, found.mae_30d, found.before) == (100 / 40, 220 / 60, None)


def test_an_unknown_model_has_no_health(api: Api, scope: Principal) -> None:
    client = api("viewer")

    assert client.get(HEALTH).status_code == 404
    assert client.get(f"{HEALTH}?model_name=nothing").status_code == 404
    assert client.get(f"{HEALTH}?model=x").status_code == 400


@pytest.mark.parametrize("count", [3, 30])
def test_health_takes_the_same_queries_for_any_number_of_versions(
    api: Api, scope: Principal, count: int, django_assert_max_num_queries: Any
) -> None:
    make_arena()
    model = RegisteredModel.objects.get()
    for _ in range(count):
        make_version(model)
    client = api("viewer")
    client.get("/api/v1/me")

    with django_assert_max_num_queries(14 + frame()):
        assert client.get(HEALTH).status_code == 200


def test_history_says_who_moved_what_when_and_why(api: Api, scope: Principal) -> None:
    make_arena()

    body = api("viewer").get("/api/v1/models/history?model_name=demand_forecast").json()

    newest, champion, baseline = body["results"]
    assert [newest["version"], champion["version"], baseline["version"]] == ["v3", "v2", "v1"]
    assert [(move["from"], move["to"]) for move in baseline["moves"]] == [("candidate", "champion"), ("champion", "deprecated")]
    assert (newest["moves"][0]["by"], newest["moves"][0]["reason"]) == ("system", "Judged by the arena.")
    assert champion["moves"][0]["at"].endswith("Z")


@pytest.mark.parametrize("count", [3, 30])
def test_history_takes_the_same_queries_for_any_number(api: Api, scope: Principal, count: int, django_assert_num_queries: Any) -> None:
    model = make_model()
    for _ in range(count):
        promotion.promote(version_id=make_version(model).pk, by=system(scope.customer_id), at=NOW)
    client = api("viewer")
    client.get("/api/v1/me")

    with django_assert_num_queries(5 + frame()):  # the key, the model, COUNT, the page, its moves
        assert len(client.get("/api/v1/models/history?page_size=100").json()["results"]) == count


@pytest.mark.parametrize(("days", "rows"), [("", 90), ("?days=1", 1), ("?days=30", 30), ("?days=730", 90)])
def test_a_backtest_is_a_time_series_up_to_its_newest_day(api: Api, scope: Principal, days: str, rows: int) -> None:
    make_arena()

    body = api("viewer").get(f"/api/v1/models/backtest/v3{days}").json()

    dates = [row["forecast_date"] for row in body["results"]]
    assert (body["count"], len(dates), dates[-1]) == (rows, rows, str(TODAY - timedelta(days=1)))
    assert dates == sorted(dates)
    assert {"mae", "mape", "wape", "stockout_miss_rate", "overstock_rate", "bias_pct", "coverage"} <= set(body["results"][0])


@pytest.mark.parametrize("days", ["0", "731", "-1", "x", "1.5", ""])
def test_a_window_out_of_range_is_refused(api: Api, scope: Principal, days: str) -> None:
    make_version(make_model())

    assert api("viewer").get(f"/api/v1/models/backtest/v1?days={days}").status_code == 400


def test_a_version_without_backtest_has_an_empty_series(api: Api, scope: Principal) -> None:
    version = make_version(make_model("price"))
    client = api("viewer")

    assert client.get("/api/v1/models/backtest/v1?model_name=price").json()["results"] == []
    assert client.get(f"/api/v1/models/backtest/{version.pk}").json()["model_name"] == "price"
    assert client.get("/api/v1/models/backtest/v1").status_code == 404


def test_production_says_who_serves_and_since_when(api: Api, scope: Principal) -> None:
    make_arena()

    body = api("viewer").get(f"{BASE}/production").json()

    assert (body["version"], body["status"], body["deployed_until"]) == ("v2", "champion", None)
    assert body["deployed_since"] == "2026-02-05T12:00:00Z"


@pytest.mark.parametrize(
    ("at", "version", "until"),
    [
        ("2026-01-01T12:00:00Z", "v1", "2026-02-05T12:00:00Z"),
        ("2026-02-05T11:59:59Z", "v1", "2026-02-05T12:00:00Z"),
        ("2026-02-05T12:00:00Z", "v2", None),
        ("2026-02-05T13:00:00%2B01:00", "v2", None),
        ("2026-02-05 12:00:00", "v2", None),
    ],
)
def test_production_at_a_moment(api: Api, scope: Principal, at: str, version: str, until: str | None) -> None:
    make_arena()

    body = api("viewer").get(f"{BASE}/production?at={at}").json()

    assert (body["version"], body["deployed_until"]) == (version, until)


def test_without_a_champion_there_is_no_production_version(api: Api, scope: Principal) -> None:
    make_version(make_model())
    make_champion(make_model("price"))
    client = api("viewer")

    nobody = client.get(f"{BASE}/production")
    before = client.get("/api/v1/models/price/production?at=2020-01-01T00:00:00Z")

    assert [(one.status_code, one.json()["code"]) for one in (nobody, before)] == [(404, "no_production_version")] * 2
    assert before.json()["detail"] == "price has no production version at 2020-01-01T00:00:00Z."


@pytest.mark.parametrize("at", ["yesterday", "2999-01-01T00:00:00Z", "", "2026-13-01T00:00:00Z"])
def test_a_moment_that_is_none_is_refused(api: Api, scope: Principal, at: str) -> None:
    make_champion(make_model())

    assert api("viewer").get(f"{BASE}/production?at={at}").status_code == 400


def test_deployment_history_is_newest_first_with_its_decisions(api: Api, scope: Principal) -> None:
    _, challenger = make_arena()
    promotion.promote(version_id=challenger.pk, by=scope, at=NOW, reason="Better.")

    body = api("viewer").get(f"{BASE}/deployment-history").json()

    first = body["results"][0]
    assert [row["version"] for row in body["results"]] == ["v3", "v2", "v1"]
    assert (first["promoted_by"], first["former_champion"], first["reason"]) == (scope.name, "v2", "Better.")
    assert (first["override"], first["automatic"], body["results"][2]["automatic"]) == (False, False, True)


@pytest.mark.parametrize("count", [3, 30])
def test_deployment_history_takes_the_same_queries_for_any_number(
    api: Api, scope: Principal, count: int, django_assert_num_queries: Any
) -> None:
    model = make_model()
    for _ in range(count):
        promotion.promote(version_id=make_version(model).pk, by=system(scope.customer_id), at=NOW)
    client = api("viewer")
    client.get("/api/v1/me")

    with django_assert_num_queries(6 + frame()):  # the key, the model, COUNT, the moves, their versions, their decisions
        assert len(client.get(f"{BASE}/deployment-history?page_size=100").json()["results"]) == count


def actual(day: date = TODAY, **keys: str) -> dict[str, Any]:
    return {"date": str(day), "keys": keys or {"item_id": "FOODS_3_090", "store_id": "CA_1"}, "value": 3}


@pytest.mark.parametrize("role", ["service", "data_scientist"])
def test_actuals_are_kept_and_corrected(api: Api, scope: Principal, role: str) -> None:
    make_dataset(models=[make_model()])
    client = api(role)

    first = client.post(f"{BASE}/actuals", {"rows": [actual(), actual(TODAY - timedelta(days=1))]})
    again = client.post(f"{BASE}/actuals", {"rows": [{**actual(), "value": 4.5}]})

    assert (first.status_code, first.json()) == (200, {"received": 2, "new": 2, "corrected": 0})
    assert again.json() == {"received": 1, "new": 0, "corrected": 1}
    assert Actual.objects.get(day=TODAY).value == 4.5


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({**actual(), "value": "3"}, "rows[0].value"),
        ({**actual(), "value": True}, "rows[0].value"),
        ({**actual(), "value": 1e16}, "rows[0].value"),
        ({**actual(), "value": None}, "rows[0].value"),
        ({**actual(), "date": "today"}, "rows[0].date"),
        (actual(date(9999, 12, 31)), "rows[0].date"),
        (actual(date(1, 1, 1)), "rows[0].date"),
        (actual(shop="CA_1"), "rows[0].keys"),
        ({**actual(), "keys": {"item_id": {}, "store_id": "x"}}, "rows[0].keys.item_id"),
        (actual(item_id="ü" * 254, store_id="x" * 254), "rows[0].keys"),
    ],
)
def test_actuals_that_will_not_do_are_refused_whole(api: Api, scope: Principal, row: dict[str, Any], field: str) -> None:
    make_dataset(models=[make_model()])

    response = api().post(f"{BASE}/actuals", {"rows": [row, actual(TODAY - timedelta(days=3))]})

    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("negatives", "status", "kept"), [(None, 400, []), ("refuse", 400, []), ("zero", 200, [0.0]), ("unknown", 200, [-3.0])]
)
def test_negative_actuals_are_taken_as_a_file_of_the_data_would_be(
    api: Api, scope: Principal, negatives: str | None, status: int, kept: list[float]
) -> None:
    make_dataset(models=[make_model()], **({"negatives": negatives} if negatives else {}))

    response = api().post(f"{BASE}/actuals", {"rows": [{**actual(), "value": -3}]})

    assert (response.status_code, list(Actual.objects.values_list("value", flat=True))) == (status, kept)
    assert [error["field"] for error in response.json().get("errors", [])] == ["rows[0].value"] * (status == 400)


def test_actuals_far_beyond_the_data_are_refused(api: Api, scope: Principal) -> None:
    make_dataset(models=[make_model()], first_day=date(2020, 1, 1), last_day=date(2021, 1, 1))
    client = api()

    assert client.post(f"{BASE}/actuals", {"rows": [actual(date(2022, 1, 2))]}).status_code == 200
    assert client.post(f"{BASE}/actuals", {"rows": [actual(date(2022, 1, 3))]}).status_code == 400


@pytest.mark.parametrize("rows", [[], {}, "x", None, [1], [[]]])
def test_actuals_are_a_list_of_rows(api: Api, scope: Principal, rows: Any) -> None:
    make_dataset(models=[make_model()])

    assert api().post(f"{BASE}/actuals", {"rows": rows}).status_code == 400


def test_one_day_twice_is_refused(api: Api, scope: Principal) -> None:
    make_dataset(models=[make_model()])

    assert api().post(f"{BASE}/actuals", {"rows": [actual(), actual()]}).status_code == 400


def test_actuals_of_a_model_without_data_are_a_conflict(api: Api, scope: Principal) -> None:
    make_model()

    assert api().post(f"{BASE}/actuals", {"rows": [actual()]}).json()["code"] == "no_data"


def test_more_rows_than_are_taken_at_once_are_refused(api: Api, scope: Principal) -> None:
    make_dataset(models=[make_model()])

    response = api().post(f"{BASE}/actuals", {"rows": [{"date": "2026-01-01", "value": 1}] * 10_001})

    assert response.status_code == 400


def test_another_customers_health_is_not_there(api: Api, scope: Principal, other_customer: Customer) -> None:
    make_arena()
    stranger = api("admin", of=other_customer)

    for path in (HEALTH, "/api/v1/models/history", "/api/v1/models/backtest/v3", f"{BASE}/production", f"{BASE}/deployment-history"):
        assert stranger.get(path).status_code == 404
    assert stranger.post(f"{BASE}/actuals", {"rows": [actual()]}).status_code == 404
    assert BacktestResult.objects.exists()


def test_a_retraining_that_failed_is_among_the_recent_events(api: Api, scope: Principal) -> None:
    model = make_model()
    make_retraining(model, status=RetrainingStatus.FAILED)

    event = api("viewer").get(HEALTH).json()["recent_retraining_events"][0]

    assert (event["status"], event["version_produced"], event["trigger_type"]) == ("failed", None, "scheduled")
