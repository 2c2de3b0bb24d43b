"""The page of one decision: its verdict gate by gate, links to what it rests on, and the request that it granted."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import DecisionRecord, ModelVersion, PromotionRequest
from registry.services import moves, promotion
from tests.registry import factories as make
from tests.registry.test_screens import MOST_QUERIES, page_url, reads

pytestmark = pytest.mark.django_db
Site = Callable[..., Client]
SAID = "v3 is 7.0 % better than v2 by MAE; 1 of 13 gates failed: Segments."


@pytest.fixture
def granted(scope: Principal, principal: Callable[..., Principal]) -> PromotionRequest:
    """A request of v3's that another manager granted; since then v4 competes."""
    _, challenger = make.make_arena(policy={"four_eyes": True}, segments={"HOBBIES_2": 1.16})
    asked = make.make_request(challenger, by=principal("ml_manager", "kim@example.com"))
    promotion.approve(request_id=asked.pk, by=principal("ml_manager", "first@example.com"), at=make.NOW, reason="Fine.")
    newer = make.make_version(challenger.model)
    moves.challenge(version_id=newer.pk, by=system(scope.customer_id), at=make.NOW)
    return PromotionRequest.objects.get(pk=asked.pk)


def decision_url(record: DecisionRecord) -> str:
    return reverse("admin:registry_decision", args=[record.pk])


def request_url(asked: PromotionRequest) -> str:
    return reverse("admin:registry_request_page", args=[asked.pk])


def test_a_granted_request_shows_the_verdict_it_rested_on_and_its_record(granted: PromotionRequest, site: Site) -> None:
    record = DecisionRecord.objects.get(version=granted.version, kind="promotion")

    text = site("viewer").get(request_url(granted)).text

    assert SAID in text
    assert "v3 against v2, judged" in text
    assert "HOBBIES_2" in text
    assert decision_url(record) in text
    assert "v4" not in text


def test_a_refused_request_shows_the_verdict_it_was_asked_with(scope: Principal, site: Site, principal: Callable[..., Principal]) -> None:
    _, challenger = make.make_arena(policy={"four_eyes": True}, segments={"HOBBIES_2": 1.16})
    asked = make.make_request(challenger, by=principal("ml_manager", "kim@example.com"))
    promotion.reject(request_id=asked.pk, by=principal("ml_manager", "first@example.com"), at=make.NOW, reason="Not yet.")
    moves.archive(version_id=challenger.pk, by=scope, at=make.NOW, reason="Worse.")

    text = site("viewer").get(request_url(asked)).text

    assert SAID in text
    assert "Decision record" not in text


def test_a_decision_shows_its_verdict_gate_by_gate_and_the_request_it_granted(granted: PromotionRequest, site: Site) -> None:
    record = DecisionRecord.objects.get(version=granted.version, kind="promotion")

    text = site("viewer").get(decision_url(record)).text

    assert SAID in text
    assert "v3 against v2, judged" in text
    assert text.count('<th scope="row">') == 13
    assert request_url(granted) in text
    assert "first@example.com" in text


def test_what_a_decision_rests_on_is_linked(granted: PromotionRequest, site: Site) -> None:
    record, client = DecisionRecord.objects.get(version=granted.version, kind="promotion"), site("viewer")
    places = {"dataset_version": "datasetversion", "verdict": "verdict", "backtest": "backtestrun", "champion_backtest": "backtestrun"}
    urls = [reverse(f"admin:registry_{page}_change", args=[record.rests_on[name]]) for name, page in places.items()]

    text = client.get(decision_url(record)).text

    assert [url for url in urls if f'href="{url}"' not in text] == []
    assert [client.get(url).status_code for url in urls] == [200] * 4


def test_a_decision_without_a_verdict_says_what_was_missing(scope: Principal, site: Site) -> None:
    first = make.make_champion(make.make_model())
    second = make.make_version(first.model)
    promotion.promote(version_id=second.pk, by=scope, at=make.NOW)
    client = site("viewer")

    texts = [client.get(decision_url(DecisionRecord.objects.get(version=one))).text for one in (first, second)]

    assert "there was no champion to beat" in texts[0]
    assert "nothing had judged v2 against v1, the champion then" in texts[1]


def test_a_lineage_links_what_has_a_page(scope: Principal, site: Site) -> None:
    model = make.make_model()
    data = make.make_dataset(models=[model])
    run = make.make_retraining(model)
    study = "00000000-0000-4000-8000-000000000007"
    version = make.make_version(model, lineage={"retraining": str(run.pk), "dataset": str(data.dataset_id), "study": study, "code": "<b>"})

    text = site("viewer").get(page_url(version)).text

    assert f'<a href="{reverse("admin:registry_retrainingrun_change", args=[run.pk])}">{run.pk}</a>' in text
    assert f'<a href="{reverse("admin:registry_dataset_page", args=[data.dataset_id])}">{data.dataset_id}</a>' in text
    assert f'<a href="{reverse("admin:experiments_study", args=[study])}">{study}</a>' in text
    assert "<dd>&lt;b&gt;</dd>" in text


def test_a_decision_of_another_customers_is_not_found(other_customer: Customer, site: Site) -> None:
    with acting(system(other_customer.pk)):
        record = DecisionRecord.objects.get(version=make.make_champion(make.make_model("theirs")))

    assert site().get(decision_url(record)).status_code == 404


def test_a_decision_asks_the_database_little(granted: PromotionRequest, site: Site) -> None:
    version: ModelVersion = granted.version
    client = site("viewer")

    assert reads(client, decision_url(DecisionRecord.objects.get(version=version, kind="promotion"))) <= MOST_QUERIES
    assert reads(client, request_url(granted)) <= MOST_QUERIES
