"""What comes without a credential is small, quick, or not waited for."""

import time
from threading import Event
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from mlops.api import middleware
from mlops.tenancy.roles import Principal
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
FORM = "application/x-www-form-urlencoded"
LOGIN, UPLOAD = "/admin/login/", "/admin/registry/dataset/upload/"


class Stalled:
    """A body that never comes."""

    def __init__(self) -> None:
        self.over, self.asked = Event(), 0

    def read(self, *_: Any) -> bytes:
        self.asked += 1
        self.over.wait(20)
        return b""

    readline = read


@pytest.fixture
def stalled() -> Any:
    """Such a body, which ends with the test."""
    body = Stalled()
    yield body
    body.over.set()


def send(body: Any, path: str, *, length: int | None, content_type: str = FORM) -> Any:
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "a" * 32  # anybody's own invention, which makes the check of the token read the form
    request = client.handler

    def from_the_wire(environ: dict[str, Any]) -> Any:
        environ.pop("CONTENT_LENGTH", None)
        return request(
            environ | {"wsgi.input": body} | ({"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {"CONTENT_LENGTH": str(length)})
        )

    client.handler = from_the_wire  # type: ignore[assignment] # the seam between client and server
    return client.generic("POST", path, b"", content_type=content_type)


def test_a_large_form_of_nobody_is_413_before_it_is_read(stalled: Stalled) -> None:
    answer = send(stalled, UPLOAD, length=10_000_000, content_type="multipart/form-data; boundary=x")

    assert (answer.status_code, answer.json()["code"], stalled.asked) == (413, "too_large", 0)


def test_a_form_of_nobody_that_does_not_arrive_is_given_up(stalled: Stalled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "NOBODYS_SECONDS", 0.1)
    began = time.monotonic()

    answers = [send(stalled, LOGIN, length=100) for _ in range(3)]

    assert {(answer.status_code, answer["Retry-After"]) for answer in answers} == {(503, "5")}
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["/api/v1/models", LOGIN, "/nowhere"])
def test_chunks_of_nobody_are_not_read(path: str, stalled: Stalled) -> None:
    assert send(stalled, path, length=None).status_code in (401, 403, 404)
    assert stalled.asked == 0


def test_a_login_goes_through(manager: Principal) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = token = "a" * 32
    form = {"username": manager.name, "password": PASSWORD, "csrfmiddlewaretoken": token}

    answer = client.post(LOGIN, form)

    assert (answer.status_code, client.session["_auth_user_id"]) == (302, str(manager.user_id))


def test_the_api_asks_for_a_credential_before_it_reads(stalled: Stalled) -> None:
    answer = send(stalled, "/api/v1/datasets", length=100_000, content_type="multipart/form-data; boundary=x")

    assert (answer.status_code, stalled.asked) == (401, 0)
    assert APIClient().post("/api/v1/models", {"name": "x"}).status_code == 401
