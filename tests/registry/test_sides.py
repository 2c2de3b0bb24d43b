"""The model page's two sides: which backtests stand beside each other, and what is said where none can."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from mlops.tenancy.roles import Principal
from registry.models import BacktestRun, ModelVersion
from tests.registry import factories as make
from tests.registry.test_screens import MOST_QUERIES, reads

pytestmark = pytest.mark.django_db
Site = Callable[..., Client]
Pair = tuple[ModelVersion, ModelVersion]
SAME_DAYS = "Both versions on the same days"
NOT_COMPARABLE = "v1 and v2 have no backtest on the same window and data: these numbers are not comparable."


@pytest.fixture
def unjudged(scope: Principal) -> Pair:
    """A champion and a challenger that was not judged against it."""
    model = make.make_model()
    return make.make_champion(model), make.make_version(model)


def page(site: Site, version: ModelVersion) -> str:
    return site(email="lee@example.com").get(address(version)).text


def address(version: ModelVersion) -> str:
    return reverse("admin:registry_model_page", args=[version.model_id])


def make_week_later(version: ModelVersion, *, level: float) -> BacktestRun:
    """A newer backtest on newer data, a week further on."""
    data = make.make_dataset(f"week_later_{version.version}")
    return make.make_run(version, data, level=level, back=-7, at=make.NOW + timedelta(days=7))


def test_versions_that_were_not_judged_are_compared_on_their_newest_common_ground(unjudged: Pair, site: Site) -> None:
    champion, version = unjudged
    data = make.make_dataset()
    make.make_run(champion, data, level=2.125)
    make.make_run(version, data, level=1.125)
    make_week_later(champion, level=9.875)

    text = page(site, champion)

    assert ("2.125" in text, "1.125" in text, "9.875" in text) == (True, True, False)
    assert SAME_DAYS in text
    assert "not comparable" not in text
    assert 'id="chart-segments"' in text


def test_versions_without_common_ground_say_so_and_are_not_set_against_each_other(unjudged: Pair, site: Site) -> None:
    champion, version = unjudged
    make_week_later(champion, level=9.875)
    make.make_run(version, make.make_dataset(), level=1.125)

    text = page(site, champion)

    assert NOT_COMPARABLE in text
    assert text.count("Measured on") == 1
    assert (SAME_DAYS in text, 'id="chart-segments"' in text, "MAE of v1" in text) == (False, False, False)
    assert "m5_small #1, 7 days ahead" in text
    assert "week_later_v1 #1, 7 days ahead" in text


def test_each_side_without_common_ground_shows_the_days_of_its_own_window(unjudged: Pair, site: Site) -> None:
    champion, version = unjudged
    make.make_run(version, make.make_dataset(), level=1.125)
    make_week_later(champion, level=9.875)

    daily = site(email="lee@example.com").get(address(champion)).context["daily"]

    known = [[value is not None for value in one["values"]["mae"]] for one in daily["versions"]]
    assert (len(daily["days"]), sum(known[0]), sum(known[1])) == (make.WINDOW + 7, make.WINDOW, make.WINDOW)


def test_a_version_without_a_backtest_is_not_set_against_one_with(scope: Principal, site: Site) -> None:
    champion = make.make_champion(make.make_model())
    make.make_version(champion.model, metrics={"mae": 1.5})
    make.make_run(champion, make.make_dataset(), level=2.125)

    text = page(site, champion)

    assert NOT_COMPARABLE in text
    assert "as registered" in text


def test_a_verdicts_own_backtests_stand_whatever_is_newer(scope: Principal, site: Site) -> None:
    champion, _ = make.make_arena()
    make_week_later(champion, level=9.875)

    text = page(site, champion)

    assert ("1.310" in text, "9.875" in text, SAME_DAYS in text) == (True, False, True)


def test_finding_common_ground_asks_the_database_little(unjudged: Pair, site: Site) -> None:
    champion, version = unjudged
    make.make_run(version, make.make_dataset(), level=1.125)
    make_week_later(champion, level=9.875)

    assert reads(site(email="lee@example.com"), address(champion)) <= MOST_QUERIES


def test_promotions_are_said_to_be_marked_where_one_is(unjudged: Pair, site: Site) -> None:
    champion, _ = unjudged
    make.make_run(champion, make.make_dataset(), level=2.125)
    client = site(email="lee@example.com")

    before = client.get(address(champion))
    make_week_later(champion, level=2.125)
    marked = client.get(address(champion))

    assert (before.context["daily"]["marks"], "marked" in before.context["daily_note"]) == ([], False)
    assert [mark["label"] for mark in marked.context["daily"]["marks"]] == ["v1 promoted"]
    assert marked.context["daily_note"] == "Promotions are marked."
