"""The reads that are written out in SQL show what the ordinary ones show, to the same people."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import connection, transaction
from django.test import Client
from rest_framework.test import APIClient

from mlops.tenancy import services as tenancy
from mlops.tenancy.context import NoCustomer
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import Verdict
from registry.queries import hot
from registry.services import moves
from tests.conftest import NOON
from tests.registry.factories import make_arena, make_model, make_version

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
MODEL = "/api/v1/models/demand_forecast"
ADDRESSES = [
    MODEL,
    f"{MODEL}/versions",
    f"{MODEL}/versions?limit=2&page=2",
    f"{MODEL}/versions?page_size=1&status=deprecated",
    f"{MODEL}/versions?status=archived",
    f"{MODEL}/versions?status=&limit=2",
    f"{MODEL}/versions?page=9",
    f"{MODEL}/versions/v2",
    f"{MODEL}/versions/3",
    f"{MODEL}/versions/v4",
]
DOCUMENTS = {"metrics": {"mae": 1.0, "tiny": 1e-9, "ü": "\u2028"}, "hyperparameters": {"depth": [1, {"a": None}]}}


def make_history() -> None:
    """A champion, a judged challenger, and a version with every document, child of the champion."""
    champion, challenger = make_arena()
    signature, statistics = {"features": [{"name": "price", "dtype": "float"}]}, {"price": {"mean": 2.5}}
    make_version(champion.model, parent=champion, signature=signature, reference_statistics=statistics, notes="Dry.", **DOCUMENTS)
    moves.shadow(version_id=challenger.pk, by=system(champion.customer_id), at=NOON + timedelta(microseconds=7))


@pytest.mark.parametrize("address", ADDRESSES)
def test_both_ways_answer_the_same(api: Api, scope: Principal, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    make_history()
    client = api("viewer")
    quick = client.get(address, headers={"X-Request-ID": "one"})
    monkeypatch.setattr(hot, "_may_be_hot", lambda *names: False)

    slow = client.get(address, headers={"X-Request-ID": "one"})

    assert (quick.status_code, dict(quick.headers)) == (200, {**slow.headers, "Content-Length": quick.headers["Content-Length"]})
    assert quick.json() == slow.json()


@pytest.mark.postgres_only
@pytest.mark.parametrize("address", [MODEL, f"{MODEL}/versions", f"{MODEL}/versions/v3"])
def test_the_written_out_way_is_taken(api: Api, scope: Principal, django_assert_max_num_queries: Any, address: str) -> None:
    make_history()
    client = api("viewer")

    with django_assert_max_num_queries(2 + 3):  # the read; the stamp on and off, as the test's transaction is open; the key
        assert client.get(address).status_code == 200


@pytest.mark.parametrize("query", ["?limit=0", "?limit=2&page_size=2", "?page=x", "?status=staging", "?nonsense=1", "?page=1&page=2"])
def test_a_query_that_will_not_do_is_refused_as_ever(api: Api, scope: Principal, query: str) -> None:
    make_model()

    assert api().get(f"{MODEL}/versions{query}").status_code == 400


@pytest.mark.parametrize("address", [MODEL, f"{MODEL}/versions", f"{MODEL}/versions/v1"])
def test_strangers_are_answered_as_if_there_were_nothing(api: Api, scope: Principal, other_customer: Customer, address: str) -> None:
    make_version(make_model())

    assert api("viewer", of=other_customer).get(address).status_code == 404
    assert api("service").get(address).status_code == 403
    assert APIClient().get(address).status_code == 401


def test_a_session_is_answered_by_the_view(site: Callable[..., Client], scope: Principal) -> None:
    make_version(make_model())

    assert site("viewer").get(f"{MODEL}/versions/v1").json()["version"] == "v1"


@pytest.mark.parametrize("document", [{"huge": 1e300}, {"a": [-1e300]}, {"a": [1, 9.3e18]}, {"a": {"b": [[1e19]]}}])
def test_integers_beyond_64_bits_are_floats_in_lists_too(api: Api, scope: Principal, document: dict[str, Any]) -> None:
    make_version(make_model(), hyperparameters=document)

    assert api().get(f"{MODEL}/versions").json()["results"][0]["hyperparameters"] == document


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_prepared_statements_keep_customers_apart() -> None:
    customers = [tenancy.create_customer(name=f"Shop {number}", at=NOON) for number in range(2)]
    for number, one in enumerate(customers):
        with transaction.atomic(), acting(system(one.pk)):
            model = make_model()
            for _ in range(number + 1):
                make_version(model)

    seen = []
    for one in customers * 4:  # more often than PostgreSQL needs to settle on one plan
        with scoped(one.pk):
            found = hot.hot_versions("demand_forecast", status="", limit=10, offset=0)
            seen.append(found and [line["version"] for line in json.loads(orjson.dumps(found.lines))])

    assert seen == [["v1"], ["v2", "v1"]] * 4
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.current_customer_id', true)")
        assert cursor.fetchone() == ("",)
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'tiltyard_%'")
        assert cursor.fetchone() == (1,)


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_a_statement_that_was_discarded_is_prepared_again(customer: Customer) -> None:
    with transaction.atomic(), acting(system(customer.pk)):
        make_version(make_model())

    with scoped(customer.pk):
        before = hot.hot_version("demand_forecast", "v1")
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
        after = hot.hot_version("demand_forecast", "v1")

    assert before is not None
    assert after is not None
    assert after.version == before.version


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_the_policies_hold_where_a_statement_forgets_its_customer(customer: Customer, other_customer: Customer) -> None:
    from mlops.database.postgresql.statements import Statement

    with transaction.atomic(), acting(system(other_customer.pk)):
        make_model()
    everybody = Statement("SELECT name FROM registered_models WHERE %(customer)s::uuid IS NOT NULL")

    with scoped(customer.pk):
        assert everybody.rows() == []
    with scoped(other_customer.pk):
        assert everybody.rows() == [("demand_forecast",)]
    with pytest.raises(NoCustomer):
        everybody.rows()


@pytest.mark.postgres_only
def test_the_newest_verdict_comes_along(scope: Principal) -> None:
    _, challenger = make_arena()

    found = hot.hot_version("demand_forecast", challenger.version)

    assert found is not None
    assert found.verdict == Verdict.objects.filter(version=challenger).latest("created_at")
    assert found.verdict.against is not None
    assert found.verdict.against.version == "v2"
