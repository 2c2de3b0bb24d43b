"""The overview, through Django's client."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.models import ForecastAccuracy, ModelVersion
from tests.registry import factories as make

pytestmark = pytest.mark.django_db


def test_an_empty_overview_teaches_how_to_begin(site: Callable[..., Client]) -> None:
    answer = site().get("/admin/")

    assert "no model is registered" in answer.text
    assert reverse("admin:registry_dataset_upload") in answer.text
    assert "make run" in answer.text


def test_overview_says_what_waits_and_what_is_wrong(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    broken = make.make_model("bikes", display_name="Bikes")
    make.make_retraining(broken, status="failed", metadata={"error": "no rows"})

    text = site().get("/admin/").text

    assert "Bikes failed its last retraining; nothing waits for a decision." in text
    assert "1.36" in text


@pytest.mark.parametrize(("drifted", "badge"), [(1.0, "Healthy"), (1.6, "Look at it")])
def test_the_overview_calls_a_champion_what_the_api_calls_it(
    customer: Customer, site: Callable[..., Client], api: Callable[..., APIClient], drifted: float, badge: str
) -> None:
    with acting(system(customer.pk)):
        champion = make.make_champion(make.make_model(), metrics={"mae": 1.0})
        make.make_accuracy(champion, level=1.0, drifted=drifted)

    text = site().get("/admin/").text
    said = api("viewer").get("/api/v1/models/health").json()["champion"]["status"]

    assert (f"{badge}</span>" in text, said) == (True, "healthy" if badge == "Healthy" else "critical")
    assert ("60 % worse in its last week" in text) is (badge == "Look at it")


def test_a_backtest_warns_of_nothing_by_its_last_week(
    customer: Customer, site: Callable[..., Client], api: Callable[..., APIClient]
) -> None:
    with acting(system(customer.pk)):
        make.make_arena()
        ForecastAccuracy.objects.all().delete()

    text = site().get("/admin/").text
    said = api("viewer").get("/api/v1/models/health").json()["champion"]

    assert "Healthy</span>" in text
    assert (said["status"], said["mae_source"], said["mae_change_pct"]) == ("healthy", "backtest", None)


def sentence_of(text: str) -> tuple[str, str]:
    """How the page's first sentence is toned, and what it says."""
    found = re.search(r'<p class="ty-sentence([^"]*)">.*?<span>([^<]*)</span></p>', text)
    assert found is not None
    return found.group(1).strip(), unescape(found.group(2))


def test_a_champion_that_nothing_measured_is_called_what_the_api_calls_it(
    customer: Customer, site: Callable[..., Client], api: Callable[..., APIClient]
) -> None:
    with acting(system(customer.pk)):
        make.make_champion(make.make_model("fresh", display_name="fresh"))
        make.make_champion(make.make_model("prices", task="regression", display_name="prices"))

    text = site().get("/admin/").text
    said = [api("viewer").get(f"/api/v1/models/health?model_name={name}").json()["champion"]["status"] for name in ("fresh", "prices")]

    assert said == ["warning", "warning"]
    assert len(re.findall(r'<span class="ty-status ty-warn">(?:(?!</span>).)*</span>Not measured</span>', text)) == 2
    assert "Healthy</span>" not in text
    expected = "fresh was never measured here and prices was never measured here; nothing waits for a decision."
    assert sentence_of(text) == ("ty-sentence-open", expected)


def test_a_champion_without_anything_to_compare_with_is_called_what_the_api_calls_it(
    customer: Customer, site: Callable[..., Client], api: Callable[..., APIClient]
) -> None:
    with acting(system(customer.pk)):
        champion = make.make_champion(make.make_model(display_name="Bikes"), metrics={})
        make.make_accuracy(champion, level=1.0)

    text = site().get("/admin/").text

    assert api("viewer").get("/api/v1/models/health").json()["champion"]["status"] == "warning"
    assert "Healthy</span>" not in text
    assert sentence_of(text)[1] == "Bikes has no MAE on record to compare its last week with; nothing waits for a decision."


def test_what_is_wrong_is_said_before_what_was_never_measured(customer: Customer, site: Callable[..., Client]) -> None:
    with acting(system(customer.pk)):
        make.make_champion(make.make_model("fresh", display_name="fresh"))
        make.make_retraining(make.make_model("zebras", display_name="zebras"), status="failed", metadata={"error": "no rows"})

    tone, said = sentence_of(site().get("/admin/").text)

    assert (tone, said.partition(";")[0]) == ("ty-sentence-bad", "zebras failed its last retraining and fresh was never measured here")


def test_a_cards_errors_name_their_days_their_unit_and_what_they_are_compared_with(
    arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]
) -> None:
    client = site()
    told = _text_of(client.get("/admin/").text)
    ForecastAccuracy.objects.all().delete()
    backtested = client.get("/admin/").text

    last = make.TODAY - timedelta(days=1)
    assert f"MAE, 7 validated days to {last}" in told
    assert "units" in told
    assert "against the 23 days before; lower is better" in told
    assert f"MAE, 7 backtest days to {last}" in _text_of(backtested)
    assert "ty-good" not in backtested.split("ty-stats")[1].split("ty-figure-spark")[0]


@pytest.mark.parametrize(
    ("checked", "said"),
    [
        (None, "Drift not checked yet"),
        ({}, "Drift not checked yet"),
        ({"demand_forecast": {"version": "v2", "drifted": False, "said": "No drift on 2026-03-01."}}, "Drift No drift on 2026-03-01."),
        ({"demand_forecast": {"version": "v1", "drifted": False, "said": "No drift on 2026-02-01."}}, "Drift not checked yet"),
    ],
)
def test_a_card_says_what_the_drift_check_found_of_this_champion(
    arena: tuple[ModelVersion, ModelVersion], customer: Customer, site: Callable[..., Client], checked: dict[str, Any] | None, said: str
) -> None:
    with acting(system(customer.pk)):
        if checked is not None:
            make.make_job("detect_model_drift", state="succeeded", result={"models": checked}, finished_at=make.NOW)
        for _ in range(60):  # more than the page shows of anything
            make.make_job("run_daily_backtest", state="failed", created_at=timezone.now(), finished_at=timezone.now())

    assert said in _text_of(site().get("/admin/").text)


def test_a_card_tells_of_its_last_retraining_in_sentences(
    arena: tuple[ModelVersion, ModelVersion], customer: Customer, site: Callable[..., Client]
) -> None:
    with acting(system(customer.pk)):
        make.make_retraining(make.make_model("bikes"), status="failed", metadata={"error": "No rows."})

    told = _text_of(site().get("/admin/").text)

    assert re.search(r"Completed \S+ \S+ UTC ?; it made v3\. v3 is 7\.0 % better than v2 by MAE", told)
    assert re.search(r"Failed \S+ \S+ UTC ?\. No rows\.", told)


def _text_of(html: str) -> str:
    """What a reader sees, without what is for screen readers alone."""
    seen = re.sub(r'<span class="ty-hidden">.*?</span>', "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", seen)).split())


def test_a_champion_whose_errors_are_known_is_called_healthy(arena: tuple[ModelVersion, ModelVersion], site: Callable[..., Client]) -> None:
    text = site().get("/admin/").text

    assert "Healthy</span>" in text
    assert "Not measured</span>" not in text
