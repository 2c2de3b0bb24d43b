"""Promises 1 and 12 on every operation there is: no input causes a 5xx or a broken answer, and no customer sees or infers another.

The operations come from the OpenAPI document and the pages from the admin's registry, so whatever is added is tested by being there.
`make torture` runs the same with far more cases.
"""

import json
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from experiments.models import Split
from mlops.jobs.models import Job
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer, TenantModel, User
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Role, system
from registry.models import Dataset, ModelVersion, RegisteredModel
from tests.conftest import NOON, PASSWORD
from tests.experiments.training.studying import make_split
from tests.registry import factories

pytestmark = pytest.mark.django_db

MARK = "RIVALSECRET"
TORTURE = os.environ.get("TORTURE") == "1"
BODIES_PER_OPERATION = 400 if TORTURE else 5
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO")
ODD_IDS = ("%00", "..", "%2e%2e%2f", "-1", "0", "9" * 40, "x" * 400, "null", "{}", "%ff%fe", "%0a", "1.0", "v999", "é", "'--", "%25", "*")
ODD_QUERIES = ("%00", "9" * 400, "-1", "1e9", "", "%ff", "[]", "0001-01-01T00:00:00%2B14:00", "é" * 300, "%0d%0a", "x%25%5f")
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**62, -(2**63), 1e308, -0.0, 0.5, "", " ", "x", "x" * 5000, "é\u202e模", "2026-03-01",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31", "v1", "../../etc/passwd", "=1+1", "%s%n", [], [None], [[]], [{}], {}, {"a": None}, {"": ""}, {"a": {"b": [1, "x"]}},
)  # fmt: skip
ODD_TYPES = ("text/plain", "multipart/form-data", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "")
RAW_BODIES = (
    b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\u0000"}', b'{"a": "\\ud800"}',
    b'{"a":1,"a":2}',    b"[" * 2000, b'{"\\u0000": 1}',
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One method of one path, as the document has it."""

    method: str
    path: str
    path_parameters: tuple[str, ...]
    query: tuple[str, ...]
    fields: tuple[str, ...]

    def url(self, values: dict[str, str]) -> str:
        """The path with its parameters filled in, already quoted."""
        return re.sub(r"\{(\w+)\}", lambda match: values[match.group(1)], self.path)


@dataclass(frozen=True)
class Shops:
    """Two customers with the same kinds of rows; `ours` and `theirs` are everything that identifies one."""

    customer: Customer
    rival: Customer
    client: APIClient
    ours: dict[str, str]
    theirs: tuple[str, ...]


@pytest.fixture
def shops(customer: Customer, other_customer: Customer) -> Shops:
    """Both customers get an arena; the rival's rows carry MARK in every text that people see."""
    Customer.objects.filter(pk=other_customer.pk).update(name=MARK)
    for one in (customer, other_customer):
        with acting(system(one.pk)):
            factories.make_arena(policy={"four_eyes": True})
            factories.make_job(label=MARK if one == other_customer else "ours")
            make_split(name=MARK if one == other_customer else "ours")
    with acting(system(other_customer.pk)):
        factories.make_model("rival-only", display_name=MARK)
        RegisteredModel.objects.update(display_name=MARK, description=MARK)
        Dataset.objects.update(name="rival-sales", created_by=MARK)
        theirs = tuple(_identifiers(other_customer))
    _, secret = tenancy.create_api_key(customer=customer, role=Role.ADMIN, name="promises", user=None, at=NOON)
    client = APIClient(raise_request_exception=False, headers={"Authorization": f"Bearer {secret}"})
    return Shops(customer, other_customer, client, _good_values(customer), theirs)


def _identifiers(customer: Customer) -> Iterator[str]:
    yield from ("rival-only", "rival-sales", str(customer.pk))
    for model in apps.get_models():
        if issubclass(model, TenantModel):
            yield from (str(pk) for pk in model.objects.values_list("pk", flat=True)[:3])
    yield from (str(pk) for pk in Job.objects.filter(customer=customer).values_list("pk", flat=True))


def _good_values(customer: Customer) -> dict[str, str]:
    with acting(system(customer.pk)):
        version = ModelVersion.objects.order_by("number").last()
        dataset = Dataset.objects.get()
        assert version is not None
        job = Job.objects.filter(customer=customer).values_list("pk", flat=True)[0]
        split = Split.objects.get()
        named = {"model_name": version.model_name, "version": version.version, "name": dataset.name, "number": "1"}
        return named | {"job_id": str(job), "split_id": str(split.pk)}


@cache
def operations() -> list[Operation]:
    """All operations of the document."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    return [
        Operation(
            method=method.upper(),
            path=path,
            path_parameters=tuple(re.findall(r"\{(\w+)\}", path)),
            query=tuple(one["name"] for one in details.get("parameters", []) if one["in"] == "query"),
            fields=tuple(_fields(document, details)),
        )
        for path, methods in sorted(document["paths"].items())
        for method, details in methods.items()
        if method != "parameters"
    ]


def _fields(document: dict[str, Any], details: dict[str, Any]) -> list[str]:
    content = details.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
    return sorted(document["components"]["schemas"].get(name, {}).get("properties", {}))


def some(values: Sequence[Any], count: int, *, of: object) -> Sequence[Any]:
    """All of them in `make torture`; otherwise a few, others for each operation and the same in every run."""
    return values if TORTURE or len(values) <= count else random.Random(str(of)).sample(list(values), count)


def send(shops: Shops, operation: Operation, *, values: dict[str, str] | None = None, query: str = "", body: bytes | None = None) -> Any:
    filled = {name: shops.ours.get(name, str(uuid4())) for name in operation.path_parameters} | (values or {})
    content = body if body is not None else b"" if operation.method in ("GET", "DELETE") else b"{}"
    return shops.client.generic(operation.method, operation.url(filled) + query, content, content_type="application/json")


def faults(answer: Any, what: str) -> list[str]:
    """What is wrong with an answer, whoever asked for it."""
    found = []
    text = getattr(answer, "content", b"") if not getattr(answer, "streaming", False) else b"".join(answer.streaming_content)
    if answer.status_code >= 500 and answer.status_code != 503:
        found.append(f"{answer.status_code}: {what}")
    if MARK.encode() in text:
        found.append(f"shows the rival: {what}")
    if answer.status_code >= 400 and answer["Content-Type"] == "application/problem+json":
        missing = {"type", "title", "status", "detail", "code", "request_id"} - set(json.loads(text) if text else {})
        found += [f"no problem document, lacks {missing}: {what}"] if missing and text else []
    elif answer.status_code >= 400:
        found.append(f"{answer.status_code} as {answer['Content-Type']}: {what}")
    return found


def test_the_walk_sees_the_whole_surface() -> None:
    seen = {operation.path.rstrip("/") for operation in operations()}

    assert {"/api/v1/me", "/api/v1/jobs", "/api/v1/audit", "/api/v1/models", "/api/v1/datasets"} <= seen


def test_no_address_breaks_the_server(shops: Shops) -> None:
    found = []
    for operation in operations():
        for name in operation.path_parameters:
            for odd in some(ODD_IDS, 3, of=(operation.method, operation.path)):
                found += faults(send(shops, operation, values={name: quote(odd, safe="%")}), f"{operation} {name}={odd}")

    assert found == []


def test_no_identifier_of_a_rival_opens_anything(shops: Shops) -> None:
    found, asked = [], 0
    for operation in operations():
        for name in operation.path_parameters:
            for foreign in some(shops.theirs, 4, of=(operation.method, operation.path)):
                answer = send(shops, operation, values={name: quote(foreign)})
                asked += 1
                found += faults(answer, f"{operation} {name}={foreign}")
                found += [f"{answer.status_code}: {operation} {name}={foreign}"] if answer.status_code < 400 else []

    assert found == []
    assert asked > 100


def test_a_rivals_identifier_is_answered_as_one_that_never_was(shops: Shops) -> None:
    found = []
    for operation in operations():
        for name in operation.path_parameters:
            theirs = next(one for one in shops.theirs[3:] if len(one) == 36)
            nobodys = str(uuid4())
            answers = [send(shops, operation, values={name: one}) for one in (theirs, nobodys)]
            texts = [
                re.sub(r'"request_id":"[^"]+"', "", answer.content.decode()).replace(one, "ID")
                for answer, one in zip(answers, (theirs, nobodys), strict=True)
            ]
            if texts[0] != texts[1] or answers[0].status_code != answers[1].status_code:
                found.append(f"{operation} {name}: {texts}")

    assert found == []


def test_no_query_string_breaks_the_server(shops: Shops) -> None:
    found = []
    for operation in operations():
        for name in (*operation.query, "unknown"):
            for odd in some((*ODD_QUERIES, *shops.theirs[:2]), 2, of=(operation.method, operation.path, name)):
                found += faults(send(shops, operation, query=f"?{name}={quote(odd, safe='%')}"), f"{operation} ?{name}={odd}")

    assert found == []


def test_no_body_breaks_the_server_or_a_later_read(shops: Shops) -> None:
    chance, found, writes = random.Random(20260302), [], 0
    reads = [operation for operation in operations() if operation.method == "GET"]
    for operation in operations():
        if operation.method == "GET":
            continue
        raw = some(RAW_BODIES, 3, of=(operation.method, operation.path))
        bodies = [*raw, *(_random_body(chance, operation.fields, shops) for _ in range(BODIES_PER_OPERATION))]
        for body in bodies:
            answer = send(shops, operation, body=body)
            writes += answer.status_code < 300
            found += faults(answer, f"{operation} {body[:300]!r}")
    for operation in reads:
        found += faults(send(shops, operation), f"afterwards: {operation}")

    assert found == []
    assert writes > 3


def _random_body(chance: random.Random, fields: tuple[str, ...], shops: Shops) -> bytes:
    pool = [*ODD_VALUES, *shops.theirs[:4], *shops.ours.values()]
    chosen = chance.sample(fields, k=chance.randint(0, len(fields))) if fields else []
    return json.dumps({name: chance.choice(pool) for name in chosen}).encode()


def test_no_method_or_content_type_breaks_the_server(shops: Shops) -> None:
    found = []
    for path, sample in {operation.path: operation for operation in operations()}.items():
        declared = {operation.method for operation in operations() if operation.path == path}
        for method in some(METHODS, 3, of=path):
            filled = {name: shops.ours.get(name, str(uuid4())) for name in sample.path_parameters}
            answer = shops.client.generic(method, sample.url(filled), b"{}", content_type="application/json")
            found += faults(answer, f"{method} {path}") if method != "HEAD" else []
            if method not in {*declared, "HEAD", "OPTIONS"} and answer.status_code != 405:
                found.append(f"{answer.status_code} instead of 405: {method} {path}")
        for content_type in some(ODD_TYPES, 2, of=path):
            for method in declared - {"GET"}:
                answer = shops.client.generic(method, sample.url(filled), b"--x\r\na=%00\xff", content_type=content_type)
                found += faults(answer, f"{method} {path} as {content_type}")

    assert found == []


SMALL_ACTS = {
    "service": {"/api/v1/models/{model_name}/actuals"},
    # To have seen an alert, what one hears of by one's own e-mail, and to ask a model, which changes nothing.
    "viewer": {
        "/api/v1/ml-alerts/{alert_id}/read",
        "/api/v1/subscriptions",
        "/api/v1/subscriptions/{subscription_id}",
        "/api/v1/subscriptions/channels/{channel_id}/test",
        "/v1/predict",
        "/v1/importance",
    },
}


@pytest.mark.parametrize("role", ["viewer", "service"])
def test_roles_that_may_only_read_change_nothing_but_their_own(shops: Shops, role: str) -> None:
    _, secret = tenancy.create_api_key(customer=shops.customer, role=Role(role), name=role, user=None, at=NOON)
    client = APIClient(raise_request_exception=False, headers={"Authorization": f"Bearer {secret}"})
    weak = Shops(shops.customer, shops.rival, client, shops.ours, shops.theirs)

    allowed = [operation for operation in operations() if operation.method != "GET" and send(weak, operation).status_code not in (403, 405)]

    assert {operation.path for operation in allowed} == SMALL_ACTS[role]


def test_nobody_opens_anything(shops: Shops) -> None:
    nobody = Shops(shops.customer, shops.rival, APIClient(raise_request_exception=False), shops.ours, shops.theirs)

    answers = {operation: send(nobody, operation).status_code for operation in operations()}

    assert {operation for operation, status in answers.items() if status != 401} == set()


def test_no_page_of_the_site_breaks_or_shows_a_rival(shops: Shops) -> None:
    tenancy.create_member(customer=shops.customer, email="boss@example.com", role=Role.ADMIN, password=PASSWORD, at=NOON)
    User.objects.update(is_superuser=True)
    browser = Client(raise_request_exception=False)
    assert browser.login(username="boss@example.com", password=PASSWORD)
    queries = (
        "",
        "?q=%00",
        "?q=%ff",
        "?p=9999999999999999999",
        "?o=99.-1",
        "?all=",
        "?customer__id__exact=1",
        f"?id__exact={shops.theirs[5]}",
    )
    found = []
    for model in admin.site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        addresses = [base + query for query in some(queries, 2, of=base)]
        addresses += [f"{base}{quote(odd, safe='%')}/change/" for odd in some((*ODD_IDS, *shops.theirs), 4, of=base)]
        for address in addresses:
            answer = browser.get(address)
            if answer.status_code >= 500 or MARK in answer.content.decode():
                found.append(f"{answer.status_code} {address}")

    assert found == []
