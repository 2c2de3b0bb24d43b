"""Every endpoint keeps these rules; they are shown on a sample API."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, transaction
from django.db.utils import DataError
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.api import throttling
from mlops.audit.models import AuditEvent
from mlops.audit.services import record
from mlops.telemetry.context import COMMAND_LINE
from mlops.tenancy import services as tenancy
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import ApiKey, Customer, Membership
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Role, system
from tests.conftest import NOON, PASSWORD
from tests.mlops import sample_api

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.mlops.sample_api")]

NOTES = "/api/v1/notes"
Api = Callable[..., APIClient]
MEMBERS = {"type", "title", "status", "detail", "code", "errors", "request_id"}


def post(client: APIClient, content: str | bytes, content_type: str = "application/json", **headers: str) -> Any:
    return client.generic("POST", NOTES, content, content_type=content_type, headers=headers)


def notes_of(customer: Customer) -> int:
    with scoped(customer.pk), transaction.atomic():
        return AuditEvent.objects.filter(action="note").count()


def assert_problem(answer: Any, status: int, code: str = "") -> dict[str, Any]:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json"), answer.content[:300]
    problem: dict[str, Any] = answer.json()
    assert set(problem) >= MEMBERS
    assert problem["status"] == status
    assert problem["request_id"] == answer["X-Request-ID"]
    assert code in ("", problem["code"])
    return problem


# --- who and what -----------------------------------------------------------------------------------------------------------------------
def test_nobody_is_401_and_told_how_to_authenticate() -> None:
    answer = APIClient().get(NOTES)

    assert_problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer", "Bearer ", "Basic YTpi", "bearer \xff", "x" * 5000])
def test_a_credential_that_opens_nothing_is_401(header: str) -> None:
    assert_problem(APIClient().get(NOTES, headers={"Authorization": header}), 401)


def test_a_role_too_low_is_403(api: Api) -> None:
    assert_problem(api("viewer").post(NOTES, {"text": "x"}), 403, "forbidden")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "FOO", "POST;"])
def test_a_method_the_view_does_not_have_is_405(api: Api, method: str) -> None:
    answer = api().generic(method, NOTES, b"{}", content_type="application/json")

    assert_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer["Allow"]


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_plain_views_answer_405_too(path: str) -> None:
    assert_problem(Client(enforce_csrf_checks=True).post(path), 405)


def test_head_and_options_answer_without_a_defect(api: Api) -> None:
    client = api("viewer")

    assert (client.head(NOTES).status_code, client.options(NOTES).status_code) == (200, 200)


@pytest.mark.parametrize("path", ["/api/v1/nowhere", "/api/v1/jobs/00000000-0000-0000-0000-000000000000", "/api/v1/jobs/" + "-" * 36])
def test_what_does_not_exist_is_404(api: Api, path: str) -> None:
    assert_problem(api().get(path), 404, "not_found")


# --- keys and sessions ------------------------------------------------------------------------------------------------------------------
def test_an_expired_key_opens_nothing(customer: Customer) -> None:
    key, secret = tenancy.create_api_key(
        customer=customer, role=Role.VIEWER, name="k", user=None, at=timezone.now(), expires_at=timezone.now() + timedelta(hours=1)
    )
    client = APIClient(headers={"Authorization": f"Bearer {secret}"})
    before = client.get(NOTES).status_code

    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())

    assert (before, client.get(NOTES).status_code) == (200, 401)


def test_a_revoked_key_opens_nothing(customer: Customer, key: Callable[..., str]) -> None:
    client = APIClient(headers={"Authorization": f"Bearer {key('viewer')}"})

    tenancy.revoke_api_key(key=ApiKey.objects.get(), at=timezone.now(), by=system(customer.pk))

    assert client.get(NOTES).status_code == 401


def test_a_persons_key_ends_with_the_membership(customer: Customer, key: Callable[..., str]) -> None:
    client = APIClient(headers={"Authorization": f"Bearer {key('viewer', email='kim@example.com')}"})
    before = client.get(NOTES).status_code

    Membership.objects.filter(user__email="kim@example.com").delete()

    assert (before, client.get(NOTES).status_code) == (200, 401)


def test_a_persons_key_never_exceeds_the_persons_role(customer: Customer, key: Callable[..., str]) -> None:
    client = APIClient(headers={"Authorization": f"Bearer {key('ml_manager', email='kim@example.com')}"})

    tenancy.create_member(customer=customer, email="kim@example.com", role=Role.VIEWER, password=None, at=NOON)

    assert client.post(NOTES, {"text": "x"}, format="json").status_code == 403


def test_a_session_needs_its_csrf_token_on_every_unsafe_verb(customer: Customer) -> None:
    tenancy.create_member(customer=customer, email="kim@example.com", role=Role.ML_MANAGER, password=PASSWORD, at=NOON)
    browser = Client(enforce_csrf_checks=True)
    assert browser.login(username="kim@example.com", password=PASSWORD)
    browser.get("/admin/password_change/")
    token = browser.cookies["csrftoken"].value

    without = browser.post(NOTES, {"text": "x"}, content_type="application/json")
    with_it = browser.post(NOTES, {"text": "x"}, content_type="application/json", headers={"X-CSRFToken": token})

    assert_problem(without, 403)
    assert with_it.status_code == 201


# --- bodies -----------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    [
        '{"text": "x", "text": "y"}',
        '{"text": "x", "free": {"a": 1, "a": 2}}',
        '{"text": "x", "free": NaN}',
        '{"text": "x", "free": [-Infinity]}',
        '{"text": "x", "free": 1e999}',
        '{"text": "x", "free": 9223372036854775808}',
        '{"text": "x", "free": ' + "9" * 5000 + "}",
        '{"text": "x", "free": "\\u0000"}',
        '{"text": "x", "free": {"\\ud800": 1}}',
        '{"text": "\\udfff"}',
        '{"text": "a\\u0000b"}',
        '{"text": "x", "free": ' + "[" * 70 + "]" * 70 + "}",
        "[" * 100_000,
        '{"text": "x", "free": ' + '{"a":' * 5000 + "1" + "}" * 5001,
        '{"text": "x"',
        "not json",
        "[]",
        '"text"',
        "1",
        "null",
        "{}",
        '{"text": null}',
        '{"text": 5e300, "count": "many"}',
        '{"text": ["x"]}',
        '{"text": "' + "x" * 51 + '"}',
        '{"text": "x", "count": 11}',
        '{"text": "x", "count": 1e400}',
        '{"text": "x", "count": true}',
        '{"text": "x", "txet": "y"}',
        b"\xff\xfe{\x00}\x00",
        b'{"text": "\xff"}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_body_that_cannot_be_kept_is_400_and_changes_nothing(api: Api, customer: Customer, body: str | bytes) -> None:
    answer = post(api(), body)

    assert_problem(answer, 400)
    assert notes_of(customer) == 0


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        ({"text": 5}, "text", "Must be a text, not a number."),
        ({"text": False}, "text", "Must be a text, not false."),
        ({"pinned": "yes"}, "pinned", "Must be true or false, not a text."),
        ({"pinned": 1}, "pinned", "Must be true or false, not a number."),
        ({"count": "5"}, "count", "Must be a whole number, not a text."),
        ({"count": True}, "count", "Must be a whole number, not true."),
        ({"count": 5.0}, "count", "Must be a whole number, not a number with a fraction."),
        ({"kind": 1}, "kind", "Must be a text (a, 1), not a number."),
        ({"about": 5}, "about", "Must be a text, not a number."),
        ({"tags": "a"}, "tags", "Must be a list, not a text."),
        ({"tags": {"a": 1}}, "tags", "Must be a list, not an object."),
        ({"tags": ["a", 2]}, "tags[1]", "Must be a text, not a number."),
        ({"names": []}, "names", "Must be an object, not a list."),
        ({"names": {"b": 1}}, "names.b", "Must be a text, not a number."),
        ({"lines": [{"weight": 1}, {"weight": "1"}]}, "lines[1].weight", "Must be a number, not a text."),
        ({"lines": [3]}, "lines[0]", "Must be an object, not a number."),
    ],
)
def test_a_value_of_another_json_type_is_refused_and_told(
    api: Api, customer: Customer, value: dict[str, Any], field: str, message: str
) -> None:
    problem = assert_problem(api().post(NOTES, {"text": "x", **value}), 400, "invalid")

    assert problem["errors"] == [{"field": field, "message": message, "code": "invalid"}]
    assert notes_of(customer) == 0


def test_values_of_their_json_types_are_taken(api: Api) -> None:
    body = {
        "text": "5",
        "count": 5,
        "pinned": False,
        "kind": "1",
        "about": None,
        "tags": ["1"],
        "names": {"b": "2"},
        "lines": [{"weight": 1}],
    }

    assert api().post(NOTES, body).json() == {"number": mock.ANY, **body}


def test_a_body_of_wrong_types_names_the_first_twenty(api: Api) -> None:
    assert len(assert_problem(api().post(NOTES, {"text": "x", "tags": [1] * 1000}), 400)["errors"]) == 20


def test_an_unknown_field_is_named_with_the_known_ones(api: Api) -> None:
    problem = assert_problem(post(api(), '{"txet": "x"}'), 400)

    assert problem["errors"][0]["field"] == "txet"
    assert "text, count, free" in problem["errors"][0]["message"]


def test_a_body_with_a_hundred_thousand_keys_and_one_twice_is_refused_quickly(api: Api) -> None:
    keys = ",".join(f'"k{number}":0' for number in range(100_000))
    began = timezone.now()

    answer = post(api(), f'{{{keys},"k99999":1}}')

    assert_problem(answer, 400)
    assert timezone.now() - began < timedelta(seconds=5)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/json+x"]
)
def test_another_content_type_is_415(api: Api, content_type: str) -> None:
    answer = post(api(), b"text=x", content_type)

    assert_problem(answer, 400 if content_type == "" else 415)


def test_the_content_type_may_be_written_in_capitals(api: Api) -> None:
    assert post(api(), '{"text": "x"}', "APPLICATION/JSON; Charset=UTF-8").status_code == 201


def test_a_body_above_the_limit_is_413_before_it_is_read(api: Api) -> None:
    problem = assert_problem(post(api(), b" " * (settings.MAX_BODY_BYTES + 1)), 413, "too_large")

    assert problem["limit"] == settings.MAX_BODY_BYTES


@pytest.mark.parametrize(("size", "status"), [(100, 400), (settings.MAX_BODY_BYTES + 1, 413)])
def test_a_body_without_a_length_is_bounded_too(api: Api, size: int, status: int) -> None:
    environment = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": BytesIO(b'{"text": "' + b"x" * size + b'"}')}
    client = api()
    request = client.handler

    def without_length(environ: dict[str, Any]) -> Any:
        environ.pop("CONTENT_LENGTH", None)
        return request(environ | environment)

    client.handler = without_length  # type: ignore[assignment] - the seam between client and server
    assert_problem(client.generic("POST", NOTES, b"", content_type="application/json"), status)


@pytest.mark.parametrize("length", ["-1", "abc", "1" * 30])
def test_a_length_that_is_no_length_is_refused(api: Api, length: str) -> None:
    answer = api().generic("POST", NOTES, b"{}", content_type="application/json", CONTENT_LENGTH=length)

    assert_problem(answer, 413 if length.isdigit() else 400)


@pytest.mark.parametrize("body", [b"", b"no boundary here", b"--x\r\n", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1'])
def test_broken_multipart_is_no_defect(api: Api, body: bytes) -> None:
    answer = api().generic("POST", "/api/v1/datasets", body, content_type="multipart/form-data; boundary=x")

    assert answer.status_code in (200, 400)


def test_multipart_brings_files_through_a_temporary_file(api: Api) -> None:
    file = SimpleUploadedFile("../../etc/passwd.csv", b"a,b\n" * 100)

    answer = api().post("/api/v1/datasets", {"file": file, "name": "sales"}, format="multipart")

    assert answer.json() == {"files": {"file": 400}, "fields": {"name": "sales"}}


def test_large_fields_of_a_form_are_413(api: Api) -> None:
    answer = api().post("/api/v1/datasets", {"name": "x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)}, format="multipart")

    assert_problem(answer, 413)


# --- query strings ----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "query",
    [
        "limti=3", "limit=0", "limit=11", "limit=1e1", "limit=", "limit=%20", "limit=1&limit=2", "limit=" + "9" * 400, "limit=٣",
        "kind=c", "at=yesterday", "at=2026-13-01T00:00:00Z", "at=0001-01-01T00:00:00%2B14:00", "at=9999-12-31T23:59:59-14:00",
        "limit=%00", "%00=1", "kind=%ed%a0%80", "a" * 3000 + "=1", "&&=&", "limit=1;drop", "limit=--1",
    ],
)  # fmt: skip
def test_a_query_string_out_of_the_documented_is_400(api: Api, query: str) -> None:
    assert_problem(api().get(f"{NOTES}?{query}"), 400)


def test_an_unknown_parameter_is_answered_with_the_known_ones(api: Api) -> None:
    problem = assert_problem(api().get(f"{NOTES}?limti=3"), 400)

    assert (problem["errors"][0]["field"], "at, kind, limit" in problem["errors"][0]["message"]) == ("limti", True)


@pytest.mark.parametrize("path", ["/api/v1/notes/%00", "/%00", "/admin/%00/", "/api/v1/jobs/%00", "/static/%00"])
def test_nul_in_a_path_is_no_defect(api: Api, path: str) -> None:
    assert api().get(path).status_code in (400, 404)


def test_what_leaves_the_server_is_json_any_reader_takes(api: Api) -> None:
    answer = api().get(f"{NOTES}?at=2026-03-01T06:00:00%2B02:00").json()

    assert answer == {"limit": 5, "at": "2026-03-01T04:00:00Z", "kind": "", "nan": None}


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page_size=101", "page_size=x", "page=1000001", "ordering=digest", "ordering=--number", "status=x"]
)
def test_pages_out_of_range_are_400(api: Api, query: str) -> None:
    path = "/api/v1/jobs" if query.startswith("status") else "/api/v1/audit"

    assert_problem(api().get(f"{path}?{query}"), 400)


def test_a_page_beyond_the_last_is_empty_and_leads_back(api: Api) -> None:
    answer = api().get("/api/v1/audit?page=500&page_size=1").json()

    assert (answer["results"], answer["next"]) == ([], None)
    assert f"page={answer['count']}" in answer["previous"]


@pytest.mark.parametrize(
    "query", ["since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00", "since=x", "actor=%F0%9F%98%80", "search=%25_%5C"]
)
def test_filters_of_lists_take_anything_without_a_defect(api: Api, query: str) -> None:
    assert api().get(f"/api/v1/audit?{query}").status_code in (200, 400)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("until=2026-11-30", 3),
        ("until=2026-11-29", 1),
        ("since=2026-11-30", 3),
        ("since=2026-11-30&until=2026-11-30", 2),
        ("until=20261130", 3),
        ("until=2026-11-30T00:00:00Z", 1),
        ("until=2026-11-30T23:59:59Z", 2),
        ("until=9999-12-31", 4),
    ],
)
def test_a_bare_date_means_its_whole_day(api: Api, customer: Customer, query: str, found: int) -> None:
    moments = ["2026-11-29T23:59:59", "2026-11-30T00:00:00", "2026-11-30T23:59:59.5", "2026-12-01T00:00:00"]
    with acting(system(customer.pk)), transaction.atomic():
        for moment in moments:
            at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
            record(action="note.day", target=customer, label="x", at=at)

    answer = api().get(f"/api/v1/audit?action=note.day&{query}").json()

    assert answer["count"] == found


# --- request ids, ETags, throttle -------------------------------------------------------------------------------------------------------
def test_a_sane_request_id_is_echoed_and_kept_with_what_it_did(api: Api, customer: Customer) -> None:
    answer = post(api(), '{"text": "x"}', **{"X-Request-ID": "order-66"})

    assert answer["X-Request-ID"] == "order-66"
    with scoped(customer.pk):
        assert AuditEvent.objects.get(action="note").request_id == "order-66"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, "a\u00e9", f"{COMMAND_LINE}1", f"{COMMAND_LINE.upper()}1"])
def test_an_odd_request_id_is_replaced(api: Api, sent: str) -> None:
    assert len(api().get(NOTES, headers={"X-Request-ID": sent})["X-Request-ID"]) == 36


@pytest.mark.parametrize(
    ("sent", "status"), [('"note-1"', 200), ('W/"note-1"', 200), ('"a", "note-1"', 200), ("*", 200), ('"note-0"', 412), ("x", 412)]
)
def test_if_match_holds_a_change_to_what_the_client_saw(api: Api, sent: str, status: int) -> None:
    assert api().patch(NOTES, {}, format="json", headers={"If-Match": sent}).status_code == status


def test_too_many_requests_are_429_with_the_time_to_wait(api: Api, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_counts", {})
    settings.THROTTLE_PER_MINUTE = 2
    client = api()
    client.get(NOTES), client.get(NOTES)

    answer = client.get(NOTES)

    assert_problem(answer, 429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= 60


# --- idempotency ------------------------------------------------------------------------------------------------------------------------
def test_the_same_key_and_body_are_performed_once_and_answered_the_same(api: Api, customer: Customer) -> None:
    client = api()
    first, second = (post(client, '{"text": "x"}', **{"Idempotency-Key": "k"}) for _ in range(2))

    assert (first.status_code, first.json(), first["Location"]) == (second.status_code, second.json(), second["Location"])
    assert ("Idempotency-Replayed" in first, second["Idempotency-Replayed"]) == (False, "true")
    assert notes_of(customer) == 1


def test_the_same_key_with_another_body_is_409(api: Api, customer: Customer) -> None:
    client = api()
    post(client, '{"text": "x"}', **{"Idempotency-Key": "k"})

    assert_problem(post(client, '{"text": "y"}', **{"Idempotency-Key": "k"}), 409, "idempotency_key_reused")
    assert notes_of(customer) == 1


def test_two_principals_may_use_the_same_key(customer: Customer, key: Callable[..., str]) -> None:
    for email in ("kim@example.com", "lee@example.com"):
        client = APIClient(headers={"Authorization": f"Bearer {key('ml_manager', email=email)}"})
        assert post(client, '{"text": "x"}', **{"Idempotency-Key": "k"}).status_code == 201

    assert notes_of(customer) == 2


@pytest.mark.parametrize("broken", ['{"text": ""}', '{"text": "x", "txet": 1}', "{"])
def test_a_refused_post_leaves_its_key_free(api: Api, customer: Customer, broken: str) -> None:
    client = api()
    assert_problem(post(client, broken, **{"Idempotency-Key": "k"}), 400)

    assert post(client, '{"text": "x"}', **{"Idempotency-Key": "k"}).status_code == 201
    assert notes_of(customer) == 1


def test_a_post_that_breaks_is_undone_with_its_key(api: Api, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = api()
    client.raise_request_exception = False
    monkeypatch.setattr(sample_api.Notes, "fail", True)
    broken = post(client, '{"text": "x"}', **{"Idempotency-Key": "k"})
    monkeypatch.setattr(sample_api.Notes, "fail", False)

    again = post(client, '{"text": "x"}', **{"Idempotency-Key": "k"})

    assert_problem(broken, 500, "internal_error")
    assert (again.status_code, notes_of(customer)) == (201, 1)


@pytest.mark.parametrize("sent", ["", "x" * 201, "a\tb"])
def test_a_key_that_cannot_be_kept_is_400(api: Api, sent: str) -> None:
    assert_problem(post(api(), '{"text": "x"}', **{"Idempotency-Key": sent}), 400)


# --- outages ----------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "where", ["mlops.tenancy.middleware.principal_of_key", "tests.mlops.sample_api.record", "mlops.api.views.refuse_unknown"]
)
def test_an_outage_is_503_with_retry_after_wherever_it_shows(api: Api, where: str) -> None:
    client = api()
    client.raise_request_exception = False

    with mock.patch(where, side_effect=OperationalError("the server is going away")):
        answer = post(client, '{"text": "x"}')

    assert_problem(answer, 503, "database_unavailable")
    assert answer["Retry-After"]


def test_an_outage_in_the_session_is_503_for_programs_and_people(customer: Customer) -> None:
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = "a" * 32

    with mock.patch("django.contrib.sessions.backends.db.SessionStore.load", side_effect=OperationalError("gone")):
        program = client.get("/api/v1/me")
        person = client.get("/admin/", headers={"Accept": "text/html"})

    assert_problem(program, 503)
    assert (person.status_code, person["Retry-After"], b"<h1>503</h1>" in person.content) == (503, "2", True)


def test_a_value_that_no_column_takes_is_400_even_where_no_check_caught_it(api: Api) -> None:
    with mock.patch("tests.mlops.sample_api.record", side_effect=DataError("out of range")):
        assert_problem(post(api(), '{"text": "x"}'), 400)


def test_a_session_cookie_with_nul_is_no_defect(customer: Customer) -> None:
    client = Client(raise_request_exception=False, headers={"Cookie": r'sessionid="abcdefghijk\000lmnop"'})

    assert client.get("/api/v1/me").status_code in (400, 401)
