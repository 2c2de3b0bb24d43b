"""The numbers beside a decision where nothing judged the version against the champion of now: whose they are is said."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from mlops.tenancy.roles import Principal, system
from registry.models import ModelVersion
from registry.services import moves, promotion
from tests.registry import factories as make
from tests.registry.test_screens import decide_url, page_url

pytestmark = pytest.mark.django_db
Site = Callable[..., Client]
OTHER_WAY = "v2 has not been judged against v3. The other way round: v3 is 7.0 % better than v2 by MAE; 1 of 13 gates failed: Segments."
FORMER = "v4 has not been judged against v3. Its last verdict, against v2: v4 is 50.0 % worse than v2 by MAE"


@pytest.fixture
def pair(scope: Principal) -> tuple[ModelVersion, ModelVersion]:
    """v3, which took the throne that v2 was judged for, and v4, which lost against v2."""
    champion, challenger = make.make_arena(segments={"HOBBIES_2": 1.16})
    loser = make.make_version(champion.model)
    make.make_run(loser, make.make_dataset("other"), level=1.5 * 1.31)
    make.make_verdict(loser, champion)
    promotion.promote(version_id=challenger.pk, by=system(scope.customer_id), at=make.NOW)
    return champion, loser


def test_a_rollback_stands_beside_the_verdict_of_the_other_direction(pair: tuple[ModelVersion, ModelVersion], site: Site) -> None:
    text = site(email="lee@example.com").get(decide_url(pair[0], "rollback")).text

    assert OTHER_WAY in text
    assert "v3 against v2, judged" in text
    assert "HOBBIES_2" in text


def test_a_rollback_that_was_asked_for_stands_beside_it_too(
    pair: tuple[ModelVersion, ModelVersion], site: Site, principal: Callable[..., Principal]
) -> None:
    pair[0].model.policy = {"four_eyes": True}
    pair[0].model.save(update_fields=["policy"])
    asked = promotion.rollback(version_id=pair[0].pk, by=principal("ml_manager", "kim@example.com"), at=make.NOW, reason="Sure?").request
    assert asked is not None

    text = site(email="lee@example.com").get(reverse("admin:registry_request_page", args=[asked.pk])).text

    assert OTHER_WAY in text
    assert "v3 against v2, judged" in text


def test_a_rejection_stands_beside_the_last_verdict(pair: tuple[ModelVersion, ModelVersion], site: Site) -> None:
    client, loser = site(email="lee@example.com"), pair[1]

    text = client.get(decide_url(loser, "archive")).text
    page = client.get(f"{page_url(loser)}?version=v4").text

    assert [FORMER in one for one in (text, page)] == [True, True]
    assert ["v4 against v2, judged" in one for one in (text, page)] == [True, True]


def test_a_version_that_was_never_judged_shows_no_gates(pair: tuple[ModelVersion, ModelVersion], site: Site) -> None:
    version = make.make_version(pair[0].model)

    text = site(email="lee@example.com").get(decide_url(version, "archive")).text

    assert "Not judged against the present champion." in text
    assert "There are no gates to show" in text


def test_a_rejections_record_rests_on_the_last_verdict(pair: tuple[ModelVersion, ModelVersion], api: Callable[..., APIClient]) -> None:
    url, verdict = "/api/v1/models/demand_forecast/versions/v4", pair[1].verdicts.get()

    api().post(f"{url}/archive", {"reason": "Worse."})

    record = api().get(f"{url}/evidence").json()["decisions"][0]
    assert (record["kind"], record["verdict"]["id"], record["verdict"]["against"]) == ("rejection", str(verdict.pk), "v2")
    assert (record["rests_on"]["verdict"], record["rests_on"]["backtest"]) == (str(verdict.pk), str(verdict.run_id))


def test_a_rejections_record_rests_on_the_verdict_against_the_present_champion(
    pair: tuple[ModelVersion, ModelVersion], scope: Principal
) -> None:
    loser, champion = pair[1], ModelVersion.objects.get(version="v3")
    verdict = make.make_verdict(loser, champion)
    make.make_verdict(loser, pair[0])

    moves.archive(version_id=loser.pk, by=scope, at=make.NOW, reason="Worse.")

    assert loser.decisions.get(kind="rejection").verdict == verdict


def test_gates_are_shown_with_their_units_whatever_older_ones_called_them(scope: Principal, site: Site) -> None:
    champion, challenger = make.make_arena(segments={"HOBBIES_2": 1.16})
    verdict = challenger.verdicts.get()
    former = {"improvement": "mae", "mape": "ratio", "wape": "ratio", "stability": "mae", "segments": "segments"}
    client = site(email="lee@example.com")

    now = client.get(decide_url(challenger, "promote")).context["shown"].gates
    aged = [{**gate, "unit": former.get(gate["name"], gate["unit"])} for gate in verdict.gates]
    make.make_verdict(challenger, champion, gates=aged)
    then = client.get(decide_url(challenger, "promote")).context["shown"].gates

    units = {gate["name"]: gate["shown_unit"] for gate in now}
    assert units == {gate["name"]: gate["shown_unit"] for gate in then}
    assert (units["improvement"], units["mape"], units["wape"], units["segments"]) == ("units", "%", "%", "worse segments")
    segments = next(gate for gate in now if gate["name"] == "segments")
    assert (segments["candidate"], segments["champion"], segments["state"]) == (1.0, None, "failed")


def test_the_api_gives_the_units_of_gates(scope: Principal, api: Callable[..., APIClient]) -> None:
    make.make_arena()

    gates = api().get("/api/v1/models/demand_forecast/versions/v3/evidence").json()["verdicts"][0]["gates"]

    told = {gate["name"]: (round(gate["candidate"], 2), gate["unit"]) for gate in gates if gate["name"] in ("mape", "wape")}
    assert told == {"mape": (10.96, "%"), "wape": (0.09, "fraction")}
