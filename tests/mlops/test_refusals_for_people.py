"""What somebody reads who stands before a closed door of the site, or none."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Role
from tests.conftest import join

pytestmark = pytest.mark.django_db
Site = Callable[..., Client]
BROWSER = {"Accept": "text/html"}


@pytest.mark.parametrize("method", ["get", "head"])
def test_the_site_without_its_slash_leads_to_the_site(client: Client, method: str) -> None:
    answer = getattr(client, method)("/admin")

    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_the_site_without_its_slash_takes_nothing(client: Client) -> None:
    assert client.post("/admin").status_code == 405


def test_an_address_of_nothing_is_told_in_words_with_a_way_back(client: Client) -> None:
    page = client.get("/nothing/", headers=BROWSER)

    assert page.status_code == 404
    assert "There is no page at this address." in page.text
    assert "GET" not in page.text
    assert f'href="{reverse("admin:index")}"' in page.text


def test_programs_are_still_told_where_to_look(client: Client) -> None:
    assert client.get("/nothing/").json()["detail"] == "There is nothing at this address. GET / lists what there is."


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("registry_dataset_upload", "The role Viewer may not upload or map data sets: that takes the role Data scientist."),
        ("tenancy_membership_changelist", "The role Viewer does not open this page: that takes the role Administrator."),
        ("tenancy_apikey_add", "The role Viewer does not open this page: that takes the role Administrator."),
        ("alerts_delivery_changelist", "The role Viewer does not open this page: that takes the role Administrator."),
    ],
)
def test_a_closed_page_names_the_role_it_takes_as_screens_do(site: Site, page: str, told: str) -> None:
    answer = site("viewer").get(reverse(f"admin:{page}"), headers=BROWSER)

    assert answer.status_code == 403
    assert told in answer.text


def test_a_wrong_login_says_one_thing_whoever_was_named(client: Client, customer: Customer) -> None:
    join(customer, "kim@example.com", Role.VIEWER)
    url = reverse("admin:login")

    pages = [client.post(url, {"username": email, "password": "wrong"}).text for email in ("kim@example.com", "nobody@example.com")]

    for page in pages:
        assert "That e-mail and password do not match." in page
        assert "staff" not in page
        assert "correct the error" not in page


def test_a_login_without_a_password_marks_the_field(client: Client) -> None:
    page = client.post(reverse("admin:login"), {"username": "kim@example.com", "password": ""}).text

    assert "correct the error below" in page
    assert "This field is required." in page
