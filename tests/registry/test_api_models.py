"""`/api/v1/models`: register, list, configure, compare, statistics."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from registry.api import answers
from registry.models import ModelVersion, RegisteredModel
from registry.queries.models import find_summary
from registry.services import moves, promotion
from registry.states import VersionStatus
from tests.conftest import NOON
from tests.registry.counting import frame
from tests.registry.factories import make_champion, make_dataset, make_model, make_old_version, make_run, make_version

NOBODY = "00000000-0000-4000-8000-000000000000"
pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
LIST_QUERIES = 3  # the key; one page: COUNT, models with their champions
DETAIL_QUERIES = 2  # the key; the model with its champion


def errors_of(response: Any) -> dict[str, str]:
    return {error["field"]: error["message"] for error in response.json()["errors"]}


def test_a_model_is_registered_by_its_name_alone(api: Api) -> None:
    response = api("data_scientist").post("/api/v1/models", {"name": "demand_forecast"})

    body = response.json()
    assert response.status_code == 201
    assert response["Location"] == "/api/v1/models/demand_forecast"
    assert response["ETag"] == '"model-1"'
    assert (body["name"], body["display_name"], body["task"], body["model_type"]) == (
        "demand_forecast",
        "demand_forecast",
        "forecast",
        "ensemble",
    )
    assert (body["version_count"], body["champion"], body["production_status"]) == (0, None, "not_in_production")
    assert (body["policy"]["min_improvement_pct"], body["policy"]["four_eyes"]) == (5.0, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "Upper"}, "name"),
        ({"name": "health"}, "name"),
        ({"name": "promotion-requests"}, "name"),
        ({"name": "policy-requests"}, "name"),
        ({"name": "m", "task": "sorcery"}, "task"),
        ({"name": "m", "model_type": "sorcery"}, "model_type"),
        ({"name": "m", "policy": {"min_improvement_pct": 500}}, "policy.min_improvement_pct"),
        ({"name": "m", "policy": {"primary_metric": []}}, "policy.primary_metric"),
        ({"name": "m", "policy": {"sorcery": 1}}, "policy.sorcery"),
        ({"name": "m", "policy": [1]}, "policy"),
        ({"name": "m", "recipe": {"rounds": 0}}, "recipe.rounds"),
        ({"name": "m", "recipe": {"kind": {}}}, "recipe.kind"),
        ({"name": "m", "dataset_id": str(uuid4())}, "dataset_id"),
        ({"name": "m", "data_dir": "/etc"}, "data_dir"),
        ({"name": "m", "data_dir": "x" * 499}, "data_dir"),
        ({"name": "m", "retention_days": 0}, "retention_days"),
        ({"name": "m", "retention_days": "5"}, "retention_days"),
        ({"name": "m", "scheduled": "off"}, "scheduled"),
        ({"name": "m", "domain": 5}, "domain"),
        ({"name": 5}, "name"),
        ({"name": "m", "policy": "{}"}, "policy"),
        ({"name": "m", "dataset_id": 5}, "dataset_id"),
        ({"name": "m", "frobnicate": 1}, "frobnicate"),
    ],
)
def test_a_model_that_will_not_do_is_refused_naming_the_field(api: Api, body: dict[str, Any], field: str) -> None:
    response = api().post("/api/v1/models", body)

    assert response.status_code == 400
    assert field in errors_of(response)


def test_a_name_that_is_taken_is_a_conflict(api: Api, scope: Principal) -> None:
    make_model("demand_forecast")

    response = api().post("/api/v1/models", {"name": "demand_forecast"})

    assert (response.status_code, response.json()["code"]) == (409, "duplicate")


def test_a_viewer_reads_and_writes_nothing(api: Api, scope: Principal) -> None:
    make_model()
    viewer = api("viewer")

    assert viewer.get("/api/v1/models/demand_forecast").status_code == 200
    assert viewer.post("/api/v1/models", {"name": "another"}).status_code == 403
    assert viewer.patch("/api/v1/models/demand_forecast", {"domain": "x"}).status_code == 403
    assert api("service").get("/api/v1/models").status_code == 403
    assert APIClient().get("/api/v1/models").status_code == 401


def test_the_list_shows_counts_and_the_champion(api: Api, scope: Principal) -> None:
    model = make_model(domain="retail")
    champion = make_champion(model, metrics={"mae": 11.2})
    make_version(model)
    make_model("other", display_name="Other")

    body = api("viewer").get("/api/v1/models").json()

    first, second = body["results"]
    assert (body["count"], body["next"], body["previous"]) == (2, None, None)
    assert (first["name"], first["version_count"], first["production_status"]) == ("demand_forecast", 2, "in_production")
    assert first["versions"] == {"candidate": 1, "shadow": 0, "challenger": 0, "champion": 1, "deprecated": 0, "archived": 0}
    assert (first["champion"]["version"], first["champion"]["metrics"]) == (champion.version, {"mae": 11.2})
    assert (second["champion"], second["production_status"]) == (None, "not_in_production")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("task=regression", ["price"]),
        ("model_type=transformer", ["words"]),
        ("domain=retail", ["demand", "price"]),
        ("production_status=in_production", ["demand"]),
        ("production_status=not_in_production", ["price", "words"]),
        ("search=WORD", ["words"]),
        ("ordering=-name", ["words", "price", "demand"]),
        ("page_size=1&page=2", ["price"]),
        ("page=9", []),
    ],
)
def test_the_list_is_filtered_searched_ordered_and_paged(api: Api, scope: Principal, query: str, names: list[str]) -> None:
    make_champion(make_model("demand", domain="retail"))
    make_model("price", domain="retail", task="regression")
    make_model("words", domain="text", model_type="transformer")

    body = api().get(f"/api/v1/models?{query}").json()

    assert [row["name"] for row in body["results"]] == names


@pytest.mark.parametrize(
    "query", ["tsak=forecast", "task=sorcery", "production_status=maybe", "ordering=policy", "page=0", "page_size=101", "format=xml"]
)
def test_a_query_that_is_not_understood_is_refused(api: Api, query: str) -> None:
    assert api().get(f"/api/v1/models?{query}").status_code == 400


@pytest.mark.parametrize("count", [3, 30])
def test_the_list_takes_the_same_queries_for_any_number_of_models(
    api: Api, scope: Principal, count: int, django_assert_num_queries: Any
) -> None:
    for number in range(count):
        make_champion(make_model(f"model-{number}"))
    client = api()
    client.get("/api/v1/me")  # the key's last use is noted once a minute

    with django_assert_num_queries(LIST_QUERIES + frame()):
        body = client.get("/api/v1/models?page_size=100").json()

    assert len(body["results"]) == count


@pytest.mark.parametrize("count", [3, 30])
def test_a_model_takes_the_same_queries_for_any_number_of_versions(
    api: Api, scope: Principal, count: int, django_assert_num_queries: Any
) -> None:
    model = make_model()
    for _ in range(count):
        make_version(model)
    client = api()
    client.get("/api/v1/me")

    with django_assert_num_queries(DETAIL_QUERIES + frame(atomic=False)):
        body = client.get("/api/v1/models/demand_forecast").json()

    assert body["version_count"] == count


def test_changing_one_setting_of_the_policy_keeps_the_others(api: Api, scope: Principal) -> None:
    make_model(policy={"four_eyes": True})

    response = api().patch("/api/v1/models/demand_forecast", {"policy": {"min_improvement_pct": 7}, "display_name": "Demand"})

    body = response.json()
    assert response.status_code == 200
    assert (body["policy"]["four_eyes"], body["policy"]["min_improvement_pct"]) == (True, 7)
    assert (body["display_name"], body["policy_revision"], body["revision"], response["ETag"]) == ("Demand", 2, 2, '"model-2"')


def test_null_takes_a_setting_back_to_its_default(api: Api, scope: Principal) -> None:
    make_model(policy={"four_eyes": True, "min_improvement_pct": 3})

    body = api().patch("/api/v1/models/demand_forecast", {"policy": {"min_improvement_pct": None}}).json()

    assert (body["policy"]["four_eyes"], body["policy"]["min_improvement_pct"]) == (True, 5.0)


def test_a_stale_if_match_changes_nothing(api: Api, scope: Principal) -> None:
    make_model()
    client = api()
    seen = client.get("/api/v1/models/demand_forecast")["ETag"]
    client.patch("/api/v1/models/demand_forecast", {"domain": "theirs"})

    response = client.patch("/api/v1/models/demand_forecast", {"domain": "mine"}, headers={"If-Match": seen})

    assert (response.status_code, response.json()["code"], response.json()["current_etag"]) == (412, "stale", '"model-2"')
    assert RegisteredModel.objects.get().domain == "theirs"


def test_the_current_if_match_lets_the_change_through(api: Api, scope: Principal) -> None:
    make_model()
    client = api()
    seen = client.get("/api/v1/models/demand_forecast")["ETag"]

    response = client.patch("/api/v1/models/demand_forecast", {"domain": "mine"}, headers={"If-Match": seen})

    assert (response.status_code, response.json()["domain"]) == (200, "mine")


def test_the_data_source_is_a_data_set_or_a_path(api: Api, scope: Principal) -> None:
    make_model()
    data = make_dataset()

    body = api().patch("/api/v1/models/demand_forecast", {"dataset_id": str(data.dataset_id)}).json()

    assert body["dataset_id"] == str(data.dataset_id)
    assert api().patch("/api/v1/models/demand_forecast", {"dataset_id": None}).json()["dataset_id"] is None


def test_another_customers_model_is_not_there(api: Api, scope: Principal, other_customer: Customer) -> None:
    make_model()
    stranger = api("admin", of=other_customer)

    assert stranger.get("/api/v1/models/demand_forecast").status_code == 404
    assert stranger.patch("/api/v1/models/demand_forecast", {"domain": "x"}).status_code == 404
    assert stranger.get("/api/v1/models").json()["count"] == 0


def test_a_model_with_dots_is_found_by_name_and_by_id(api: Api, scope: Principal) -> None:
    model = make_model("main.forecasts.demand.json")

    assert api().get("/api/v1/models/main.forecasts.demand.json").json()["id"] == str(model.pk)
    assert api().get(f"/api/v1/models/{model.pk}/").json()["name"] == "main.forecasts.demand.json"


@pytest.mark.parametrize("name", ["a" * 3000, "%ff%fe", "%ed%a0%80", "..", "%2e%2e", "a%0a", "\u202e", NOBODY, "%F0%9F%A6%84"])
def test_odd_names_are_not_found(api: Api, scope: Principal, name: str) -> None:
    make_model("a")
    client = api()

    for path in ("", "/versions/v1", "/production", "/compare", "/retraining", "/versions/v1/evidence"):
        assert client.get(f"/api/v1/models/{name}{path}").status_code == 404
    assert client.get(f"/api/v1/models/a/versions/{name}").status_code == 404
    assert client.post(f"/api/v1/models/{name}/promote").status_code == 404
    assert client.get(f"/api/v1/models/backtest/{name}?model_name=a").status_code == 404
    assert client.get(f"/api/v1/models/{name}/versions").status_code == 404


def test_answers_have_exactly_the_declared_fields(scope: Principal) -> None:
    model = make_model()
    champion = make_champion(model)
    summary = find_summary(model.name)

    assert set(answers.model_row(summary)) == set(answers.ModelAnswer().fields)
    assert set(answers.model_detail(summary)) == set(answers.ModelDetailAnswer().fields)
    assert set(answers.version_row(champion)) == set(answers.VersionAnswer().fields)
    assert set(answers.version_detail(champion, None)) == set(answers.VersionDetailAnswer().fields)


def test_counts_follow_every_move(api: Api, scope: Principal) -> None:
    model = make_model()
    champion = make_champion(model)
    others = [make_version(model) for _ in range(4)]
    moves.shadow(version_id=others[0].pk, by=scope, at=NOON)
    moves.challenge(version_id=others[0].pk, by=scope, at=NOON)
    moves.archive(version_id=others[1].pk, by=scope, at=NOON, reason="Worse.")
    promotion.promote(version_id=others[2].pk, by=scope, at=NOON)
    promotion.rollback(version_id=champion.pk, by=scope, at=NOON)
    client = api()

    shown = client.get("/api/v1/models/demand_forecast").json()["versions"]

    assert shown == {status: ModelVersion.objects.filter(status=status).count() for status in VersionStatus.values}
    assert {status: client.get(f"/api/v1/models/demand_forecast/versions?status={status}").json()["count"] for status in shown} == shown


def test_statistics_count_what_there_is(api: Api, scope: Principal) -> None:
    first, second = make_model("one"), make_model("two", task="regression")
    make_champion(first, metrics={"mae": 10.0, "tier": "gold"})
    make_champion(second, metrics={"mae": 20.0, "rmse": 30.0})
    make_version(first)

    body = api().get("/api/v1/models/statistics/registry").json()

    assert (body["total_models"], body["total_versions"], body["production_models"]) == (2, 3, 2)
    assert (body["by_status"]["champion"], body["by_status"]["candidate"]) == (2, 1)
    assert body["by_task"] == {"forecast": 1, "regression": 1, "classification": 0}
    assert body["average_production_metrics"] == {"mae": 15.0, "rmse": 30.0}
    assert body["metric_counts"] == {"mae": 2, "rmse": 1}


def test_statistics_of_an_empty_registry_are_zeros(api: Api) -> None:
    body = api().get("/api/v1/models/statistics/registry").json()

    assert (body["total_models"], body["total_versions"], body["average_production_metrics"]) == (0, 0, {})


def test_compare_marks_the_best_by_the_metrics_direction(api: Api, scope: Principal) -> None:
    model = make_model()
    for metrics in ({"mae": 12.0, "coverage": 0.8, "bias_pct": 4}, {"mae": 10.0, "coverage": 0.9, "bias_pct": -1}, {"rmse": 3.0}):
        make_version(model, metrics=metrics)

    body = api().get("/api/v1/models/demand_forecast/compare?versions=1,v2,v3").json()

    assert (body["metric"], body["direction"], body["best"]) == ("mae", "lower", "v2")
    assert [(row["version"], row["value"], row["best"]) for row in body["versions"]] == [
        ("v2", 10.0, True),
        ("v1", 12.0, False),
        ("v3", None, False),
    ]
    assert body["versions"][1]["difference_pct"] == pytest.approx(20.0)
    assert {name: metric["best"] for name, metric in body["metrics"].items()} == {
        "mae": ["v2"],
        "coverage": ["v2"],
        "bias_pct": ["v2"],
        "rmse": ["v3"],
    }


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("metric=accuracy", ["v2", "v1"]),
        ("metric=accuracy&order=asc", ["v1", "v2"]),
        ("order=desc", ["v2", "v1"]),
        ("metric=odd", ["v2", "v1"]),
    ],
)
def test_compare_orders_as_asked(api: Api, scope: Principal, query: str, labels: list[str]) -> None:
    model = make_model(task="classification")
    make_version(model, metrics={"accuracy": 0.8, "odd": 1})
    make_version(model, metrics={"accuracy": 0.9, "odd": 2})

    body = api().get(f"/api/v1/models/demand_forecast/compare?{query}").json()

    assert [row["version"] for row in body["versions"]] == labels


def test_compare_says_on_which_days_each_was_measured(api: Api, scope: Principal) -> None:
    model = make_model()
    data = make_dataset(models=[model])
    for mae in (1.2, 1.1):
        make_run(make_version(model, metrics={"mae": mae}, dataset_version=data), data, level=mae)
    make_version(model, metrics={"mae": 0.1})
    client = api()

    same = client.get("/api/v1/models/demand_forecast/compare?versions=v1,v2").json()
    other = client.get("/api/v1/models/demand_forecast/compare?versions=v1,v2,v3").json()

    assert len({(row["first_day"], row["last_day"]) for row in same["versions"]}) == 1
    assert same["versions"][0]["first_day"] < same["versions"][0]["last_day"]
    assert (same["note"], "same days" in other["note"]) == ("", True)
    assert next(row["first_day"] for row in other["versions"] if row["version"] == "v3") is None  # measured elsewhere


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_only_a_forecast_learns_from_daily_demand(api: Api, scope: Principal, task: str) -> None:
    data = make_dataset()
    make_model(task=task)
    client = api()

    changed = client.patch("/api/v1/models/demand_forecast", {"dataset_id": str(data.dataset_id)}, format="json")
    made = client.post("/api/v1/models", {"name": "other", "task": task, "dataset_id": str(data.dataset_id)}, format="json")

    assert [(one.status_code, set(errors_of(one))) for one in (changed, made)] == [(400, {"dataset_id"})] * 2
    assert not RegisteredModel.objects.exclude(dataset=None).exists()


def test_compare_refuses_what_it_cannot_do(api: Api, scope: Principal) -> None:
    make_version(make_model(), metrics={"mae": 1})
    client = api()

    assert client.get("/api/v1/models/demand_forecast/compare?metric=sorcery").status_code == 400
    assert client.get("/api/v1/models/demand_forecast/compare?order=sideways").status_code == 400
    assert client.get("/api/v1/models/demand_forecast/compare?versions=v9").status_code == 404
    assert client.get("/api/v1/models/demand_forecast/compare?versions=" + "v1," * 21).status_code == 400


def test_old_values_that_a_metric_cannot_have_count_nowhere(api: Api, scope: Principal) -> None:
    model, client = make_model(), api()
    make_version(model, metrics={"mae": 10.0, "r2": -0.5})
    old = make_old_version(model, metrics={"mae": -5, "r2": True, "rmse": "x", "wape": [1]})
    client.post(f"/api/v1/models/demand_forecast/promote/{old.version}", {})

    compared = client.get("/api/v1/models/demand_forecast/compare").json()

    assert [(row["version"], row["value"], row["best"]) for row in compared["versions"]] == [("v1", 10.0, True), ("v2", None, False)]
    assert {name: metric["best"] for name, metric in compared["metrics"].items()} == {"mae": ["v1"], "r2": ["v1"]}
    assert client.get("/api/v1/models/statistics/registry").json()["average_production_metrics"] == {}
    assert client.get("/api/v1/models/demand_forecast/versions/v2").json()["metrics"]["mae"] == -5


@pytest.mark.parametrize(
    ("task", "metric", "best"), [("regression", "test_mae", "v2"), ("classification", "test_accuracy", "v1"), ("forecast", "mae", "v1")]
)
def test_compare_prefers_what_was_measured_on_a_test_part(api: Api, scope: Principal, task: str, metric: str, best: str) -> None:
    model = make_model(task=task)
    make_version(model, metrics={"mae": 1.0, "test_mae": 3.0, "accuracy": 0.8, "test_accuracy": 0.9})
    make_version(model, metrics={"mae": 2.0, "test_mae": 2.0, "accuracy": 0.9, "test_accuracy": 0.8})

    body = api().get("/api/v1/models/demand_forecast/compare").json()

    assert (body["metric"], body["best"], body["versions"][0]["version"]) == (metric, best, best)
    assert body["metrics"]["test_mae"] == {"direction": "lower", "best": ["v2"], "values": {"v1": 3.0, "v2": 2.0}}


def test_compare_falls_back_on_what_there_is(api: Api, scope: Principal) -> None:
    model = make_model(task="regression")
    make_version(model, metrics={"mae": 1.0, "test_rmse": 3.0})

    assert api().get("/api/v1/models/demand_forecast/compare").json()["metric"] == "mae"


def test_metrics_at_the_ends_of_the_range_are_read_everywhere(api: Api, scope: Principal) -> None:
    client, url = api(), "/api/v1/models"
    for name in ("first", "second"):
        client.post(url, {"name": name})
        for metrics in ({"mae": 1e308, "wape": 1e-320, "bias_pct": -1e300, "mape": 2**63 - 1}, {"mae": 5e-324}):
            assert client.post(f"{url}/{name}/versions", {"metrics": metrics}).status_code == 201
        old = make_old_version(RegisteredModel.objects.get(name=name), metrics={"mae": -1e308, "rmse": "small", "wape": [1]})
        assert client.post(f"{url}/{name}/promote/{old.version}", {}).status_code == 200
        assert client.post(f"{url}/{name}/promote/v1", {}).status_code == 200

    pages = ["", "/first", "/statistics/registry", "/first/versions", "/first/versions/v1", "/first/versions/v1/evidence"]
    pages += ["/first/versions/v1/evidence?format=html", "/first/compare", "/first/production", "/history?model_name=first"]
    answers = {page: client.get(f"{url}{page}") for page in (*pages, "/first/deployment-history")} | {"audit": client.get("/api/v1/audit")}

    assert {page: answer.status_code for page, answer in answers.items()} == dict.fromkeys(answers, 200)
    assert answers["/first"].json()["champion"]["metrics"]["mae"] == 1e308
    assert answers["/statistics/registry"].json()["average_production_metrics"]["mae"] == 1e308
