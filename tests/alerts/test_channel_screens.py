"""Channels, subscriptions and dead messages through Django's client: who sees what, and that a click does what the API does."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from alerts.models import Channel, Delivery, Subscription
from alerts.services import channels
from alerts.services.notifying import notify_test
from mlops.audit.models import AuditEvent
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from tests.alerts.factories import NOON, make_webhook, system_admin

Site = Callable[..., Client]
HOOK = "http://127.0.0.1:9/hooks/s3cret"
INBOX = "/admin/alerts/inbox/"
MOST_QUERIES = 12


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:alerts_{name}", args=args)


def make_dead(channel: Channel, **values: Any) -> Delivery:
    """A message that was given up on."""
    delivery = notify_test(channel, by="x", at=NOON)
    given = {"status": "dead", "attempts": 9, "last_status": 503, "last_error": "The receiver answered 503.", "ended_at": NOON}
    Delivery.objects.filter(pk=delivery.pk).update(**(given | values))
    return delivery


def make_own(site: Site, role: str = "viewer", **wishes: Any) -> tuple[Client, Subscription]:
    """Somebody who hears of alerts by their own e-mail."""
    client = site(role)
    client.post(url("subscribe"), {"min_severity": "warning", "immediate": "on", **wishes})
    return client, Subscription.objects.exclude(channel__owner=None).get()


def reads(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return sum(query["sql"].startswith("SELECT") and "set_config" not in query["sql"] for query in captured)


def test_channels_and_dead_messages_are_in_the_navigation_of_who_may_use_them(scope: Principal, site: Site) -> None:
    administrator, manager = site("admin").get("/admin/").text, site("ml_manager", "lee@example.com").get("/admin/").text

    assert [url(name) in administrator for name in ("channels", "dead")] == [True, True]
    assert [url(name) in manager for name in ("channels", "dead")] == [False, False]


def test_no_channel_yet_teaches_what_one_is(scope: Principal, site: Site) -> None:
    administrator = site("admin").get(url("channels")).text
    viewer = site("viewer").get(url("channels")).text

    assert "No channel yet" in administrator
    assert url("channel_create") in administrator
    assert "An administrator can add one" in viewer


def test_viewers_see_the_channels_without_the_full_address(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    channels.create_channel(kind="email", name="Duty", target="duty@example.com", by=system_admin(), at=NOON)

    viewer, administrator = site("viewer").get(url("channels")).text, site("admin").get(url("channels")).text

    assert ("127.0.0.1/…" in viewer, "…@example.com" in viewer, "s3cret" in viewer, url("channel", channel.pk) in viewer) == (
        True,
        True,
        False,
        False,
    )
    assert HOOK in administrator
    assert url("channel", channel.pk) in administrator


def test_the_list_says_what_is_wrong_first(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    make_dead(channel)
    Channel.objects.update(enabled=False, disabled_reason="The receiver answered 410: gone.")

    text = site("admin").get(url("channels")).text

    assert "1 channel: 1 is switched off. 1 message was given up on." in text
    assert "The receiver answered 410: gone." in text


def test_a_webhook_is_added_and_its_secret_is_shown_once(scope: Principal, site: Site) -> None:
    client = site("admin")

    made = client.post(url("channel_create"), {"kind": "webhook", "name": "ops", "target": HOOK})

    channel = Channel.objects.get()
    secret = made.context["secret"]
    assert (channel.kind, channel.name, channel.target, channel.created_by) == ("webhook", "ops", HOOK, "admin@example.com")
    assert secret.startswith("whsec_")
    assert secret in made.text
    assert "no-store" in made["Cache-Control"]
    assert secret not in client.get(url("channel", channel.pk)).text


def test_an_address_is_added_and_leads_to_its_page(scope: Principal, site: Site) -> None:
    made = site("admin").post(url("channel_create"), {"kind": "email", "name": "Duty", "target": "duty@example.com"})

    assert made.url == url("channel", Channel.objects.get().pk)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "email", "target": "nobody"}, "Enter a valid email address."),
        ({"kind": "webhook", "target": "https://10.0.0.1/"}, "10.0.0.1"),
        ({"kind": "webhook", "target": "http://127.0.0.1:9/", "name": "ops"}, "There is a channel named ops already."),
        ({"kind": "pigeon", "target": "x"}, "pigeon"),
    ],
)
def test_a_channel_that_will_not_do_is_refused_beside_what_was_typed(
    scope: Principal, site: Site, given: dict[str, str], said: str
) -> None:
    make_webhook(HOOK)

    answer = site("admin").post(url("channel_create"), {"name": "new", **given})

    assert said in answer.text
    assert given["target"] in answer.text
    assert Channel.objects.count() == 1


def test_a_channel_is_renamed_and_moved(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    changed = {"name": "Operations", "target": "http://127.0.0.1:9/new", "enabled": "on", "revision": channel.revision}

    answer = site("admin").post(url("channel_edit", channel.pk), changed)

    channel.refresh_from_db()
    assert answer.url == url("channel", channel.pk)
    assert (channel.name, channel.target, channel.enabled) == ("Operations", "http://127.0.0.1:9/new", True)
    after = AuditEvent.objects.get(action="channel.configured").after
    assert (after["name"], after["target"]) == ("Operations", "127.0.0.1/…")


def test_a_channel_is_switched_off_and_on(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    client, address = site("admin"), url("channel_edit", channel.pk)

    client.post(address, {"name": "ops", "target": HOOK, "revision": channel.revision})
    off = Channel.objects.get()
    Channel.objects.update(failures=3, disabled_reason="Gone.")
    client.post(address, {"name": "ops", "target": HOOK, "enabled": "on", "revision": off.revision})
    on = Channel.objects.get()

    assert (off.enabled, on.enabled, on.failures, on.disabled_reason) == (False, True, 0, "")


def test_a_form_that_changes_nothing_writes_nothing(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    same = {"name": "ops", "target": HOOK, "enabled": "on", "revision": channel.revision}

    answer = site("admin").post(url("channel_edit", channel.pk), same, follow=True)

    assert "Nothing was different" in answer.text
    assert Channel.objects.get().revision == channel.revision


def test_a_change_of_what_has_changed_meanwhile_is_refused_and_kept_in_the_form(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    channels.configure_channel(channel_id=channel.pk, changes={"name": "theirs"}, by=system_admin(), at=NOON)
    client, mine = site("admin"), {"name": "mine", "target": HOOK, "enabled": "on"}

    late = client.post(url("channel_edit", channel.pk), mine | {"revision": channel.revision})
    again = client.post(url("channel_edit", channel.pk), mine | {"revision": late.context["form"]["revision"].value()})

    assert "The channel has changed since you opened the page" in late.text
    assert 'value="mine"' in late.text
    assert again.status_code == 302
    assert Channel.objects.get().name == "mine"


def test_a_new_secret_needs_the_name_typed_and_is_shown_once(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    client, address = site("admin"), url("channel_secret", channel.pk)
    before = channel.secret_fingerprint

    asked = client.get(address)
    untyped = client.post(address, {"typed": "op", "revision": channel.revision})
    made = client.post(address, {"typed": "ops", "revision": channel.revision})

    assert "signs nothing any more" in asked.text
    assert "Type ops, the name of the channel." in untyped.text
    assert made.context["secret"] in made.text
    assert Channel.objects.get().secret_fingerprint != before


def test_deleting_says_what_ends_and_needs_the_name_typed(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    notify_test(channel, by="x", at=NOON)
    client, address = site("admin"), url("channel_end", channel.pk)

    asked = client.get(address)
    untyped = client.post(address, {"typed": "", "revision": channel.revision})
    kept = Channel.objects.get().deleted_at
    done = client.post(address, {"typed": "ops", "revision": channel.revision})

    assert "1 subscription ends" in asked.text
    assert "1 message that waits is given up on" in asked.text
    assert (untyped.status_code, kept) == (200, None)
    assert done.url == url("channels")
    assert Channel.objects.get().deleted_at is not None


@pytest.mark.parametrize("name", ["channel_secret", "channel_end"])
def test_an_act_on_a_channel_that_has_changed_is_refused(scope: Principal, site: Site, name: str) -> None:
    channel, _ = make_webhook(HOOK)

    late = site("admin").post(url(name, channel.pk), {"typed": "ops", "revision": channel.revision + 1})

    assert late.status_code == 409
    assert "The channel has changed since you opened the page" in late.text
    assert Channel.objects.get(deleted_at=None).secret_fingerprint == channel.secret_fingerprint


def test_the_test_button_sends_a_test_and_the_page_shows_it(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)

    told = site("admin").post(url("channel_test", channel.pk), follow=True)

    assert Delivery.objects.get().kind == "test"
    assert "A test is on its way to ops" in told.text
    assert "Tiltyard: test message" in told.text


def test_a_test_to_a_channel_that_is_off_says_why_not(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    Channel.objects.update(enabled=False, disabled_reason="Gone.")

    told = site("admin").post(url("channel_test", channel.pk), follow=True)

    assert "ops is disabled. Gone." in told.text
    assert not Delivery.objects.exists()


def test_a_channels_page_shows_who_hears_what_and_what_became_of_messages(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK, alert_types=["drift_detected"], digest=True)
    dead = make_dead(channel)

    text = site("admin").get(url("channel", channel.pk)).text

    assert "Drift detected" in text
    assert "once a day what is open" in text
    assert "The receiver answered 503." in text
    assert url("resend", dead.pk) in text


def test_a_person_looks_at_the_own_channel_and_at_no_other_ones(scope: Principal, site: Site) -> None:
    shared, _ = make_webhook(HOOK)
    client, mine = make_own(site)
    own = mine.channel

    text = client.get(url("channel", own.pk)).text
    client.post(url("channel_test", own.pk))

    assert url("channel_test", own.pk) in text
    assert url("channel_end", own.pk) not in text
    assert Delivery.objects.get().channel_id == own.pk
    assert client.get(url("channel", shared.pk)).status_code == 403
    assert site("admin").get(url("channel", own.pk)).status_code == 404


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("get", "channel_create"),
        ("post", "channel_create"),
        ("get", "dead"),
        *((method, name) for name in ("channel_edit", "channel_secret", "channel_end") for method in ("get", "post")),
        ("post", "channel_test"),
        ("post", "resend"),
    ],
)
def test_nobody_but_an_administrator_manages_channels(scope: Principal, site: Site, method: str, name: str) -> None:
    channel, _ = make_webhook(HOOK)
    dead = make_dead(channel)
    args = {"channel_create": [], "dead": [], "resend": [dead.pk]}.get(name, [channel.pk])
    given = {"kind": "email", "name": "x", "target": "x@example.com", "revision": channel.revision, "typed": "ops"}

    answer = getattr(site("ml_manager", "lee@example.com"), method)(url(name, *args), given)

    assert answer.status_code == 403
    assert Channel.objects.get().revision == channel.revision
    assert Delivery.objects.get().status == "dead"


def test_another_customers_channel_is_not_there(scope: Principal, site: Site, other_customer: Customer) -> None:
    with acting(system(other_customer.pk)):
        foreign, _ = make_webhook(HOOK)
    client = site("admin")

    found = [client.get(url(name, foreign.pk)).status_code for name in ("channel", "channel_edit", "channel_secret", "channel_end")]

    assert found == [404, 404, 404, 404]
    assert client.post(url("channel_test", foreign.pk)).status_code == 404


def test_dead_messages_are_listed_and_sent_again(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    dead = make_dead(channel)
    notify_test(channel, by="y", at=NOON)
    client = site("admin")

    before = client.get(url("dead"))
    again = client.post(url("resend", dead.pk), follow=True)

    assert [one.pk for one in before.context["rows"]] == [dead.pk]
    assert "1 message was given up on" in before.text
    assert "The receiver answered 503." in before.text
    assert "three more days" in before.text
    assert "will be sent again" in again.text
    assert Delivery.objects.get(pk=dead.pk).status == "pending"


def test_no_dead_message_says_when_one_dies(scope: Principal, site: Site) -> None:
    text = site("admin").get(url("dead")).text

    assert "No message was given up on" in text
    assert "three days" in text


def test_a_message_that_lives_again_is_not_sent_twice(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    dead = make_dead(channel)
    client = site("admin")

    client.post(url("resend", dead.pk))
    twice = client.post(url("resend", dead.pk), follow=True)

    assert "Only a message that was given up on can be sent again." in twice.text
    assert client.post(url("resend", uuid4())).status_code == 404


def test_a_dead_message_of_a_channel_that_is_off_leads_to_the_channel(scope: Principal, site: Site) -> None:
    channel, _ = make_webhook(HOOK)
    dead = make_dead(channel)
    Channel.objects.update(enabled=False)

    text = site("admin").get(url("dead")).text

    assert url("resend", dead.pk) not in text
    assert url("channel_edit", channel.pk) in text


def test_dead_messages_of_other_people_and_of_deleted_channels_are_not_listed(scope: Principal, site: Site) -> None:
    _client, mine = make_own(site)
    make_dead(mine.channel)
    channel, _ = make_webhook(HOOK)
    make_dead(channel)
    channels.delete_channel(channel_id=channel.pk, by=system_admin(), at=NOON)

    assert list(site("admin").get(url("dead")).context["rows"]) == []


def test_the_pages_ask_the_database_little(scope: Principal, site: Site) -> None:
    for number in range(4):
        channel, _ = make_webhook(HOOK, name=f"ops {number}")
        make_dead(channel)
    client = site("admin")

    assert reads(client, url("channels")) <= MOST_QUERIES
    assert reads(client, url("channel", channel.pk)) <= MOST_QUERIES
    assert reads(client, url("dead")) <= MOST_QUERIES
    assert reads(client, url("subscribe")) <= MOST_QUERIES


def test_somebody_subscribes_more_than_once(scope: Principal, site: Site) -> None:
    client, first = make_own(site, digest="on")

    inbox = client.get(INBOX).text
    wishes = {"min_severity": "info", "alert_types": ["job_failed", "drift_detected"], "immediate": "on", "approvals": "on"}
    client.post(url("subscribe"), wishes)

    second = Subscription.objects.exclude(pk=first.pk).get()
    assert f'action="{url("subscribe")}"' in inbox
    assert 'name="alert_types"' in inbox
    assert second.channel_id == first.channel_id
    assert (second.min_severity, second.alert_types) == ("info", ["drift_detected", "job_failed"])
    assert (second.immediate, second.digest, second.approvals) == (True, False, True)
    assert "Job failed, Drift detected" in client.get(INBOX).text or "Drift detected, Job failed" in client.get(INBOX).text


def test_a_subscription_is_changed(scope: Principal, site: Site) -> None:
    client, mine = make_own(site)
    address = url("subscription_edit", mine.pk)

    shown = client.get(address).context["form"]
    told = client.post(address, {"min_severity": "critical", "digest": "on", "alert_types": "job_failed", "revision": mine.revision})

    mine.refresh_from_db()
    assert (shown["min_severity"].value(), shown["immediate"].value(), shown["enabled"].value()) == ("warning", True, True)
    assert told.url == INBOX
    assert (mine.min_severity, mine.alert_types, mine.immediate, mine.digest, mine.enabled) == (
        "critical",
        ["job_failed"],
        False,
        True,
        False,
    )


def test_a_subscription_that_changed_meanwhile_is_not_overwritten(scope: Principal, site: Site) -> None:
    client, mine = make_own(site)
    Subscription.objects.update(revision=7)

    late = client.post(url("subscription_edit", mine.pk), {"min_severity": "critical", "revision": mine.revision})

    assert "The subscription has changed since you opened the page" in late.text
    assert Subscription.objects.get().min_severity == "warning"


def test_an_administrator_lets_a_shared_channel_hear_of_alerts(scope: Principal, site: Site) -> None:
    made = channels.create_channel(kind="email", name="Duty", target="duty@example.com", by=system_admin(), at=NOON)
    client = site("admin")

    form = client.get(url("subscribe"), {"channel": str(made.channel.pk)})
    told = client.post(url("subscribe"), {"channel": str(made.channel.pk), "min_severity": "info", "approvals": "on"})

    subscription = Subscription.objects.get()
    assert form.context["form"]["channel"].value() == str(made.channel.pk)
    assert told.url == url("channel", made.channel.pk)
    assert (subscription.channel_id, subscription.approvals) == (made.channel.pk, True)
    assert client.post(url("unsubscribe", subscription.pk)).url == url("channel", made.channel.pk)


def test_others_are_offered_their_own_address_alone(scope: Principal, site: Site) -> None:
    shared, _ = make_webhook(HOOK)
    client = site("viewer")

    form = client.get(url("subscribe")).context["form"]
    client.post(url("subscribe"), {"channel": str(shared.pk), "min_severity": "info"})

    assert "channel" not in form.fields
    assert Subscription.objects.exclude(channel=shared).get().channel.owner is not None


def test_a_wish_that_cannot_be_kept_names_the_field(scope: Principal, site: Site) -> None:
    answer = site("viewer").post(url("subscribe"), {"min_severity": "panic", "alert_types": ["weather"]})

    assert {"min_severity", "alert_types"} <= set(answer.context["form"].errors)
    assert not Subscription.objects.exists()


def test_nobody_changes_another_persons_subscription(scope: Principal, site: Site) -> None:
    _client, theirs = make_own(site)
    client = site("admin")

    assert client.get(url("subscription_edit", theirs.pk)).status_code == 404
    assert client.post(url("unsubscribe", theirs.pk)).status_code == 404
    assert Subscription.objects.exists()


def test_a_shared_channels_subscription_is_an_administrators_to_change(scope: Principal, site: Site) -> None:
    make_webhook(HOOK)
    address = url("subscription_edit", Subscription.objects.get().pk)

    assert site("ml_manager", "lee@example.com").get(address).status_code == 403
    assert site("admin").get(address).status_code == 200


def test_an_empty_list_of_the_admin_asks_nobody_to_create_what_cannot_be_created(scope: Principal, site: Site) -> None:
    client = site("admin")

    channel, delivery = client.get("/admin/alerts/channel/").text, client.get("/admin/alerts/delivery/").text

    assert "Create a new item" not in channel + delivery
    assert url("channel_create") in channel
    assert client.get("/admin/alerts/channel/add/").status_code == 403
