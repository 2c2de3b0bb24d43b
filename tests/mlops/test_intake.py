"""What nobody may send, or is too large, is refused before it is read. How slow senders fare is shown in `test_slow_senders`."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from rest_framework.test import APIClient

from mlops.rsgi import INTAKE, Intake
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
FORM = "application/x-www-form-urlencoded"
UNKNOWN = "00000000-0000-0000-0000-00000000beef"
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


def send(body: Any, path: str, *, length: int | None, content_type: str = FORM, client: Client | None = None, **headers: str) -> Any:
    client = client or Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "a" * 32  # anybody's own invention, which makes the check of the token read the form
    request = client.handler

    def from_the_wire(environ: dict[str, Any]) -> Any:
        environ.pop("CONTENT_LENGTH", None)
        return request(
            environ | {"wsgi.input": body} | ({"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {"CONTENT_LENGTH": str(length)})
        )

    client.handler = from_the_wire  # type: ignore[assignment] # the seam between client and server
    return client.generic("POST", path, b"", content_type=content_type, **headers)  # type: ignore[arg-type] # WSGI names


def test_a_large_form_of_nobody_is_413_before_it_is_read(stalled: Stalled) -> None:
    answer = send(stalled, UPLOAD, length=10_000_000, content_type="multipart/form-data; boundary=x")

    assert (answer.status_code, answer.json()["code"], stalled.asked) == (413, "too_large", 0)


@pytest.mark.parametrize("path", ["/api/v1/models", LOGIN, "/nowhere"])
def test_chunks_of_nobody_are_not_read(path: str, stalled: Stalled) -> None:
    assert send(stalled, path, length=None).status_code in (401, 404, 413)
    assert stalled.asked == 0


def test_a_small_form_of_nobody_is_asked_for_as_it_was_announced(stalled: Stalled) -> None:
    door = Intake(arrived=False)
    form = "multipart/form-data; boundary=x"

    answer = send(stalled, LOGIN, length=100, content_type=form, REMOTE_ADDR="192.0.2.7", **{INTAKE: door})  # type: ignore[arg-type] # WSGI

    assert (answer.status_code, stalled.asked) == (100, 0)
    assert (door.limit, door.sender, door.into_file) == (64 * 1024, "address 192.0.2.7", False)


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


@pytest.mark.parametrize("path", [UPLOAD, f"/admin/registry/dataset/{UNKNOWN}/new-version/", f"/admin/registry/dataset/{UNKNOWN}/"])
def test_a_viewers_large_form_is_403_before_it_is_read(path: str, stalled: Stalled, site: Callable[..., Client]) -> None:
    answer = send(stalled, path, length=900_000, content_type="multipart/form-data; boundary=x", client=site("viewer"))

    assert (answer.status_code, answer.json()["code"], stalled.asked) == (403, "forbidden", 0)


@pytest.mark.parametrize("path", ["/api/v1/datasets", "/api/v1/datasets/sales/versions", "/api/v1/models/shop/versions"])
@pytest.mark.parametrize(
    ("role", "length", "expected"), [("viewer", 900_000, 403), ("service", None, 403), ("data_scientist", 10**10, 413)]
)
def test_an_upload_that_cannot_be_taken_is_refused_before_it_is_read(
    path: str, role: str, length: int | None, expected: int, stalled: Stalled, key: Callable[..., str]
) -> None:
    credential = {"HTTP_AUTHORIZATION": f"Bearer {key(role)}"}

    answer = send(stalled, path, length=length, content_type="multipart/form-data; boundary=x", **credential)

    assert (answer.status_code, stalled.asked) == (expected, 0)


def test_a_form_that_no_page_expects_is_413_before_it_is_read(stalled: Stalled, site: Callable[..., Client]) -> None:
    answer = send(stalled, "/admin/approvals/", length=900_000, client=site("admin"))

    assert (answer.status_code, stalled.asked) == (413, 0)


def test_a_file_beyond_its_limit_is_413_and_leaves_nothing(
    api: Callable[..., APIClient], settings: Any, tmp_path: Path, customer: Customer
) -> None:
    settings.MAX_ARTIFACT_BYTES, settings.FILE_UPLOAD_TEMP_DIR = 100_000, str(tmp_path)
    api().post("/api/v1/models", {"name": "shop"})

    answer = api().post(
        "/api/v1/models/shop/versions", {"file": SimpleUploadedFile("m.txt", b"x" * 200_000), "metadata": "{}"}, format="multipart"
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert list(tmp_path.iterdir()) == []
