"""The inbox through Django's client: what it shows, what a click does, and that it asks the database little."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from alerts.models import MLAlert, Subscription
from alerts.services import inbox
from mlops.audit.models import AuditEvent
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, Role, system
from mlops.tenancy.services import create_api_key
from registry.models import RetrainingRun
from registry.services import promotion
from registry.services.model_settings import configure_model
from tests.alerts.factories import NOON, make_alert
from tests.conftest import PASSWORD
from tests.experiments.proposals import make_experiment
from tests.registry import factories as make

Site = Callable[..., Client]
INBOX = "/admin/alerts/inbox/"
MOST_QUERIES = 12
DRIFT: dict[str, Any] = {
    "message": "MAE of the last seven days is 31 % above the baseline.",
    "details": {
        "as_of": "2026-03-01",
        "version_id": "7d1c7a2e-93a1-4f0f-9d1e-0a4e5f3c1b11",
        "segments": [{"column": "dept_id", "value": "FOODS_3", "mae_recent": 1.93, "mae_reference": 1.47, "mae_change_pct": 31.3}],
    },
}


def url(name: str, alert: MLAlert) -> str:
    return reverse(f"admin:alerts_{name}", args=[alert.pk])


def reads(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return sum(query["sql"].startswith("SELECT") and "set_config" not in query["sql"] for query in captured)


def make_robot(name: str, *, by: Principal) -> Principal:
    """A key without a person, which `by` made."""
    customer = Customer.objects.get(pk=by.customer_id)
    key, _ = create_api_key(customer=customer, role=Role.ML_MANAGER, name=name, user=None, at=NOON, by=by)
    return Principal("key", f"key:{name}", Role.ML_MANAGER, customer.pk, key_id=key.pk)


def drift(**values: Any) -> MLAlert:
    make.make_arena()
    return make_alert(model_name="demand_forecast", version="v2", **(DRIFT | values))


def test_the_most_urgent_stands_first_and_its_evidence_beside(scope: Principal, site: Site) -> None:
    make_alert(title="A mild one", severity="info", cause="a")
    worst = make_alert(title="The worst", severity="critical", cause="b", **DRIFT)
    make_alert(title="A warning", severity="warning", cause="c")

    answer = site("admin").get(INBOX)

    assert [alert.title for alert in answer.context["found"].alerts] == ["The worst", "A warning", "A mild one"]
    assert answer.context["alert"] == worst
    assert "3 alerts need a person: 1 critical, 1 warning, 1 info; nobody has read any of them." in answer.text
    assert "FOODS_3" in answer.text
    assert "Retrains the model" in answer.text


def test_one_alert_is_told_in_the_singular(scope: Principal, site: Site) -> None:
    make_alert(severity="warning")

    assert "1 alert needs a person: 1 warning; nobody has read it." in site("admin").get(INBOX).text


def test_repeats_are_one_row_with_a_count(scope: Principal, site: Site) -> None:
    for _ in range(3):
        make_alert()

    text = site("admin").get(INBOX).text

    assert text.count("data-alert=") == 1
    assert "seen 3 times" in text


def test_an_empty_inbox_teaches_and_an_empty_filter_leads_back(scope: Principal, site: Site) -> None:
    client = site("viewer")

    assert "How something gets here" in client.get(INBOX).text
    assert "Nothing matches these filters" in client.get(INBOX, {"severity": "critical"}).text


@pytest.mark.parametrize(
    ("filters", "titles"),
    [
        ({"severity": "critical"}, ["Backtest"]),
        ({"type": "drift_detected"}, ["Drift"]),
        ({"model": "bikes"}, ["Backtest"]),
        ({"q": "DRIFT"}, ["Drift"]),
        ({"order": "oldest"}, ["Backtest", "Drift"]),
        ({"status": "decided"}, []),
        ({"severity": "<b>", "status": "x", "order": "'", "page": "-3"}, ["Backtest", "Drift"]),
        ({"page": "999999999"}, ["Backtest", "Drift"]),
    ],
)
def test_filters_narrow_the_list_and_nonsense_does_not(scope: Principal, site: Site, filters: dict[str, str], titles: list[str]) -> None:
    make_alert(title="Backtest", severity="critical", cause="a", alert_type="backtest_degradation", model_name="bikes", message="")
    make_alert(title="Drift", cause="b", message="", at=NOON + timedelta(hours=1))

    assert [alert.title for alert in site("viewer").get(INBOX, filters).context["found"].alerts] == titles


def test_a_page_that_has_emptied_leads_to_the_last_one(scope: Principal, site: Site) -> None:
    make_alert()

    assert "page=1" in site("viewer").get(INBOX, {"page": "7"}).url


def test_approving_does_the_deed_and_says_what_came_of_it(scope: Principal, site: Site) -> None:
    alert, client = drift(), site("admin")

    done = client.post(url("alert", alert), {"answer": "approve", "revision": alert.revision, "reason": "Easter."}, follow=True)

    alert.refresh_from_db()
    assert (alert.status, alert.decided_by, alert.notes) == ("actioned", "admin@example.com", "Easter.")
    assert "demand_forecast is being retrained" in done.text
    assert RetrainingRun.objects.filter(trigger_type="drift_detected", requested_by="admin@example.com").count() == 1
    assert AuditEvent.objects.filter(action="alert.actioned", reason="Easter.").exists()


def test_dismissing_needs_a_reason_and_keeps_the_filters(scope: Principal, site: Site) -> None:
    alert, client = make_alert(), site("admin")
    given = {"answer": "dismiss", "revision": alert.revision, "query": "severity=warning&next=//evil.example"}

    silent = client.post(url("alert", alert), given | {"reason": "  "})
    told = client.post(url("alert", alert), given | {"reason": "A public holiday."})

    assert silent.status_code == 409
    assert "Say why the alert is dismissed" in silent.text
    assert told.url.startswith(f"{INBOX}?severity=warning")
    alert.refresh_from_db()
    assert (alert.status, alert.notes) == ("dismissed", "A public holiday.")


def test_a_decision_that_came_too_late_says_who_was_first(scope: Principal, site: Site) -> None:
    alert = make_alert()
    inbox.dismiss(alert_id=alert.pk, by=scope, at=NOON, notes="A holiday.")

    late = site("admin").post(url("alert", alert), {"answer": "approve", "revision": alert.revision, "reason": "Go."})

    assert late.status_code == 409
    assert f"This alert was dismissed by {scope.name} already. Your answer changed nothing. That was at 2026-03-02 12:00 UTC." in late.text


def test_a_decision_on_what_has_changed_is_refused_and_keeps_the_notes(scope: Principal, site: Site) -> None:
    alert = make_alert()
    make_alert(message="Now it is 40 %.")

    stale = site("admin").post(url("alert", alert), {"answer": "dismiss", "revision": alert.revision, "reason": "Only 20 %."})

    assert stale.status_code == 409
    assert "has changed since you opened the page" in stale.text
    assert "Now it is 40 %." in stale.text
    assert "Only 20 %.</textarea>" in stale.text
    alert.refresh_from_db()
    assert alert.is_open


def test_opening_marks_as_read_and_passing_by_does_not(scope: Principal, site: Site) -> None:
    alert, client = make_alert(), site("viewer")

    client.get(url("beside", alert))
    passed = MLAlert.objects.get(pk=alert.pk).status
    opened = client.post(url("beside", alert))

    alert.refresh_from_db()
    assert (passed, alert.status, alert.read_by) == ("unread", "read", "viewer@example.com")
    assert f'data-revision="{alert.revision}"' in opened.text


def test_a_decided_alert_says_so_beside_its_title_and_what_became_of_the_version(scope: Principal, site: Site) -> None:
    _, challenger = make.make_arena(policy={"four_eyes": True})
    request = make.make_request(challenger, by=scope)
    details = {"version_id": str(challenger.pk), "request_id": str(request.pk)}
    title = "demand_forecast v3 waits for a decision"
    alert = make_alert(alert_type="promotion_pending", title=title, model_name="demand_forecast", version="v3", details=details)
    client = site("admin")
    asked = client.get(INBOX).text

    inbox.dismiss(alert_id=alert.pk, by=scope, at=NOON, notes="Not now.")
    waits = client.get(f"{INBOX}?status=decided").text
    promotion.reject(request_id=request.pk, by=make.make_person("lee@example.com", "ml_manager", PASSWORD), at=NOON, reason="No.")
    settled = client.get(url("alert", alert)).text

    assert ("decided: dismissed" in asked, title in waits) == (False, True)
    assert waits.count("decided: dismissed") == 2  # in the list, and beside it
    assert "v3 stands as challenger: its promotion waits for another manager under Approvals." in waits
    assert "v3 stands as challenger: lee@example.com rejected its promotion: “No.”" in settled


def test_an_alert_of_an_experiment_says_what_became_of_its_version(scope: Principal, site: Site) -> None:
    make.make_arena()
    alert = make_alert(alert_type="experiment_complete", title="Tiers is complete", model_name="demand_forecast", version="v3")

    assert "v3 stands as challenger: nobody has promoted it." in site("viewer").get(url("alert", alert)).text


def test_without_a_script_it_is_marked_as_read_by_a_button(scope: Principal, site: Site) -> None:
    alert, client = make_alert(), site("viewer")

    answer = client.post(url("read", alert), {"query": "status=unread"})

    alert.refresh_from_db()
    assert answer.url == f"{INBOX}?status=unread&alert={alert.pk}"
    assert alert.status == "read"


def test_those_who_may_not_decide_see_no_form_and_are_refused(scope: Principal, site: Site) -> None:
    alert, client = make_alert(), site("data_scientist")

    assert 'value="approve"' not in client.get(url("alert", alert)).text
    assert client.post(url("alert", alert), {"answer": "approve", "revision": 1}).status_code == 403


def test_texts_of_an_alert_are_inert(scope: Principal, site: Site) -> None:
    make_alert(title="<script>x</script>", message="<img src=x>", details={"note": "<b>", "segments": "nonsense", "n": 1e300})

    text = site("admin").get(INBOX).text

    assert "<script>x</script>" not in text
    assert "<img src=x>" not in text


def test_another_tenants_alert_is_not_there(scope: Principal, site: Site, other_customer: Any) -> None:
    with acting(system(other_customer.pk)):
        foreign = make_alert(title="Theirs")
    client = site("admin")

    answers = [client.get(url(name, foreign)) for name in ("alert", "beside")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert "Theirs" not in client.get(INBOX, {"alert": str(foreign.pk)}).text
    assert client.get(INBOX, {"alert": "x"}).status_code == 404


def test_one_subscribes_and_stops_from_the_inbox(scope: Principal, site: Site) -> None:
    client = site("viewer")

    client.post(reverse("admin:alerts_subscribe"), {"min_severity": "critical", "immediate": "on", "digest": "on"})
    mine = Subscription.objects.get()
    told = client.get(INBOX).text
    client.post(reverse("admin:alerts_unsubscribe", args=[mine.pk]))

    assert (mine.min_severity, mine.digest) == ("critical", True)
    assert "From <strong>critical</strong> on" in told
    assert not Subscription.objects.exists()


def test_the_inbox_asks_the_database_little(scope: Principal, site: Site) -> None:
    make.make_arena()
    for number in range(5):
        make_alert(cause=f"b{number}", alert_type="backtest_degradation", model_name="demand_forecast", version="v2", severity="critical")
    client = site("admin")

    assert reads(client, INBOX) <= MOST_QUERIES
    assert reads(client, reverse("admin:registry_approvals")) <= MOST_QUERIES


def test_an_alert_about_a_request_under_four_eyes_asks_as_little(scope: Principal, site: Site, principal: Callable[..., Principal]) -> None:
    _, challenger = make.make_arena(policy={"four_eyes": True})
    asked = make.make_request(challenger, by=principal("ml_manager", "kim@example.com"))
    alert = make_alert(alert_type="promotion_pending", severity="critical", details={"request_id": str(asked.pk)}, version="v3")
    client = site("admin")

    assert "Grants the request of kim@example.com" in client.get(INBOX).text
    assert reads(client, INBOX) <= MOST_QUERIES
    assert reads(client, url("alert", alert)) <= MOST_QUERIES


def test_the_approvals_ask_little_when_every_kind_waits(scope: Principal, site: Site, principal: Callable[..., Principal]) -> None:
    kim = principal("admin", "kim@example.com")
    robots = [make_robot(f"robot-{number}", by=kim) for number in range(3)]
    _, challenger = make.make_arena(policy={"four_eyes": True, "max_p_value": 0.01})
    make.make_request(challenger, by=robots[0])
    configure_model(model=challenger.model, changes={"policy": {"four_eyes": False}}, by=robots[1], at=NOON, reason="Small team.")
    for number, robot in enumerate(robots):
        make_experiment(scope, experiment_name=f"Proposal {number}")
        details = {"actor": robot.name, "key": str(robot.key_id)}
        make_alert(cause=str(number), alert_type="emergency_rollback", severity="critical", details=details)
    client, address = site("admin", "kim@example.com"), reverse("admin:registry_approvals")

    rows = client.get(address).context["pending"]

    assert Counter((row.kind, bool(row.own)) for row in rows) == {
        ("Promote", True): 1,
        ("Policy", True): 1,
        ("Experiment", False): 3,
        ("Alert", True): 3,
    }
    assert reads(client, address) <= MOST_QUERIES


def test_the_navigation_counts_what_waits_and_keeps_counting(scope: Principal, site: Site) -> None:
    client = site("admin")
    before = client.get(reverse("admin:registry_live")).json()
    alert = make_alert()

    page = client.get("/admin/").text
    after = client.get(reverse("admin:registry_live"), {"subject": f"alert:{alert.pk}"}).json()

    assert before["tallies"] == dict.fromkeys(("approvals", "experiments", "alerts", "critical", "warning", "info"), "")
    assert after == {"tallies": before["tallies"] | {"approvals": "1", "alerts": "1", "warning": "1"}, "revision": 1}
    assert '<span data-tally="alerts" data-live="/admin/fragments/live/">1</span>' in page


def test_a_review_of_ones_own_emergency_is_for_somebody_else(scope: Principal, site: Site) -> None:
    emergency = {"alert_type": "emergency_rollback", "severity": "critical", "message": "It burns."}
    make_alert(cause="mine", details={"actor": "admin@example.com"}, **emergency)
    make_alert(cause="theirs", details={"actor": "max@example.com"}, at=NOON + timedelta(hours=1), **emergency)

    rows = site("admin").get(reverse("admin:registry_approvals")).context["pending"]

    assert [(bool(row.own), len(row.choices)) for row in rows] == [(True, 0), (False, 2)]


def test_the_overview_counts_open_alerts_of_each_model(scope: Principal, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    make.make_arena()
    for number in range(3):
        make_alert(cause=str(number), model_name="demand_forecast")
    client = site("viewer")

    assert client.get("/admin/").context["alerts"] == {"demand_forecast": "3"}
    monkeypatch.setattr("alerts.screens.waiting.MOST_COUNTED", 2)
    monkeypatch.setattr("mlops.waiting.MOST_COUNTED", 2)
    assert client.get("/admin/").context["alerts"] == {"demand_forecast": "2+"}


def test_counting_stops_where_nobody_reads_further(scope: Principal, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.waiting.MOST_COUNTED", 3)
    for number in range(5):
        make_alert(cause=str(number))

    assert site("viewer").get(reverse("admin:registry_live")).json()["tallies"]["alerts"] == "2+"


@pytest.mark.parametrize("subject", ["alert:x", "nothing:1", "alert:", ":", "alert:00000000-0000-0000-0000-00000000ffff"])
def test_what_nobody_knows_has_no_revision(scope: Principal, site: Site, subject: str) -> None:
    assert site("viewer").get(reverse("admin:registry_live"), {"subject": subject}).json()["revision"] is None
