"""Lists that had no search, or no ordering: what is looked for is found, and no query more is asked for it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from mlops.tenancy.roles import Principal
from registry.services.model_settings import configure_model
from tests.registry.factories import NOW, make_arena, make_dataset, make_job, make_model, make_request, make_retraining

pytestmark = pytest.mark.django_db

Api = Callable[..., APIClient]
MODEL = "/api/v1/models/demand_forecast"


@pytest.fixture
def shop(scope: Principal) -> None:
    """A model with three versions under four eyes, and a row in each list."""
    champion, challenger = make_arena(policy={"four_eyes": True})
    model = challenger.model
    make_request(challenger, by=scope, reason="Better in bakery.")
    configure_model(model=model, changes={"policy": {"four_eyes": False}}, by=scope, at=NOW, reason="Only two of us.")
    make_retraining(model, produced=champion, version_produced="v2", reason="New store opened.")
    make_retraining(model, status="failed", reason="Sunday.")
    make_job(label="Retrain demand_forecast")
    make_job("import_dataset", label="Read sales")
    make_dataset("sales", models=[make_model("other")])


LISTS = {
    "/api/v1/jobs": ("IMPORT_data", "created_at"),
    f"{MODEL}/retraining": ("new STORE", "started_at"),
    f"{MODEL}/deployment-history": ("demand_forecast v1", "promoted_at"),
    "/api/v1/models/history": ("v3", "promoted_at"),
    "/api/v1/models/promotion-requests": ("bakery", "requested_at"),
    "/api/v1/models/policy-requests": ("two of us", "requested_at"),
    "/api/v1/datasets/sales/versions": ("", "number"),
}


def rows(client: APIClient, address: str, **query: str) -> list[dict[str, Any]]:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


@pytest.mark.parametrize("address", LISTS)
def test_a_search_finds_one_row_and_nothing_that_is_not_there(api: Api, shop: None, address: str) -> None:
    client, (words, _) = api("viewer"), LISTS[address]

    assert len(rows(client, address, search=words)) == 1
    assert rows(client, address, search="nothing of the kind") == []


@pytest.mark.parametrize("address", LISTS)
def test_an_ordering_is_taken_in_both_directions(api: Api, shop: None, address: str) -> None:
    client, (_, field) = api("viewer"), LISTS[address]

    up, down = rows(client, address, ordering=field), rows(client, address, ordering=f"-{field}")

    values = [row.get(field) for row in up if row.get(field) is not None]
    assert len(up) == len(down) > 0
    assert values == sorted(values)
    assert [row.get(field) for row in down if row.get(field) is not None] == values[::-1]


@pytest.mark.parametrize("address", LISTS)
def test_a_search_asks_no_query_more(api: Api, shop: None, address: str) -> None:
    client, (words, field) = api("viewer"), LISTS[address]
    rows(client, address)

    with CaptureQueriesContext(connection) as plain:
        rows(client, address)
    with CaptureQueriesContext(connection) as searched:
        rows(client, address, search=words, ordering=f"-{field}")

    assert len(searched) <= len(plain)


@pytest.mark.parametrize("address", LISTS)
def test_an_ordering_that_is_none_names_those_there_are(api: Api, shop: None, address: str) -> None:
    answer = api("viewer").get(address, {"ordering": "reason"})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "ordering")
