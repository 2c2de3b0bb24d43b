"""The lists in the admin: who sees them, what they cost, what they hide."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from alerts.models import Delivery
from alerts.services.notifying import notify_test
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from tests.alerts.factories import NOON, make_alert, make_webhook

Site = Callable[..., Client]


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]


def test_the_login_page_opens_for_nobody_in_particular(client: Client, db: None) -> None:
    assert client.get("/admin/login/").status_code == 200


@pytest.mark.parametrize(("name", "viewer"), [("mlalert", 200), ("subscription", 200), ("channel", 403), ("delivery", 403)])
def test_lists_open_for_whom_they_are(name: str, viewer: int, scope: Principal, site: Site) -> None:
    make_alert()
    notify_test(make_webhook("http://127.0.0.1:9/")[0], by="x", at=NOON)

    assert site("viewer").get(f"/admin/alerts/{name}/").status_code == viewer
    assert site("admin").get(f"/admin/alerts/{name}/").status_code == 200


def test_an_alerts_page_shows_and_changes_nothing(scope: Principal, site: Site) -> None:
    alert = make_alert()
    client = site("admin")

    assert client.get(f"/admin/alerts/mlalert/{alert.pk}/change/").status_code == 200
    assert client.post(f"/admin/alerts/mlalert/{alert.pk}/change/", {"title": "x"}).status_code == 403


def test_a_channels_page_hides_what_secrets_are_made_of(scope: Principal, site: Site) -> None:
    channel, secret = make_webhook("http://127.0.0.1:9/")

    page = site("admin").get(f"/admin/alerts/channel/{channel.pk}/change/").content.decode()

    assert channel.secret_salt not in page
    assert channel.secret_fingerprint not in page
    assert secret not in page


def test_dead_messages_are_sent_again_from_the_list(scope: Principal, site: Site) -> None:
    delivery = notify_test(make_webhook("http://127.0.0.1:9/")[0], by="x", at=NOON)
    Delivery.objects.update(status="dead", ended_at=NOON)

    site("admin").post("/admin/alerts/delivery/", {"action": "resend", "_selected_action": [str(delivery.pk)]})

    with acting(scope):
        delivery.refresh_from_db()
    assert delivery.status == "pending"
