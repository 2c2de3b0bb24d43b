"""The OpenAPI document is valid, and its pages work from local files under our content security policy."""

import inspect
import io
import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from django.urls import resolve

from mlops.api.problem_page import as_html

pytestmark = pytest.mark.django_db


@cache
def read_document() -> dict[str, Any]:
    answer: dict[str, Any] = Client().get("/api/schema").json()
    return answer


@pytest.fixture
def document(db: None) -> dict[str, Any]:
    return read_document()


def test_the_document_validates_without_a_warning() -> None:
    output = io.StringIO()

    call_command("spectacular", validate=True, fail_on_warn=True, stdout=output)

    assert output.getvalue().startswith("openapi: 3.1")


@pytest.mark.django_db
def test_every_operation_says_what_can_go_wrong() -> None:
    document = Client().get("/api/schema").json()
    operations = [operation for path in document["paths"].values() for name, operation in path.items() if name != "parameters"]

    assert len(operations) >= 6
    for operation in operations:
        assert {"400", "401", "403", "404", "429", "503"} <= set(operation["responses"]), operation["operationId"]


def test_what_takes_a_body_says_how_it_is_refused(document: dict[str, Any]) -> None:
    for path, method, operation in operations_of(document):
        assert ({"413", "415"} <= set(operation["responses"])) is (method in ("post", "put", "patch")), path


@pytest.mark.parametrize(
    ("path", "filters"),
    [
        ("/api/v1/ml-alerts", {"status", "severity", "alert_type", "model_name"}),
        ("/api/v1/models", {"task", "model_type", "domain", "production_status"}),
        ("/api/v1/models/{model_name}/versions", {"status", "algorithm", "limit"}),
        ("/api/v1/models/promotion-requests", {"status", "kind", "model_name"}),
        ("/api/v1/jobs", {"status", "kind"}),
        ("/api/v1/audit", {"actor", "action", "object_type", "object_id", "request_id", "since", "until"}),
        ("/v1/models", {"stage", "experiment_id", "status", "name", "algorithm"}),
    ],
)
def test_a_list_says_what_it_is_filtered_by(document: dict[str, Any], path: str, filters: set[str]) -> None:
    named = parameters_of(document["paths"][path]["get"], "query")

    assert set(named) - {"page", "page_size", "ordering", "search"} == filters


def test_a_filter_says_what_it_takes(document: dict[str, Any]) -> None:
    alerts = parameters_of(document["paths"]["/api/v1/ml-alerts"]["get"], "query")
    audit = parameters_of(document["paths"]["/api/v1/audit"]["get"], "query")
    versions = parameters_of(document["paths"]["/v1/models"]["get"], "query")

    assert alerts["severity"]["schema"] == {"type": "string", "enum": ["info", "warning", "critical"]}
    assert alerts["ordering"]["schema"]["enum"][:2] == ["severity", "-severity"]
    assert audit["since"]["schema"] == {"type": "string", "format": "date-time"}
    assert (versions["experiment_id"]["schema"]["format"], versions["experiment_id"]["description"]) == ("uuid", "A study's id.")


def test_the_query_parameters_are_those_that_are_let_through(document: dict[str, Any]) -> None:
    for path, method, operation in operations_of(document):
        known = view_at(path)().known_parameters(SimpleNamespace(method=method.upper()))

        assert sorted(parameters_of(operation, "query")) == sorted(known), (method, path)


def test_what_takes_a_precondition_says_so(document: dict[str, Any]) -> None:
    for path, method, operation in operations_of(document):
        takes = "condition(request" in inspect.getsource(getattr(view_at(path), method))

        assert ("If-Match" in parameters_of(operation, "header"), "412" in operation["responses"]) == (takes, takes), (method, path)


def test_an_idempotency_key_is_offered_where_it_is_taken(document: dict[str, Any]) -> None:
    offered = {path for path, _, operation in operations_of(document) if "Idempotency-Key" in parameters_of(operation, "header")}
    posts = {path for path, method, _ in operations_of(document) if method == "post"}

    channels = "/api/v1/subscriptions/channels"
    assert posts - offered == {"/v1/predict", "/v1/importance", channels, f"{channels}/{{channel_id}}/secret"}


@pytest.mark.parametrize("path", ["/docs", "/docs/?script=", "/redoc", "/docs/problems"])
def test_pages_load_nothing_from_elsewhere_and_hold_no_script(path: str) -> None:
    answer = Client().get(path)
    page = answer.content.decode()

    assert answer.status_code == 200
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) == []
    assert [source for source in re.findall(r'(?:src|href)="([^"]+)"', page) if not source.startswith(("/", "#"))] == []
    assert "'unsafe-inline'" not in script_source(answer)
    assert "'unsafe-eval'" not in script_source(answer)


def test_every_file_the_pages_name_is_here() -> None:
    pages = "".join(Client().get(path).content.decode() for path in ("/docs", "/redoc"))
    files = re.findall(r'(?:src|href)="/static/([^"?]+)"', pages)

    assert len(files) >= 4
    assert [file for file in files if finders.find(file) is None] == []


def test_only_pages_of_the_admin_theme_may_evaluate(site: Callable[..., Client]) -> None:
    browser = site("viewer")

    assert "'unsafe-eval'" in script_source(browser.get("/admin/jobs/job/"))
    assert "'unsafe-eval'" not in script_source(browser.get("/api/v1/me"))
    assert "'unsafe-inline'" not in script_source(browser.get("/admin/jobs/job/"))


@pytest.mark.parametrize("path", ["/api/v1/me", "/admin/login/", "/docs", "/api/v1/nowhere", "/health"])
def test_every_answer_keeps_the_browser_safe(path: str) -> None:
    answer = Client().get(path)

    assert (answer["X-Content-Type-Options"], answer["X-Frame-Options"], answer["Referrer-Policy"]) == ("nosniff", "DENY", "same-origin")
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]


def operations_of(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items() if method != "parameters"]


def parameters_of(operation: dict[str, Any], place: str) -> dict[str, Any]:
    return {one["name"]: one for one in operation.get("parameters", []) if one["in"] == place}


def view_at(path: str) -> Any:
    view: Any = resolve(
        re.sub(r"\{(\w+)\}", lambda name: "1" if name[1] == "number" else "0" * 8 + "-0000" * 3 + "-" + "0" * 12, path)
    ).func
    return view.cls


def script_source(answer: Any) -> str:
    policy = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
    return str(policy.get("script-src", policy["default-src"]))


@pytest.mark.parametrize("path", ["/admin/login/?next=https://evil.example/", "/admin/login/?next=//evil.example/"])
def test_the_login_leads_nowhere_else(customer: Any, principal: Callable[..., Any], path: str) -> None:
    principal("viewer", "kim@example.com")

    answer = Client().post(
        path, {"username": "kim@example.com", "password": "correct horse battery staple", "next": path.split("next=")[1]}
    )

    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_programs_find_the_surfaces_and_browsers_the_site() -> None:
    program, browser = Client().get("/"), Client().get("/", headers={"Accept": "text/html"})

    assert program.json()["surfaces"]["schema"].endswith("/api/schema")
    assert (browser.status_code, browser["Location"]) == (302, "/admin/")


def test_the_type_of_a_problem_leads_to_what_the_documentation_says_of_it() -> None:
    kind = Client().get("/api/v1/me").json()["type"]
    address, _, anchor = kind.partition("#")

    answer = Client().get(address)
    page = answer.content.decode()

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert f'id="{anchor}"' in page
    assert "<code>Authorization" in page


def test_the_page_of_problems_has_every_heading_and_escapes_what_it_shows() -> None:
    headings = re.findall(r"^### (\w+)$", (settings.BASE_DIR / "docs" / "problems.md").read_text(), re.MULTILINE)
    page = as_html("## <script>\n\n| a | `b<c` |\n|---|---|\n| [x](#x) | [y](y.md) |\n\n- one\n- two **bold**\n")

    served = Client().get("/docs/problems").content.decode()

    assert len(headings) > 20
    assert [code for code in headings if f'<h3 id="{code}">{code}</h3>' not in served] == []
    assert "<script>" not in page
    assert "<li>two <strong>bold</strong></li>" in page
    assert '<a href="#x">x</a></td><td>y</td>' in page


def test_the_image_contains_the_page_of_problems() -> None:
    lines = (settings.BASE_DIR / ".dockerignore").read_text().splitlines()

    assert "docs" not in lines
    assert lines.index("!docs/problems.md") > lines.index("docs/*")
