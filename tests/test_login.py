"""The one page of the site that nobody has to be logged in for."""

import pytest
from django.test import Client
from django.urls import reverse

pytestmark = pytest.mark.django_db


def test_the_login_page_opens_for_strangers(client: Client) -> None:
    page = client.get(reverse("admin:login"))

    assert page.status_code == 200
    assert b'name="username"' in page.content


def test_a_stranger_is_led_from_the_site_to_the_login(client: Client) -> None:
    answer = client.get(reverse("admin:index"))

    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("admin:login"))
