"""The WSGI door: what it answers without Django, and what it keeps from Django."""

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from mlops import wsgi

pytestmark = pytest.mark.django_db


def call(path: str, *, method: str = "GET", **environ: str) -> tuple[str, dict[str, str], bytes]:
    seen: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        seen.update(status=status, headers=dict(headers))

    base = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "x=%41%ff", "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    server = {"wsgi.input": BytesIO(), "wsgi.url_scheme": "http", "SERVER_PROTOCOL": "HTTP/1.1"}
    body = b"".join(wsgi.application({**base, **server, **environ}, start_response))
    return seen["status"], seen["headers"], body


def test_liveness_needs_no_django(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi, "django", None)

    assert call("/health")[0] == "200 OK"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=rot13",
        "application/json; charset=undefined",
        "a/b; charset=base64",
        "a/b; x*=nonsense''y",
        "a/b; charset=utf-16",
    ],
)
def test_a_content_type_that_would_break_the_request_is_415(content_type: str) -> None:
    status, headers, body = call("/api/v1/me", CONTENT_TYPE=content_type)

    assert (status[:3], headers["Content-Type"], json.loads(body)["status"]) == ("415", "application/problem+json", 415)


@pytest.mark.parametrize(
    "content_type",
    ["", ";", "a/b; c", "; charset", 'a/b; charset="utf-8"', "a/b; charset*=utf-8'en'utf-8", "\xff", "a/b; " + "x=y; " * 500],
)
def test_other_odd_content_types_reach_the_views(content_type: str) -> None:
    assert call("/api/v1/me", CONTENT_TYPE=content_type)[0][:3] == "401"


@pytest.mark.parametrize("path", ["/\xff\xfe", "/api/v1/jobs/\xe2\x82", "*", "//evil.example/", "/..", ""])
def test_paths_in_any_bytes_are_answered(path: str) -> None:
    assert int(call(path, HTTP_ACCEPT="application/json")[0][:3]) < 500


@pytest.mark.parametrize("host", ["evil.example", "a b", "[::1", "\xff"])
def test_a_host_that_is_not_ours_is_400(host: str) -> None:
    assert call("/", HTTP_HOST=host)[0][:3] == "400"


@pytest.mark.parametrize("module", ["mlops.rsgi", "mlops.wsgi", "mlops.celery"])
def test_a_process_begins_without_being_told_which_settings(module: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment |= {"SECRET_KEY": "k" * 50, "DEBUG": "1", "VAR_DIR": str(tmp_path), "PYTHONPATH": str(settings.BASE_DIR)}

    begun = subprocess.run(
        [sys.executable, "-c", f"import {module}"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert begun.returncode == 0, begun.stderr
