"""`/api/v1/ml-alerts`, by its door."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from alerts.models import MLAlert
from alerts.services import inbox
from mlops.tenancy.context import required
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import RegisteredModel
from tests.alerts.factories import NOON, make_alert
from tests.registry.counting import frame
from tests.registry.factories import make_champion, make_dataset, make_model, make_request, make_version

BASE = "/api/v1/ml-alerts"
Api = Callable[..., APIClient]
SEVERITIES, STATUSES = ["info", "warning", "critical"], ["unread", "read"]


def make_many(numbers: range) -> None:
    """Many alerts in one statement, as 1,000 events would have left them."""
    MLAlert.objects.bulk_create(
        [
            MLAlert(
                alert_type="drift_detected" if number % 2 else "job_failed",
                severity=SEVERITIES[number % 3],
                status=STATUSES[number % 2],
                title=f"Alert {number}",
                cause_key=f"cause {number}",
                created_at=NOON + timedelta(seconds=number),
                last_seen_at=NOON,
            )
            for number in numbers
        ]
    )


def queries_of(client: APIClient, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def test_the_list_has_the_most_urgent_first(scope: Principal, api: Api) -> None:
    for severity in ("warning", "critical", "info"):
        make_alert(cause=severity, severity=severity)

    answer = api("viewer").get(BASE).json()

    assert [row["severity"] for row in answer["results"]] == ["critical", "warning", "info"]
    assert answer["count"] == 3
    assert {"id", "alert_type", "title", "message", "action_url", "status", "created_at", "repeat_count", "deed"} <= set(
        answer["results"][0]
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=unread&severity=critical", 1),
        ("severity=warning", 1),
        ("alert_type=job_failed", 1),
        ("alert_type=drift_detected&status=unread", 1),
        ("status=dismissed", 0),
        ("search=needle", 1),
        ("model_name=other", 1),
    ],
)
def test_filters_narrow_the_list(query: str, expected: int, scope: Principal, api: Api) -> None:
    make_alert(cause="a", severity="critical", title="A needle")
    make_alert(cause="b", alert_type="job_failed", model_name="other")

    assert api().get(f"{BASE}?{query}").json()["count"] == expected


@pytest.mark.parametrize(
    ("ordering", "first"), [("severity", "info"), ("-severity", "critical"), ("created_at", "critical"), ("-created_at", "warning")]
)
def test_ordering_by_severity_is_by_urgency(ordering: str, first: str, scope: Principal, api: Api) -> None:
    for hours, severity in enumerate(("critical", "info", "warning")):
        make_alert(cause=severity, severity=severity, at=NOON + timedelta(hours=hours))

    assert api().get(f"{BASE}?ordering={ordering}").json()["results"][0]["severity"] == first


@pytest.mark.parametrize("query", ["status=open", "severity=high", "alert_type=drift", "state=unread", "ordering=title", "page_size=1000"])
def test_a_misspelt_query_never_returns_everything(query: str, scope: Principal, api: Api) -> None:
    assert api().get(f"{BASE}?{query}").status_code == 400


def test_stats_count_unread_by_severity(scope: Principal, api: Api) -> None:
    make_alert(cause="a", severity="critical")
    make_alert(cause="b", severity="critical")
    make_alert(cause="c", severity="info")
    inbox.mark_read(alert_id=make_alert(cause="d").pk, by=scope, at=NOON)

    assert api("viewer").get(f"{BASE}/stats").json() == {"total_unread": 3, "unread": {"critical": 2, "warning": 0, "info": 1}}


def test_a_thousand_alerts_cost_no_more_queries_than_a_hundred(scope: Principal, api: Api) -> None:
    client = api()
    addresses = [BASE, f"{BASE}?status=unread&severity=critical&page_size=10", f"{BASE}?search=demand", f"{BASE}?page=5", f"{BASE}/stats"]
    make_many(range(100))  # more than a page: a list that ends on its first page counts itself
    client.get(BASE)  # the key's last use is noted once a minute
    few = [queries_of(client, address) for address in addresses]
    make_many(range(100, 1000))

    many = [queries_of(client, address) for address in addresses]

    assert many == few
    assert max(many) <= 3 + frame()
    assert client.get(f"{BASE}/stats").json()["total_unread"] == 500


def test_reading_marks_an_alert_and_is_for_everybody(scope: Principal, api: Api) -> None:
    alert = make_alert()

    answer = api("viewer").patch(f"{BASE}/{alert.pk}/read")

    assert (answer.status_code, answer.json()["status"]) == (200, "read")
    assert answer.headers["ETag"] == '"alert-2"'


def test_approving_does_the_deed_and_says_where_to_look(scope: Principal, api: Api) -> None:
    make_dataset(models=[make_model()])
    alert = make_alert()

    answer = api().patch(f"{BASE}/{alert.pk}/action", {"action": "approve", "notes": "Reviewed backtest, approved"}).json()

    assert (answer["status"], answer["decision"], answer["notes"]) == ("actioned", "approve", "Reviewed backtest, approved")
    assert answer["outcome"]["deed"] == "retrain"
    assert api("viewer").get(answer["location"]).json()["kind"] == "retrain"


def test_dismissing_without_a_reason_names_the_field(scope: Principal, api: Api) -> None:
    answer = api().patch(f"{BASE}/{make_alert().pk}/action", {"action": "dismiss"})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "notes")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "ignore"},
        {"action": "approve", "note": "x"},
        {"action": "approve", "notes": ["x"]},
        {"action": "approve", "notes": 5},
        [],
    ],
)
def test_a_wrong_body_is_400(body: Any, scope: Principal, api: Api) -> None:
    answer = api().patch(f"{BASE}/{make_alert().pk}/action", body)

    assert answer.status_code == 400


def test_acting_twice_is_409_and_names_who_was_first(scope: Principal, api: Api) -> None:
    alert = make_alert()
    client = api("ml_manager", email="first@example.com")
    client.patch(f"{BASE}/{alert.pk}/action", {"action": "dismiss", "notes": "Known."})

    late = api("ml_manager", email="late@example.com").patch(
        f"{BASE}/{alert.pk}/action", {"action": "approve"}, headers={"If-Match": '"alert-1"'}
    )

    assert (late.status_code, late.json()["code"], late.json()["decided_by"]) == (409, "already_decided", "first@example.com")
    assert late.json()["decision"] == "dismiss"


@pytest.mark.parametrize("path", ["action", "read"])
def test_a_stale_etag_is_412_and_changes_nothing(path: str, scope: Principal, api: Api) -> None:
    alert = make_alert(occurrence="monday")
    client = api()
    seen = client.get(f"{BASE}/{alert.pk}").headers["ETag"]
    make_alert(occurrence="tuesday")
    body = {"action": "dismiss", "notes": "Known."} if path == "action" else None

    stale = client.patch(f"{BASE}/{alert.pk}/{path}", body, headers={"If-Match": seen})
    fresh = client.patch(f"{BASE}/{alert.pk}/{path}", body, headers={"If-Match": '"alert-2"'})

    assert (stale.status_code, stale.json()["code"], fresh.status_code) == (412, "stale", 200)


def test_whoever_asked_gets_four_eyes(scope: Principal, api: Api) -> None:
    model = make_model(policy={"four_eyes": True})
    make_champion(model)
    client = api("ml_manager", email="kim@example.com")
    kim = Principal(kind="user", name="kim@example.com", role=scope.role, customer_id=required())
    request = make_request(make_version(model), by=kim)
    values = {"version_id": str(request.version_id), "request_id": str(request.pk)}
    alert = make_alert(alert_type="promotion_pending", details=values)

    own = client.patch(f"{BASE}/{alert.pk}/action", {"action": "approve"})
    other = api().patch(f"{BASE}/{alert.pk}/action", {"action": "approve"})

    assert (own.status_code, own.json()["code"]) == (403, "four_eyes")
    assert (other.status_code, other.json()["outcome"]["outcome"]) == (200, "promoted")
    assert RegisteredModel.objects.count() == 1


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("data_scientist", 403), ("service", 403), ("admin", 200)])
def test_acting_is_for_managers(role: str, status: int, scope: Principal, api: Api) -> None:
    alert = make_alert()

    assert api(role).patch(f"{BASE}/{alert.pk}/action", {"action": "dismiss", "notes": "Known."}).status_code == status


@pytest.mark.parametrize("role", ["service"])
def test_a_service_key_reads_no_alerts(role: str, scope: Principal, api: Api) -> None:
    assert [api(role).get(address).status_code for address in (BASE, f"{BASE}/stats")] == [403, 403]


def test_without_a_key_nobody_gets_in(customer: Customer) -> None:
    assert APIClient().get(BASE).status_code == 401


def test_another_tenants_alert_does_not_exist(scope: Principal, other_customer: Customer, api: Api) -> None:
    with transaction.atomic(), acting(system(other_customer.pk)):
        theirs = make_alert()
    client = api("admin")
    address = f"{BASE}/{theirs.pk}"

    statuses = [client.get(address).status_code, client.patch(f"{address}/read").status_code]
    statuses.append(client.patch(f"{address}/action", {"action": "dismiss", "notes": "Mine."}).status_code)

    assert statuses == [404, 404, 404]
    assert client.get(BASE).json()["count"] == 0
    assert client.get(f"{BASE}/stats").json()["total_unread"] == 0


@pytest.mark.parametrize("identifier", ["x", "1", "%00", "00000000-0000-0000-0000-00000000000g", "stats2"])
def test_what_is_no_id_is_404(identifier: str, scope: Principal, api: Api) -> None:
    assert api().get(f"{BASE}/{identifier}").status_code in (400, 404)


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_other_methods_are_405(method: str, scope: Principal, api: Api) -> None:
    assert getattr(api(), method)(BASE).status_code == 405


def test_the_documented_sql_runs_and_sorts_by_rank(scope: Principal) -> None:
    for severity in ("warning", "critical", "info"):
        make_alert(cause=severity, severity=severity)
    identifier = str(required()) if connection.vendor == "postgresql" else required().hex
    query = (
        "SELECT alert_type, severity, title, message, action_url, created_at FROM ml_alerts "
        f"WHERE customer_id = '{identifier}' AND status = 'unread' ORDER BY severity DESC, created_at DESC;"
    )

    with connection.cursor() as cursor:
        cursor.execute(query)
        severities = [row[1] for row in cursor.fetchall()]

    by_rank = ["critical", "warning", "info"]
    assert severities == (by_rank if connection.vendor == "postgresql" else sorted(by_rank, reverse=True))
