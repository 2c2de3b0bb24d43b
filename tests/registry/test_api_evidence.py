"""Evidence and lineage of a version, for programs and as the auditor's page."""

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from mlops.tenancy.roles import Principal
from registry.services import moves, promotion
from tests.conftest import NOON
from tests.registry.factories import make_arena, make_model, make_request, make_version

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
URL = "/api/v1/models/demand_forecast/versions"


def test_the_evidence_has_everything_the_decision_rested_on(api: Api, scope: Principal) -> None:
    _, challenger = make_arena()
    promotion.promote(version_id=challenger.pk, by=scope, at=NOON, reason="Better in every department.")

    body = api("viewer").get(f"{URL}/v3/evidence").json()

    decision = body["decisions"][0]
    assert (decision["kind"], decision["former_champion"], decision["rationale"]) == ("promotion", "v2", "Better in every department.")
    assert decision["verdict"]["gates"][0]["name"] == "improvement"
    assert set(decision["rests_on"]) == {"dataset_version", "verdict", "backtest", "champion_backtest"}
    assert [move["to"] for move in body["moves"]] == ["champion", "challenger"]
    assert [event["action"] for event in body["audit_events"]] == ["version.champion", "version.challenger", "version.registered"]
    assert decision["audit_number"] == body["audit_events"][0]["number"]
    assert len(body["backtests"]) == 1


def test_the_auditors_page_is_inert_html(api: Api, scope: Principal) -> None:
    model = make_model()
    version = make_version(model, notes="x", metrics={"<img src=x onerror=alert(1)>": "<b>"})
    moves.archive(version_id=version.pk, by=scope, at=NOON, reason="<script>alert(1)</script>")

    response = api("viewer").get(f"{URL}/v1/evidence?format=html")

    page = response.content.decode()
    assert (response.status_code, response["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert response["Content-Security-Policy"].startswith("default-src 'none'")
    assert response["X-Content-Type-Options"] == "nosniff"


def test_the_auditors_page_shows_the_gates(api: Api, scope: Principal) -> None:
    make_arena()

    page = api("viewer").get(f"{URL}/v3/evidence?format=html").content.decode()

    assert "Stock-out miss rate" in page
    assert "Diebold–Mariano" in page


def test_the_auditors_page_parts_decisions_about_other_versions(api: Api, scope: Principal) -> None:
    champion, challenger = make_arena()
    moves.archive(version_id=challenger.pk, by=scope, at=NOON, reason="Worse.")

    page = api("viewer").get(f"{URL}/{champion.version}/evidence?format=html").content.decode()

    own, others = page.split("<h2>Decisions about other versions while v2 was champion</h2>")
    assert "<h2>Decisions about v2</h2>" in own
    assert "Promotion of v2" in own
    assert "<h3>Rejection of v3" not in own
    assert "<h3>Rejection of v3" in others
    assert "<h3>Challenge of v3" in others
    assert "<dt>Champion then</dt><dd>v2</dd>" in others
    assert "Former champion" not in page


def test_the_auditors_page_of_a_version_that_never_served_has_no_others(api: Api, scope: Principal) -> None:
    make_arena()

    assert "Decisions about other versions" not in api("viewer").get(f"{URL}/v3/evidence?format=html").content.decode()


def test_evidence_comes_in_declared_formats_only(api: Api, scope: Principal) -> None:
    make_version(make_model())

    assert api().get(f"{URL}/v1/evidence?format=json").status_code == 200
    assert api().get(f"{URL}/v1/evidence?format=pdf").status_code == 400


def test_lineage_leads_both_ways(api: Api, scope: Principal) -> None:
    make_arena()
    client = api("viewer")

    down, up = client.get(f"{URL}/v3/lineage").json(), client.get(f"{URL}/v2/lineage").json()

    assert (down["parent"]["version"], down["dataset"]["name"], down["dataset"]["number"]) == ("v2", "m5_small", 1)
    assert down["retraining"]["version_produced"] == "v3"
    assert [child["version"] for child in up["children"]] == ["v3"]
    assert down["recipe"] == {"kind": "lightgbm", "rounds": 200}


def test_a_request_shows_in_the_evidence(api: Api, scope: Principal) -> None:
    _, challenger = make_arena(policy={"four_eyes": True})
    make_request(challenger, by=scope)

    body = api("viewer").get(f"{URL}/v3/evidence").json()

    assert (body["promotion_requests"][0]["status"], body["promotion_requests"][0]["requested_by"]) == ("pending", scope.name)
