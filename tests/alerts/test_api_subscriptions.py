"""`/api/v1/subscriptions` and its channels, by their doors."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from alerts.models import Channel, Delivery, Subscription
from alerts.services import channels
from mlops.audit.models import AuditEvent
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from tests.alerts.factories import NOON, make_webhook

BASE = "/api/v1/subscriptions"
CHANNELS = f"{BASE}/channels"
Api = Callable[..., APIClient]
HOOK = {"kind": "webhook", "name": "ops", "target": "http://127.0.0.1:9/hook?token=abc"}


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]


def test_a_viewer_subscribes_by_their_own_e_mail(scope: Principal, api: Api) -> None:
    client = api("viewer", email="vera@example.com")

    made = client.post(BASE, {"alert_types": ["retrain_failed", "drift_detected"], "min_severity": "critical", "digest": True})

    row = made.json()
    assert made.status_code == 201
    assert (row["own"], row["alert_types"], row["min_severity"], row["digest"]) == (
        True,
        ["drift_detected", "retrain_failed"],
        "critical",
        True,
    )
    assert client.get(made.headers["Location"]).json() == row
    assert Channel.objects.get().owner is not None


def test_one_person_has_one_channel_whatever_they_subscribe_to(scope: Principal, api: Api) -> None:
    client = api("viewer", email="vera@example.com")

    channels_named = {client.post(BASE, {}).json()["channel_id"] for _ in range(3)}

    assert len(channels_named) == 1


def test_own_subscriptions_are_changed_and_ended(scope: Principal, api: Api) -> None:
    client = api("viewer", email="vera@example.com")
    made = client.post(BASE, {})
    address, tag = made.headers["Location"], made.headers["ETag"]

    changed = client.patch(address, {"min_severity": "info", "enabled": False}, headers={"If-Match": tag})
    stale = client.patch(address, {"enabled": True}, headers={"If-Match": tag})

    assert (changed.json()["min_severity"], changed.json()["enabled"], stale.status_code) == ("info", False, 412)
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404
    assert [event.action for event in AuditEvent.objects.filter(action__startswith="subscription.").order_by("number")] == [
        "subscription.created",
        "subscription.configured",
        "subscription.deleted",
    ]


def test_nobody_sees_or_touches_another_persons_subscription(scope: Principal, api: Api) -> None:
    made = api("viewer", email="vera@example.com").post(BASE, {})
    other = api("admin", email="other@example.com")
    address = made.headers["Location"]

    statuses = [other.get(address), other.patch(address, {"enabled": False}), other.delete(address)]
    statuses.append(other.post(f"{CHANNELS}/{made.json()['channel_id']}/test"))

    assert [answer.status_code for answer in statuses] == [404, 404, 404, 404]
    assert other.get(BASE).json()["count"] == 0


def test_a_key_without_a_person_has_to_name_a_channel(scope: Principal, api: Api) -> None:
    answer = api("ml_manager").post(BASE, {})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "channel_id")


@pytest.mark.parametrize(
    "body",
    [
        {"alert_types": ["drift"]},
        {"min_severity": "high"},
        {"types": []},
        {"channel_id": "x"},
        {"digest": "maybe"},
        {"enabled": "no"},
        {"channel_id": 5},
    ],
)
def test_a_wrong_subscription_is_400(body: dict[str, Any], scope: Principal, api: Api) -> None:
    assert api("viewer", email="vera@example.com").post(BASE, body).status_code == 400


def test_a_webhooks_secret_is_shown_once(scope: Principal, api: Api) -> None:
    client = api("admin")

    made = client.post(CHANNELS, HOOK)

    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    shown = client.get(made.headers["Location"])
    assert "secret" not in shown.json()
    assert made.json()["secret"] not in str(Channel.objects.values().get())
    assert client.post(f"{made.headers['Location']}/secret").json()["secret"] != made.json()["secret"]


def test_a_secret_is_not_kept_for_a_replay(scope: Principal, api: Api) -> None:
    client = api("admin")

    refused = client.post(CHANNELS, HOOK, headers={"Idempotency-Key": "k"})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "Idempotency-Key")
    assert Channel.objects.count() == 0
    address = client.post(CHANNELS, HOOK).headers["Location"]
    assert client.post(f"{address}/secret", headers={"Idempotency-Key": "k"}).status_code == 400


@pytest.mark.parametrize(
    "target",
    [
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest",
        "https://100.64.0.1/",
        "https://[64:ff9b::a00:1]/",
        "ftp://x/",
    ],
)
def test_a_private_address_is_refused_when_it_is_saved(target: str, scope: Principal, api: Api) -> None:
    client = api("admin")
    address = client.post(CHANNELS, HOOK).headers["Location"]

    refused = [client.post(CHANNELS, {**HOOK, "name": "x", "target": target}), client.patch(address, {"target": target})]

    assert [(answer.status_code, answer.json()["errors"][0]["field"]) for answer in refused] == [(400, "target")] * 2


@pytest.mark.parametrize("role", ["viewer", "data_scientist", "ml_manager"])
def test_shared_channels_are_for_administrators(role: str, scope: Principal, api: Api) -> None:
    channel, _ = make_webhook("http://127.0.0.1:9/hook?token=abc")
    client = api(role)

    assert client.post(CHANNELS, HOOK).status_code == 403
    assert client.patch(f"{CHANNELS}/{channel.pk}", {"enabled": False}).status_code == 403
    assert client.post(BASE, {"channel_id": str(channel.pk)}).status_code == 403
    assert client.get(f"{CHANNELS}/{channel.pk}/deliveries").status_code == 403
    assert client.get(f"{CHANNELS}/{channel.pk}").json()["target"] == "127.0.0.1/…"


def test_channels_are_configured_and_ended(scope: Principal, api: Api) -> None:
    client = api("admin")
    made = client.post(CHANNELS, {"kind": "email", "name": "team", "target": "team@example.com"})
    address = made.headers["Location"]
    client.post(BASE, {"channel_id": made.json()["id"], "min_severity": "info"})

    changed = client.patch(address, {"name": "crew", "target": "crew@example.com"}, headers={"If-Match": made.headers["ETag"]})

    assert "secret" not in made.json()
    assert (changed.json()["name"], changed.json()["target"]) == ("crew", "crew@example.com")
    assert client.patch(address, {"target": "nobody"}).status_code == 400
    assert client.delete(address).status_code == 204
    assert [client.get(address).status_code, Subscription.objects.count()] == [404, 0]


@pytest.mark.parametrize("change", [{"enabled": "no"}, {"enabled": 0}, {"name": 5}, {"target": 5}])
def test_a_change_of_another_json_type_is_refused(change: dict[str, Any], scope: Principal, api: Api) -> None:
    client = api("admin")
    made = client.post(CHANNELS, HOOK)

    refused = client.patch(made.headers["Location"], change)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, *change)
    assert client.get(made.headers["Location"]).json()["enabled"] is True


def test_a_name_is_given_once(scope: Principal, api: Api) -> None:
    client = api("admin")
    client.post(CHANNELS, HOOK)

    assert client.post(CHANNELS, HOOK).json()["code"] == "duplicate"


def test_the_test_button_writes_a_delivery_that_can_be_watched(scope: Principal, api: Api) -> None:
    client = api("admin")
    channel = client.post(CHANNELS, HOOK).json()

    tested = client.post(f"{CHANNELS}/{channel['id']}/test")

    assert (tested.status_code, tested.json()["kind"], tested.json()["status"]) == (202, "test", "pending")
    listed = client.get(tested.headers["Location"]).json()
    assert [row["id"] for row in listed["results"]] == [tested.json()["id"]]


def test_a_disabled_channel_is_not_tested(scope: Principal, api: Api) -> None:
    client = api("admin")
    address = client.post(CHANNELS, HOOK).headers["Location"]
    client.patch(address, {"enabled": False})

    assert client.post(f"{address}/test").json()["code"] == "channel_disabled"


def test_dead_letters_are_listed_and_sent_again(scope: Principal, api: Api) -> None:
    client = api("admin")
    address = client.post(CHANNELS, HOOK).headers["Location"]
    sent = client.post(f"{address}/test").json()
    Delivery.objects.filter(pk=sent["id"]).update(status="dead", ended_at=NOON, last_error="500")
    again = f"{BASE}/deliveries/{sent['id']}/resend"

    assert client.get(f"{address}/deliveries?status=dead").json()["count"] == 1
    assert client.post(again).json()["status"] == "pending"
    assert (client.post(again).status_code, client.post(again).json()["code"]) == (409, "not_dead")


def test_another_tenants_channels_do_not_exist(scope: Principal, other_customer: Customer, api: Api) -> None:
    with transaction.atomic(), acting(system(other_customer.pk)):
        channel, _ = make_webhook("http://127.0.0.1:9/")
        subscription = Subscription.objects.get()
        delivery = channels.test_channel(channel_id=channel.pk, by=system(other_customer.pk), at=NOON)
    client = api("admin")
    address = f"{CHANNELS}/{channel.pk}"

    answers = [client.get(address), client.patch(address, {"enabled": False}), client.delete(address), client.post(f"{address}/secret")]
    answers += [client.post(f"{address}/test"), client.get(f"{address}/deliveries"), client.post(BASE, {"channel_id": str(channel.pk)})]
    answers += [client.get(f"{BASE}/{subscription.pk}"), client.delete(f"{BASE}/{subscription.pk}")]
    answers.append(client.post(f"{BASE}/deliveries/{delivery.pk}/resend"))

    assert [answer.status_code for answer in answers] == [404] * 10
    assert [client.get(CHANNELS).json()["count"], client.get(BASE).json()["count"]] == [0, 0]


@pytest.mark.parametrize("address", [BASE, CHANNELS])
def test_lists_cost_the_same_however_long_they_are(address: str, scope: Principal, api: Api) -> None:
    client = api("admin")
    counts = []
    for batch in range(3):
        for number in range(5 * batch + 1):
            make_webhook("http://127.0.0.1:9/", name=f"{batch} {number}")
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"{address}?page_size=100").status_code == 200
        counts.append(len(captured))

    assert counts[1] == counts[2]


# --- what the trail, which every viewer reads for good, has of addresses ----------------------------------------------------------------
def test_the_trail_has_the_host_of_a_webhook_and_a_digest_never_its_url(scope: Principal, api: Api) -> None:
    client = api("admin")
    address = client.post(CHANNELS, HOOK).headers["Location"]
    moved = HOOK["target"].replace("abc", "def")
    client.patch(address, {"target": moved})
    client.delete(address)

    events = api("viewer").get("/api/v1/audit").json()["results"]

    said = {one["action"]: one for one in events if one["action"].startswith("channel.")}
    digests = [hashlib.sha256(target.encode()).hexdigest() for target in (HOOK["target"], moved)]
    assert "token" not in str(events)
    assert said["channel.created"]["after"] == {"kind": "webhook", "target": "127.0.0.1/…", "target_sha256": digests[0]}
    assert [said["channel.configured"][when]["target_sha256"] for when in ("before", "after")] == digests
    assert said["channel.deleted"]["before"] == {"kind": "webhook", "target": "127.0.0.1/…", "target_sha256": digests[1]}


def test_a_message_of_another_persons_own_channel_is_not_there_to_be_sent_again(scope: Principal, api: Api) -> None:
    mine = api("admin", email="vera@example.com")
    mine.post(BASE, {})
    sent = mine.post(f"{CHANNELS}/{Channel.objects.get().pk}/test").json()
    Delivery.objects.update(status="dead", ended_at=NOON, last_error="500")
    again = f"{BASE}/deliveries/{sent['id']}/resend"

    answer = api("admin", email="other@example.com").post(again)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert Delivery.objects.get().status == "dead"
    assert mine.post(again).status_code == 202


@pytest.mark.parametrize("target", ["a@" + "ä" * 60 + ".example", "a@\u00ad.example", "a@b＠c.example"])
def test_an_e_mail_address_that_no_letter_reaches_is_refused(target: str, scope: Principal, api: Api) -> None:
    client = api("admin")
    address = client.post(CHANNELS, {"kind": "email", "name": "team", "target": "team@example.com"}).headers["Location"]

    refused = [client.post(CHANNELS, {"kind": "email", "name": "x", "target": target}), client.patch(address, {"target": target})]

    assert [(answer.status_code, answer.json()["errors"][0]["field"]) for answer in refused] == [(400, "target")] * 2


def test_an_international_domain_is_kept_as_mail_servers_write_it(scope: Principal, api: Api) -> None:
    made = api("admin").post(CHANNELS, {"kind": "email", "name": "team", "target": "team@bücher.example"})

    assert made.json()["target"] == "team@xn--bcher-kva.example"
